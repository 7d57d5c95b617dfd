from __future__ import annotations

import pytest

from stream.effort_policy import Effort
from stream.lift_pace import CLIMB, LEAST, START, UNWATCHED, LiftPace, Load


def lift(pace: LiftPace, seconds: float, duration: float, load: Load, now: float = 0.0) -> float:
    """Lift for some seconds, each taking `duration`; return how many began per second."""
    end, count = now + seconds, 0
    while now < end:
        count += 1
        now = max(now + duration, pace.next_start(now, now + duration, load))
    return count / seconds


def test_the_rate_climbs_to_what_was_asked_for_while_frames_are_in_time() -> None:
    pace = LiftPace(30)
    assert pace.rate == START
    assert lift(pace, 1, 0.01, Load()) == pytest.approx(START, abs=2)
    lift(pace, (30 - START) / CLIMB + 1, 0.01, Load(), now=1)
    assert pace.rate == 30
    assert lift(pace, 4, 0.01, Load(), now=100) == pytest.approx(30, abs=1)


def test_late_frames_take_the_rate_back_at_once_but_not_below_what_speech_needs() -> None:
    pace = LiftPace(30)
    lift(pace, 20, 0.01, Load())
    late = Load(Effort.RAW)
    assert lift(pace, 4, 0.01, late, now=20) == pytest.approx(START, abs=1)
    assert pace.rate == LEAST[Effort.RAW] == START


@pytest.mark.parametrize("effort", [Effort.SLOW, Effort.COARSE])
def test_the_more_is_given_up_in_frames_the_fewer_lifts(effort: Effort) -> None:
    assert lift(LiftPace(30), 4, 0.01, Load(effort)) == pytest.approx(LEAST[effort], abs=1)
    shared = lift(LiftPace(30), 4, 0.01, Load(effort, callers=4))
    assert shared == pytest.approx(LEAST[effort] / 4, abs=0.5)


def test_long_lifts_leave_time_for_frames_when_those_are_late() -> None:
    assert lift(LiftPace(30), 10, 0.2, Load()) == pytest.approx(5, abs=0.5)
    assert lift(LiftPace(30), 10, 0.2, Load(Effort.SLOW)) == pytest.approx(3.3, abs=0.3)
    assert lift(LiftPace(30), 10, 0.2, Load(Effort.COARSE)) == pytest.approx(2.5, abs=0.3)


def test_one_very_long_lift_does_not_stop_the_others() -> None:
    assert LiftPace(30).next_start(0.0, 10.0, Load(Effort.COARSE)) <= 10.5


def test_nobody_watching_costs_little_and_is_made_up_for_at_once() -> None:
    pace = LiftPace(30)
    lift(pace, 20, 0.01, Load())
    assert lift(pace, 4, 0.01, Load(watched=False), now=20) == pytest.approx(UNWATCHED, abs=0.5)
    assert lift(pace, 4, 0.01, Load(), now=24) == pytest.approx(30, abs=1)


def test_a_low_limit_is_kept() -> None:
    assert lift(LiftPace(4), 10, 0.01, Load()) == pytest.approx(4, abs=0.2)
    assert lift(LiftPace(4), 10, 0.01, Load(Effort.RAW)) == pytest.approx(4, abs=0.2)


def test_the_camera_is_asked_for_what_is_of_use() -> None:
    pace = LiftPace(30)
    assert pace.camera_fps(Load()) == 20
    assert pace.camera_fps(Load(watched=False)) == 10
    lift(pace, 5, 0.01, Load())
    assert pace.rate > 19 and pace.camera_fps(Load()) == 30
    lift(pace, 1, 0.01, Load(Effort.RAW), now=5)
    assert pace.camera_fps(Load(Effort.RAW)) == 20
    assert LiftPace(5).camera_fps(Load()) == 10


def test_frames_give_way_while_lifts_fall_behind() -> None:
    pace, raw = LiftPace(30), Load(Effort.RAW)
    assert not pace.behind(raw), "nothing is known yet"
    lift(pace, 2, 0.1, raw)
    assert pace.behind(raw)
    assert not pace.behind(Load(Effort.SLOW)), "frames give up more by themselves"
    assert pace.behind(raw)
    assert not pace.behind(Load(Effort.RAW, watched=False))


def test_lifts_in_time_take_nothing_from_frames() -> None:
    pace, raw = LiftPace(30), Load(Effort.RAW)
    lift(pace, 4, 0.03, raw)
    assert not pace.behind(raw)


def test_frames_give_way_as_long_as_they_are_raw() -> None:
    pace, raw = LiftPace(30), Load(Effort.RAW)
    lift(pace, 2, 0.1, raw)
    assert pace.behind(raw)
    lift(pace, 8, 0.02, raw, now=2)
    assert pace.behind(raw)
    assert not pace.behind(Load()), "there is time for all again"
    assert not pace.behind(raw)
