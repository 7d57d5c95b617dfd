from __future__ import annotations

import pytest

from stream.frame_time import COARSE, ENOUGH_SECONDS, MEMORY, FrameTime

STAGES = {"portrait": 99.0, "rasterise": 5.0, "refine": 12.0, "i420": 3.0}
SHARE = 12 / 20


def render(
    time: FrameTime, begin: float, seconds: float, pictures: int = 1, refined: int | None = None
) -> float:
    """A batch by itself; returns when it ends."""
    time.begin(begin)
    time.end(begin + seconds, pictures, pictures if refined is None else refined, STAGES)
    return begin + seconds


def test_too_little_says_nothing() -> None:
    time = FrameTime()
    assert time.seconds(True) is None
    now = 100.0
    for _ in range(30):
        now = render(time, now, ENOUGH_SECONDS / 100)
    assert time.seconds(True) is None and time.seconds(False) is None
    render(FrameTime(), 0.0, 60.0)
    slow = FrameTime()
    render(slow, 0.0, 60.0, refined=0)
    assert slow.seconds(False) is None, "one picture is no average"


def test_one_thread() -> None:
    time, now = FrameTime(), 0.0
    for _ in range(100):
        now = render(time, now + 0.013, 0.020)
    assert time.seconds(True) == pytest.approx(0.020)
    assert time.seconds(False) == pytest.approx(0.020 * (1 - SHARE))


def test_a_batch_is_shared_by_its_pictures() -> None:
    time, now = FrameTime(), 0.0
    for _ in range(100):
        now = render(time, now, 0.032, pictures=16)
    assert time.seconds(True) == pytest.approx(0.002)


def test_threads_that_overlap_are_not_counted_twice() -> None:
    time = FrameTime()
    for step in range(300):
        time.begin(step * 0.01)  # each takes 14 ms, and one ends every 10 ms
        if step:
            time.end(step * 0.01 + 0.004, 1, 1, STAGES)
    assert time.seconds(True) == pytest.approx(0.01, rel=0.05)


def test_raw_and_refined_pictures_tell_of_each_other() -> None:
    """What is left out under load must not look like a machine that has become fast."""
    time, now = FrameTime(), 0.0
    for _ in range(100):
        now = render(time, now, 0.020)
    refined, raw = time.seconds(True), time.seconds(False)
    for _ in range(500):
        now = render(time, now, 0.008, refined=0)
    assert time.seconds(True) == pytest.approx(refined)
    assert time.seconds(False) == pytest.approx(raw)
    for _ in range(500):
        now = render(time, now, 0.028, pictures=2, refined=1)
    assert time.seconds(True) == pytest.approx(refined)


def test_coarse_pictures_do_not_make_room() -> None:
    time, now = FrameTime(), 0.0
    for _ in range(1000):
        time.begin(now)
        now += 0.008
        time.end(now, 2, 0, STAGES, coarse=2)
    assert time.seconds(False) == pytest.approx(0.004 / COARSE)


def test_an_engine_that_does_not_tell_its_stages() -> None:
    time, now = FrameTime(), 0.0
    for _ in range(100):
        time.begin(now)
        now += 0.02
        time.end(now, 1, 1, {})
    assert time.seconds(True) == time.seconds(False) == pytest.approx(0.02)


def test_old_measurements_fade() -> None:
    time, now = FrameTime(), 0.0
    for _ in range(100):
        now = render(time, now, 0.2)
    for _ in range(round(3 * MEMORY / 0.02)):
        now = render(time, now, 0.02)
    assert time.seconds(True) == pytest.approx(0.02, rel=0.6)
    render(time, now + 3600, 0.3)  # the first after an hour, perhaps a slow one
    assert time.seconds(True) is None


def test_an_engine_that_fails_leaves_the_average_alone() -> None:
    time, now = FrameTime(), 0.0
    for _ in range(100):
        now = render(time, now, 0.02)
    for _ in range(10):
        now = render(time, now, 0.05, pictures=0)
    now = render(time, now, 0.02)
    assert time.seconds(True) == pytest.approx(0.02)


def test_a_long_idle_time_makes_what_was_measured_count_no_more() -> None:
    time, now = FrameTime(), 0.0
    while now < 6:
        render(time, now, 0.06)
        now += 0.06
    assert time.seconds(False, now) is not None
    assert time.seconds(False, now + 2) == pytest.approx(time.seconds(False))
    assert time.seconds(False, now + 3600) is None
    time.begin(now)
    assert time.seconds(False, now + 3600) is not None, "a thread has been busy all the time"
