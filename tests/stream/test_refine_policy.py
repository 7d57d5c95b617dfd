from __future__ import annotations

from stream.refine_policy import LAST_TRIAL, MISSES, RefinePolicy

BUDGET = 0.05


def overloaded(policy: RefinePolicy, now: float) -> float:
    for _ in range(MISSES):
        assert policy.decide(now)
        policy.measured(now, 0.2)
        now += 0.03
    return now


def test_a_single_late_frame_changes_nothing() -> None:
    policy = RefinePolicy(BUDGET)
    for seconds in (0.02, 0.3, 0.02, 0.3, 0.02):
        policy.measured(0.0, seconds)
    assert policy.refining


def test_late_frames_in_a_row_are_followed_by_raw_ones() -> None:
    policy = RefinePolicy(BUDGET)
    now = overloaded(policy, 10.0)
    assert not policy.refining
    assert not policy.decide(now)


def test_a_trial_that_keeps_the_budget_takes_refining_up_again() -> None:
    policy = RefinePolicy(BUDGET)
    now = overloaded(policy, 10.0) + 1.5
    assert policy.decide(now)
    assert not policy.decide(now), "one trial at a time"
    policy.measured(now, 0.03)
    assert policy.refining


def test_a_trial_that_barely_keeps_the_budget_is_not_enough() -> None:
    policy = RefinePolicy(BUDGET)
    now = overloaded(policy, 10.0) + 1.5
    assert policy.decide(now)
    policy.measured(now, 0.049)
    assert not policy.refining


def test_failed_trials_become_rare() -> None:
    policy = RefinePolicy(BUDGET)
    now = overloaded(policy, 0.0)
    trials = []
    while now < 200:
        if policy.decide(now):
            trials.append(now)
            policy.measured(now, 0.2)
        now += 0.033
    gaps = [b - a for a, b in zip(trials, trials[1:], strict=False)]
    assert gaps == sorted(gaps) or max(gaps) < LAST_TRIAL + 0.1
    assert len(trials) < 20
