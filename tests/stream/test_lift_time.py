from __future__ import annotations

import pytest

from stream.lift_time import FORGOTTEN, LiftFigures, LiftTime


def test_too_few_lifts_tell_nothing() -> None:
    times = LiftTime()
    for n in range(4):
        times.add(n / 30, 0.02)
    assert times.seconds(0.2) is None


def test_it_is_what_lifts_take_lately() -> None:
    times = LiftTime()
    times.add(0.0, 10.0)  # the first one, for which code is compiled
    for n in range(300):
        times.add(n / 30, 0.020)
    assert times.seconds(10.0) == pytest.approx(0.020)
    for n in range(300, 900):
        times.add(n / 30, 0.040)
    assert times.seconds(30.0) == pytest.approx(0.040, rel=0.05)
    assert times.seconds(30.0 + FORGOTTEN + 1) is None


def test_the_figures_of_a_call() -> None:
    figures = LiftFigures()
    figures.lifted(0.1)
    assert (figures.lifts, figures.seconds) == (1, 0.1)
    for _ in range(100):
        figures.lifted(0.05)
    assert figures.lifts == 101 and figures.seconds == pytest.approx(0.05, rel=0.01)
