from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.pacer import SHARPENING, STILL, Arrival, Pacer

FPS = 30.0
PERIOD = 1 / FPS


def simulate(
    until: float,
    viewpoints: list[float],
    render: Callable[[int], float] = lambda _: 0.0,
    step: float = 1e-3,
) -> list[tuple[float, float | None]]:
    """Frames of one receiver: when each was begun, and how old its viewpoint was if it was new."""
    pacer = Pacer(FPS)
    frames: list[tuple[float, float | None]] = []
    waiting: Arrival | None = None
    queue = sorted(viewpoints)
    interval = min((b - a for a, b in pairwise(queue)), default=math.inf)
    now = busy_until = 0.0
    while now < until:
        while queue and queue[0] <= now:
            waiting = Arrival(queue.pop(0), interval)
        if now >= busy_until and pacer.due_at(waiting) <= now:
            pacer.framed(now, waiting is not None)
            frames.append((now, None if waiting is None else now - waiting.time))
            busy_until = now + render(len(frames))
            waiting = None
        now += step
    return frames


def test_a_view_with_nothing_new_is_sharpened_and_then_sent_rarely() -> None:
    times = [time for time, _ in simulate(6.0, [1.0])]
    sharpening = [time for time in times if 1.0 <= time < 1.0 + SHARPENING]
    still = [time for time in times if 3.0 <= time < 6.0]
    assert len(sharpening) == pytest.approx(SHARPENING * FPS, abs=3)
    assert len(still) == pytest.approx(3.0 * FPS / STILL, abs=3)


def resting_before(avatars: list[float], rest_slowness: float = 1.0) -> list[float]:
    """When frames of a resting view are made, with avatars that come at the given times."""
    pacer = Pacer(FPS, rest_slowness=rest_slowness)
    pacer.framed(0.0, fresh=False, news=True)
    frames, queue, news, now = [], list(avatars), False, 0.0
    while now < avatars[-1] + 0.5:
        while queue and queue[0] <= now:
            news = bool(queue.pop(0))
        if pacer.due_at(None, news) <= now:
            pacer.framed(now, fresh=False, news=news)
            frames.append(now)
            news = False
        now += 1e-3
    return frames


def test_at_rest_each_new_state_of_the_person_is_shown_at_once() -> None:
    avatars = [2.0 + n / 15 for n in range(40)]
    frames = resting_before(avatars)
    for arrival in avatars:
        assert min(time - arrival for time in frames if time >= arrival) < 0.4 * PERIOD


def test_at_rest_the_rate_is_kept_however_fast_the_person_changes() -> None:
    frames = resting_before([2.0 + n / 100 for n in range(300)])
    assert sum(2.5 <= time < 4.5 for time in frames) == pytest.approx(2.0 * FPS, abs=3)
    slower = resting_before([2.0 + n / 100 for n in range(300)], rest_slowness=2.0)
    assert sum(2.5 <= time < 4.5 for time in slower) <= 2.0 * FPS / 2 * 1.2


def test_a_view_that_moves_again_does_not_wait_for_the_slow_tick_of_its_rest() -> None:
    frames = [time for time, age in simulate(4.0, [0.1, 3.0]) if age is not None]
    assert frames[1] - 3.0 <= 0.002, "the last frame was long ago"


def test_views_that_share_a_frame_fall_due_together() -> None:
    one, other = Pacer(FPS), Pacer(FPS)
    for pacer, begun in ((one, 0.0), (other, 0.4 * PERIOD)):
        for n in range(10):
            pacer.framed(begun + n * PERIOD, fresh=False, news=True)
    now = one.due_at(None)
    assert other.may_join(now)
    one.framed(now, fresh=False, news=True)
    other.joined(one, news=True)
    assert other.due_at(None) == one.due_at(None)
    assert not other.may_join(now + 0.1 * PERIOD)


def test_viewpoints_of_a_60_hz_screen_are_shown_as_they_arrive() -> None:
    frames = simulate(3.0, [0.5 + n / 60 for n in range(150)])
    shown = [age for time, age in frames if 0.6 < time < 2.9]
    assert len(shown) == pytest.approx(2.3 * FPS, abs=3)
    assert all(age is not None for age in shown)
    ages = sorted(age for age in shown if age is not None)
    assert ages[int(len(ages) * 0.9)] < 0.003


@pytest.mark.parametrize("offset", [n / 10 * PERIOD for n in range(10)])
def test_a_viewpoint_after_a_rest_waits_half_a_period_at_most(offset: float) -> None:
    frames = simulate(2.0, [1.0 + offset])
    ages = [age for _, age in frames if age is not None]
    assert len(ages) == 1
    assert ages[0] <= 0.5 * PERIOD + 0.002


def test_a_late_frame_is_not_followed_by_a_burst() -> None:
    moving = [n / 60 for n in range(120)]
    frames = simulate(2.0, moving, render=lambda count: 0.5 if count == 10 else 0.0)
    times = [time for time, _ in frames]
    stall = max(range(1, len(times)), key=lambda n: times[n] - times[n - 1])
    after = times[stall:]
    assert all(b - a > 0.9 * PERIOD for a, b in pairwise(after))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 3), max_size=400))
def test_any_viewpoints_keep_the_rate(viewpoints: list[float]) -> None:
    times = [time for time, _ in simulate(3.0, viewpoints, step=2e-3)]
    # A view that moves and rests by turns may begin a little early each time.
    assert len(times) <= 3.0 * FPS * 1.35 + 2
    assert len(times) >= 3.0 * FPS / STILL * 0.9 - 2
    assert all(b - a > 0.35 * PERIOD for a, b in pairwise(times))
