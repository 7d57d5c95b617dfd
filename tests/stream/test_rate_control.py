from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.loss_limit import CUT
from stream.rate_control import CALM, CAUTION, DRAIN_TIME, PUSH, RateControl

FLOOR, CEILING = 300_000, 1_500_000


def settled(rate: RateControl, value: float, start: float, seconds: float = 20.0) -> int:
    now = start
    while now < start + seconds:
        rate.report(now, value)
        now += 0.2
    return rate.rate


def test_the_tiny_first_reports_of_a_good_path_do_not_count() -> None:
    rate = RateControl(FLOOR, CEILING)
    before = rate.rate
    for n, value in enumerate((6_520, 12_000, 80_000, 400_000)):
        assert rate.report(n * 0.2, value) == before


def test_a_first_estimate_that_wavers_while_it_is_tiny_does_not_count() -> None:
    rate = RateControl(FLOOR, CEILING)
    before = rate.rate
    for n, value in enumerate((6_520, 5_900, 40_000, 36_000, 400_000)):
        assert rate.report(n * 0.2, value) == before


def test_a_path_that_is_full_from_the_start_is_believed_at_once() -> None:
    """As Chromium reports of 400 kbit/s that a call of 490 kbit/s begins on."""
    rate = RateControl(FLOOR, 700_000)
    rate.report(0.0, 519_000)
    assert rate.report(0.6, 341_000) == pytest.approx(341_000 * CAUTION)
    assert rate.report(1.0, 306_000) <= FLOOR


def test_a_little_more_is_tried_while_nothing_speaks_against_it() -> None:
    rate = RateControl(FLOOR, CEILING)
    assert settled(rate, 800_000, 0.0) == pytest.approx(800_000 * PUSH, rel=0.01)


def test_it_settles_under_what_the_path_carries() -> None:
    rate = RateControl(FLOOR, CEILING)
    settled(rate, 1_000_000, 0.0)
    assert settled(rate, 900_000, 20.0, 0.9 * CALM) == pytest.approx(900_000 * CAUTION, rel=0.01)


def test_it_falls_faster_than_it_rises() -> None:
    rate = RateControl(FLOOR, CEILING)
    settled(rate, 2_000_000, 0.0)
    high = rate.rate
    fallen = rate.report(100.0, 500_000)
    assert fallen < 0.4 * high
    settled(rate, 2_000_000, 200.0, seconds=0.5)
    assert fallen < rate.rate < 0.9 * high


def test_a_steep_fall_lets_the_queue_run_empty() -> None:
    rate = RateControl(FLOOR, CEILING)
    settled(rate, 2_000_000, 0.0)
    assert rate.report(100.0, 300_000) < FLOOR
    assert rate.report(100.0 + DRAIN_TIME / 2, 300_000) < FLOOR
    settled(rate, 300_000, 100.0 + DRAIN_TIME)
    assert rate.rate >= FLOOR


def test_much_loss_is_a_limit_whatever_the_reports_say() -> None:
    rate = RateControl(FLOOR, CEILING)
    settled(rate, 5_000_000, 0.0)
    before = rate.rate
    assert rate.lost(5, 95) == before
    assert rate.lost(55, 145) == pytest.approx(before * CUT)
    assert settled(rate, 5_000_000, 20.0) == pytest.approx(before * CUT)
    for n in range(1, 20):
        rate.lost(55 + n, 145 + 99 * n)
    assert rate.rate == before


def test_loss_before_the_first_report_does_not_make_that_credible() -> None:
    rate = RateControl(FLOOR, CEILING)
    cut = rate.lost(50, 50)
    assert cut < rate.report(0.0, 6_520) / 0.9
    for n, value in enumerate((40_000, 100_000, 96_000, 400_000)):
        assert rate.report(0.2 + n * 0.2, value) == cut


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1e10)), max_size=50))
def test_it_stays_between_floor_and_ceiling(reports: list[tuple[float, float]]) -> None:
    rate = RateControl(FLOOR, CEILING)
    now = 0.0
    for pause, value in reports:
        now += pause
        assert FLOOR // 2 <= rate.report(now, value) <= CEILING


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(ValueError, match="floor"):
        RateControl(2, 1)
