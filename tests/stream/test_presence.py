from __future__ import annotations

import random

from stream.presence import HELD, HOLD_AFTER, LIVE, LIVE_AFTER, REASON_STAYS, PresencePolicy


def held(code: str = "no_face", at: float = 0.0) -> PresencePolicy:
    policy = PresencePolicy()
    policy.unfit(at, code, "Please face the camera.")
    assert policy.unfit(at + HOLD_AFTER, code, "Please face the camera.")
    return policy


def test_a_call_begins_live() -> None:
    policy = PresencePolicy()
    assert not policy.held and not policy.fit(0.0)
    assert policy.to_caller().state == policy.to_others().state == LIVE


def test_single_unfit_frames_are_not_told() -> None:
    policy = PresencePolicy()
    for n in range(100):
        now = n / 30
        assert not (policy.unfit(now, "blurred") if n % 3 else policy.fit(now))


def test_it_is_told_on_both_sides_that_the_face_has_left() -> None:
    policy = held()
    to_caller, to_others = policy.to_caller(), policy.to_others()
    assert to_caller.state == to_others.state == HELD and to_caller.code == "no_face"
    assert to_caller.reason == "Please face the camera."
    assert "left the picture" in to_others.reason and "\n" not in to_others.reason


def test_it_is_told_once() -> None:
    policy = held()
    assert not any(policy.unfit(HOLD_AFTER + n / 30, "no_face") for n in range(100))


def test_it_takes_a_while_of_fit_frames_to_be_live_again() -> None:
    policy = held(at=0.0)
    assert not policy.fit(1.0)
    assert not policy.fit(1.0 + LIVE_AFTER / 2)
    assert policy.fit(1.0 + LIVE_AFTER) and not policy.held
    assert policy.to_others().reason == ""


def test_a_face_that_comes_and_goes_changes_nothing() -> None:
    policy = held(at=0.0)
    for n in range(100):
        now = 1.0 + n / 30
        assert not (policy.unfit(now, "no_face") if n % 4 == 0 else policy.fit(now))
    assert policy.held


def test_another_reason_is_told_when_the_one_before_could_be_read() -> None:
    policy = held("no_face", at=0.0)
    assert not policy.unfit(HOLD_AFTER + 0.1, "turned_left")
    assert policy.unfit(HOLD_AFTER + REASON_STAYS, "turned_left", "Turn a little to the left.")
    assert policy.to_caller().reason == "Turn a little to the left."
    assert "turned away" in policy.to_others().reason


def test_words_never_come_more_often_than_can_be_read() -> None:
    noise = random.Random(2)
    policy = PresencePolicy()
    told = 0
    for n in range(3000):
        now = n / 30
        fit = noise.random() < 0.5
        told += policy.fit(now) if fit else policy.unfit(now, noise.choice(["a", "b", "c"]))
    assert told <= 100 / HOLD_AFTER / 2


def test_every_reason_has_words_for_both_sides() -> None:
    for code in ("no_picture", "failed", "eyes_closed", "turned_right", "something new"):
        policy = PresencePolicy()
        policy.unfit(0, code)
        assert policy.unfit(1, code)
        assert len(policy.to_others().reason) > 20
    for code in ("no_picture", "failed"):
        policy = PresencePolicy()
        policy.unfit(0, code)
        policy.unfit(1, code)
        assert len(policy.to_caller().reason) > 20
