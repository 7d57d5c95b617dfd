from __future__ import annotations

import pytest

from stream.effort_policy import FIRST_TRIAL, LAST_TRIAL, MISSES, Effort, EffortPolicy

BUDGET = 0.05
LATE, IN_TIME = 0.2, 0.02


def late(policy: EffortPolicy, now: float) -> float:
    """Miss the budget until one thing more is given up; returns the time after."""
    level = policy.level
    now += LATE
    for _ in range(MISSES):
        assert policy.level is level
        assert policy.decide(now) is level
        policy.measured(now, LATE, level)
        now += 0.03
    return now


def test_a_single_late_frame_changes_nothing() -> None:
    policy = EffortPolicy(BUDGET)
    for seconds in (IN_TIME, 0.3, IN_TIME, 0.3, IN_TIME):
        policy.measured(0.0, seconds, Effort.REFINED)
    assert policy.level is Effort.REFINED


def test_one_thing_after_another_is_given_up() -> None:
    policy = EffortPolicy(BUDGET)
    now = 10.0
    levels = [policy.level]
    for _ in range(3):
        now = late(policy, now)
        levels.append(policy.level)
    assert levels == list(Effort)
    for _ in range(10):  # there is nothing left to give up
        policy.measured(now + 1, LATE, Effort.COARSE)
    assert policy.level is Effort.COARSE


def test_frames_that_fell_due_before_a_change_are_not_held_against_it() -> None:
    policy = EffortPolicy(BUDGET)
    now = late(policy, 10.0)
    for _ in range(10):
        policy.measured(now, LATE, Effort.RAW)
    assert policy.level is Effort.RAW


def test_a_trial_that_keeps_the_budget_takes_refining_up_again() -> None:
    policy = EffortPolicy(BUDGET)
    now = late(policy, 10.0) + 1.5
    assert policy.decide(now) is Effort.REFINED
    assert policy.decide(now) is Effort.RAW, "one trial at a time"
    policy.measured(now, 0.03, Effort.REFINED)
    assert policy.level is Effort.REFINED


def test_a_trial_that_barely_keeps_the_budget_is_not_enough() -> None:
    policy = EffortPolicy(BUDGET)
    now = late(policy, 10.0) + 1.5
    assert policy.decide(now) is Effort.REFINED
    policy.measured(now, 0.049, Effort.REFINED)
    assert policy.level is Effort.RAW


def test_a_trial_that_holds_others_up_does_not_count_against_them() -> None:
    policy = EffortPolicy(BUDGET)
    now = late(policy, 10.0) + 1.5
    assert policy.decide(now) is Effort.REFINED
    for step in range(5):
        policy.measured(now + 0.1 * step, LATE, Effort.RAW)
    policy.measured(now + 0.6, 0.6, Effort.REFINED)
    for _ in range(5):
        policy.measured(now + 0.7, LATE, Effort.RAW)
    assert policy.level is Effort.RAW


def test_the_full_rate_is_taken_up_by_a_machine_that_just_keeps_the_budget() -> None:
    policy = EffortPolicy(BUDGET)
    now = late(policy, late(policy, 10.0))
    assert policy.level is Effort.SLOW and policy.level.slowness == 2
    now += 1.5
    assert policy.decide(now) is Effort.RAW
    policy.measured(now, LATE, Effort.RAW)
    assert policy.level is Effort.SLOW
    now += 3
    assert policy.decide(now) is Effort.RAW
    policy.measured(now, 0.035, Effort.RAW)
    assert policy.level is Effort.RAW and policy.level.slowness == 1


def test_a_full_rate_that_is_too_much_after_all_is_tried_less_and_less() -> None:
    policy = EffortPolicy(BUDGET)
    now = late(policy, late(policy, 10.0))
    climbed = []
    while now < 200:
        if policy.decide(now) is Effort.RAW:
            policy.measured(now, 0.035, Effort.RAW)  # alone it is in time, at the full rate not
            climbed.append(now)
            now = late(policy, now + 0.1)
        now += 0.05
    pauses = [later - earlier for earlier, later in zip(climbed, climbed[1:], strict=False)]
    assert pauses[-1] > 4 * pauses[0] and len(climbed) < 20


def test_refining_that_never_fits_does_not_keep_the_rate_down() -> None:
    policy = EffortPolicy(BUDGET, refined=0.015)
    now = late(policy, 10.0)
    for _ in range(8):  # a minute of failing trials
        now += LAST_TRIAL
        assert policy.decide(now) is Effort.REFINED
        policy.measured(now, 0.03, Effort.REFINED)
    now = late(policy, now)
    assert policy.level is Effort.SLOW, "a hiccup"
    now += 1.1 * FIRST_TRIAL
    assert policy.decide(now) is Effort.RAW
    policy.measured(now, IN_TIME, Effort.RAW)
    assert policy.level is Effort.RAW
    assert policy.decide(now + 1.1 * FIRST_TRIAL) is Effort.RAW, "refining is still tried rarely"


def test_who_wants_raw_frames_is_never_tried_with_refined_ones() -> None:
    policy = EffortPolicy(BUDGET)
    assert policy.decide(0.0, Effort.RAW) is Effort.RAW
    now = late(policy, 10.0) + 1.5
    assert policy.decide(now, Effort.RAW) is Effort.RAW
    assert policy.decide(now) is Effort.REFINED


def test_late_raw_frames_count_where_others_are_refined() -> None:
    policy = EffortPolicy(BUDGET)
    for _ in range(MISSES):
        policy.measured(1.0, LATE, Effort.RAW)
    assert policy.level is Effort.RAW


def trials(policy: EffortPolicy, now: float, until: float, passes: bool) -> list[float]:
    """Times of the trials of refined frames, where refining is always too slow in the end."""
    found = []
    while now < until:
        if policy.level is Effort.REFINED:
            now = late(policy, now)
        elif policy.decide(now) is Effort.REFINED:
            found.append(now)
            policy.measured(now, IN_TIME if passes else LATE, Effort.REFINED)
        now += 0.033
    return found


@pytest.mark.parametrize("passes", [False, True])
def test_failed_trials_become_rare(passes: bool) -> None:
    """Also where a single frame is in time, and only all of them are not."""
    policy = EffortPolicy(BUDGET)
    found = trials(policy, late(policy, 0.0), 200, passes)
    gaps = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert gaps[0] < 3 * FIRST_TRIAL
    assert max(gaps) < LAST_TRIAL + 1
    assert len(found) < 25


def test_refining_is_given_up_sooner_than_the_rate_where_that_is_asked_for() -> None:
    policy = EffortPolicy(BUDGET, BUDGET / 2)
    for n in range(MISSES):
        assert policy.level is Effort.REFINED
        policy.measured(float(n), 0.8 * BUDGET, Effort.REFINED)
    assert policy.level is Effort.RAW
    for n in range(3 * MISSES):
        policy.measured(10.0 + n / 1000, 0.8 * BUDGET, Effort.RAW)
    assert policy.level is Effort.RAW
    tried = policy.decide(100.0)
    assert tried is Effort.REFINED
    policy.measured(100.1, 0.6 * BUDGET, tried)
    assert policy.level is Effort.RAW
    assert policy.decide(200.0) is Effort.REFINED
    policy.measured(200.1, 0.3 * BUDGET, Effort.REFINED)
    assert policy.level is Effort.REFINED
