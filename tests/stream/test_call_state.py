from __future__ import annotations

import pytest

from stream.call_state import CallMachine, CallState, WrongState


def live() -> CallMachine:
    machine = CallMachine(2)
    machine.checked(True)
    machine.checked(True)
    machine.built()
    return machine


def test_a_call_goes_from_waiting_to_live_to_ended() -> None:
    machine = CallMachine(2)
    assert machine.state is CallState.WAITING and machine.wants_frames
    assert not machine.checked(True)
    assert machine.checked(True)
    assert machine.state is CallState.ENROLLING and not machine.wants_frames
    machine.built()
    assert machine.state is CallState.LIVE and not machine.wants_frames
    assert machine.end()
    assert machine.state is CallState.ENDED
    assert not machine.end()


def test_fit_frames_must_follow_one_another() -> None:
    machine = CallMachine(2)
    assert not any(machine.checked(fit) for fit in (True, False, True, False, False, True))
    assert machine.checked(True)


def test_a_refused_picture_means_waiting_for_another() -> None:
    machine = CallMachine(2)
    machine.checked(True)
    machine.checked(True)
    machine.refused()
    assert machine.state is CallState.WAITING and machine.wants_frames
    assert not machine.checked(True), "the count starts anew"


def test_a_retake_stays_live_and_builds_once() -> None:
    machine = live()
    assert machine.retake()
    assert not machine.retake(), "it is under way"
    assert machine.state is CallState.LIVE and machine.wants_frames
    machine.checked(True)
    assert machine.checked(True)
    assert machine.state is CallState.LIVE and not machine.wants_frames
    machine.built()
    assert not machine.wants_frames
    assert machine.retake()


def test_a_retake_can_be_taken_back() -> None:
    machine = live()
    machine.retake()
    machine.checked(True)
    machine.keep()
    assert machine.state is CallState.LIVE and not machine.wants_frames
    assert machine.retake()
    assert not machine.checked(True), "frames of the retake before do not count"


def test_a_retake_before_the_first_avatar_means_nothing() -> None:
    assert not CallMachine(2).retake()


def test_a_call_whose_caller_is_away_keeps_what_it_has() -> None:
    machine = live()
    assert machine.seat == "live" and not machine.back()
    assert machine.lost() and not machine.lost(), "it is news once"
    assert machine.away and machine.seat == "away" and machine.state is CallState.LIVE
    assert machine.back() and not machine.away and machine.seat == "live"
    machine.lost()
    machine.end()
    assert not machine.away and not machine.back() and not machine.lost()


def test_a_retake_ends_with_the_connection() -> None:
    machine = live()
    machine.retake()
    machine.checked(True)
    machine.lost()
    machine.back()
    assert machine.state is CallState.LIVE and not machine.wants_frames
    assert machine.retake(), "it can be asked for again"


def test_a_call_that_waits_for_a_portrait_may_be_away_too() -> None:
    machine = CallMachine(2)
    assert machine.seat == "waiting"
    machine.lost()
    assert machine.seat == "away" and machine.wants_frames
    machine.back()
    machine.checked(True)
    assert machine.checked(True) and machine.seat == "waiting"


def test_an_ended_call_wants_nothing() -> None:
    machine = live()
    machine.end()
    assert not machine.retake()
    assert not machine.wants_frames
    assert not machine.checked(True)


def test_a_frame_that_was_looked_at_too_late_does_not_count() -> None:
    machine = live()
    assert not machine.checked(True)
    assert not machine.checked(True)


def test_an_avatar_that_was_not_being_built_is_an_error() -> None:
    with pytest.raises(WrongState):
        CallMachine(2).built()
    with pytest.raises(WrongState):
        live().adopt()
