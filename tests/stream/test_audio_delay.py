"""When packets of sound leave: one time over all connections of a caller, and a slow hold."""

from __future__ import annotations

import pytest

from stream.audio_delay import (
    CLOCK_RATE,
    FASTER,
    MAX_HOLD,
    PATIENCE,
    SLOWER,
    AudioTimeline,
    HoldBack,
)
from stream.audio_path import CAMERA_INTERVAL, ENOUGH, VideoPath

STEP = 960
"""One packet of 20 ms."""


def test_times_follow_the_timestamps_over_a_wrap() -> None:
    timeline = AudioTimeline()
    start = 2**32 - 2 * STEP
    times = [timeline.place((start + n * STEP) % 2**32, 5 + n * 0.02)[0] for n in range(5)]
    assert times == [n * STEP for n in range(5)]


def test_a_gap_of_silence_stays_a_gap() -> None:
    timeline = AudioTimeline()
    timeline.place(0, 0.0)
    assert timeline.place(20 * STEP, 0.4)[0] == 20 * STEP


def test_a_late_packet_has_its_own_time_and_moves_nothing() -> None:
    timeline = AudioTimeline()
    order = [(0, 0.0), (2, 0.04), (1, 0.045), (3, 0.06)]
    assert [timeline.place(n * STEP, at)[0] for n, at in order] == [n * STEP for n, _ in order]


def test_a_new_origin_goes_on_where_the_clock_is() -> None:
    timeline = AudioTimeline()
    timeline.place(1_000_000, 10.0)
    time, base = timeline.place(77, 13.0)
    assert time == 3 * CLOCK_RATE
    assert base == pytest.approx(13.0)
    time, base = timeline.place(77 + STEP, 13.02)
    assert time == 3 * CLOCK_RATE + STEP
    assert base == pytest.approx(13.02)


def test_jitter_is_taken_out() -> None:
    timeline = AudioTimeline()
    jitter = [0.0, 0.012, 0.003, 0.018, 0.0, 0.009]
    bases = [timeline.place(n * STEP, n * 0.02 + late)[1] for n, late in enumerate(jitter)]
    assert bases == pytest.approx([n * 0.02 for n in range(len(jitter))])


def test_a_longer_way_is_followed_within_two_windows() -> None:
    timeline = AudioTimeline()
    for n in range(100):
        timeline.place(n * STEP, n * 0.02)
    late = [timeline.place(n * STEP, n * 0.02 + 0.05)[1] - n * 0.02 for n in range(100, 220)]
    assert late[0] == pytest.approx(0.0)
    assert late[-1] == pytest.approx(0.05)


def test_a_shorter_way_is_followed_at_once() -> None:
    timeline = AudioTimeline()
    for n in range(100):
        timeline.place(n * STEP, n * 0.02 + 0.05)
    _, base = timeline.place(100 * STEP, 2.0)
    assert base == pytest.approx(2.0)


def test_sound_waits_until_the_hold_is_known_but_not_long() -> None:
    hold = HoldBack()
    assert hold.follow(None, 1.0) is None
    assert hold.follow(None, 0.9 + PATIENCE) is None
    assert hold.follow(None, 1.0 + PATIENCE) == 0.0


def test_the_first_aim_is_taken_at_once_and_the_next_ones_slowly() -> None:
    hold = HoldBack()
    assert hold.follow(None, 0.9) is None
    assert hold.follow(0.1, 1.0) == 0.1
    assert hold.follow(0.2, 2.0) == pytest.approx(0.1 + SLOWER)
    assert hold.follow(0.0, 3.0) == pytest.approx(0.1 + SLOWER - FASTER)
    assert hold.follow(None, 4.0) == pytest.approx(0.1 + SLOWER - FASTER)
    assert hold.follow(0.086, 9.0) == pytest.approx(0.086)


@pytest.mark.parametrize(("aim", "held"), [(-0.05, 0.0), (3.0, MAX_HOLD)])
def test_the_hold_has_bounds(aim: float, held: float) -> None:
    assert HoldBack().follow(aim, 0.0) == held


def test_a_path_is_measured_once_for_each_avatar() -> None:
    path = VideoPath()
    for n in range(ENOUGH):
        assert path.seconds is None
        pictured = 10 + n * CAMERA_INTERVAL
        path.sent(pictured, pictured + 0.08)
        path.sent(pictured, pictured + 0.9)  # the same avatar again: the mouth moved long ago
        path.sent(None, pictured + 1.0)
    assert path.seconds == pytest.approx(0.08)


def test_a_start_that_stutters_is_not_the_path() -> None:
    path = VideoPath()
    for n, age in enumerate([0.9, 0.5, *[0.08] * ENOUGH]):
        path.sent(n * CAMERA_INTERVAL, n * CAMERA_INTERVAL + age)
    assert path.seconds == pytest.approx(0.08)


def test_a_path_is_a_mean() -> None:
    path = VideoPath()
    for n in range(300):
        pictured = n * CAMERA_INTERVAL
        path.sent(pictured, pictured + (0.06 if n % 2 else 0.10))
    assert path.seconds == pytest.approx(0.08, abs=0.003)


def test_camera_frames_that_were_left_out_count() -> None:
    path = VideoPath()
    for n in range(300):
        path.sent(n * 3 * CAMERA_INTERVAL, n * 3 * CAMERA_INTERVAL + 0.05)
    assert path.seconds == pytest.approx(0.05 + CAMERA_INTERVAL, abs=0.001)


def test_a_caller_who_was_away_is_not_a_long_path() -> None:
    path = VideoPath()
    for n in range(ENOUGH):
        path.sent(n * CAMERA_INTERVAL, n * CAMERA_INTERVAL + 0.05)
    path.sent(11.0, 41.0)
    path.sent(50.0, 50.05)
    assert path.seconds == pytest.approx(0.05)
