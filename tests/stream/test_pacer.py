from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.pacer import Arrival, Pacer

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


def test_a_resting_view_is_sent_at_the_full_rate() -> None:
    assert len(simulate(3.0, [])) == pytest.approx(90, abs=3)


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
    frames = simulate(2.0, [], render=lambda count: 0.5 if count == 10 else 0.0)
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
    assert len(times) >= 3.0 * FPS * 0.75 - 2
    assert all(b - a > 0.35 * PERIOD for a, b in pairwise(times))
