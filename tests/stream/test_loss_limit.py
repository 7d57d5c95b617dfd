from __future__ import annotations

import math

import numpy as np
import pytest

from stream.loss_limit import CUT, ENOUGH, RISE, LossLimit


def test_nothing_limits_a_path_without_loss() -> None:
    limit = LossLimit()
    for n in range(1, 50):
        limit.reported(n, 90 * n, 700_000, 150_000)
    assert limit.limit == math.inf


def test_a_full_queue_is_cut_for_and_comes_back() -> None:
    limit = LossLimit()
    limit.reported(50, 50, 700_000, 150_000)
    assert limit.limit == pytest.approx(700_000 * CUT)
    limit.reported(51, 149, 525_000, 150_000)
    assert limit.limit == pytest.approx(700_000 * CUT * RISE)


def test_it_does_not_fall_below_the_least() -> None:
    limit = LossLimit()
    for n in range(1, 20):
        limit.reported(50 * n, 50 * n, min(limit.limit, 700_000), 150_000)
    assert limit.limit == 150_000


def test_few_packets_are_judged_with_those_that_follow() -> None:
    limit = LossLimit()
    limit.reported(10, ENOUGH - 20, 700_000, 150_000)
    assert limit.limit == math.inf
    limit.reported(20, ENOUGH - 10, 700_000, 150_000)
    assert limit.limit == pytest.approx(700_000 * CUT)


def test_packets_that_come_late_are_no_loss() -> None:
    limit = LossLimit()
    limit.reported(30, 200, 700_000, 150_000)
    limit.reported(5, 300, 700_000, 150_000)
    assert limit.limit == math.inf


def test_a_radio_link_that_loses_a_tenth_is_hardly_ever_taken_for_a_full_queue() -> None:
    random = np.random.default_rng(0)
    limit, lost, received, cuts = LossLimit(), 0, 0, 0
    for _ in range(600):
        missed = int(random.binomial(90, 0.1))
        lost, received = lost + missed, received + 90 - missed
        before = limit.limit
        limit.reported(lost, received, 700_000, 150_000)
        cuts += limit.limit < before
    assert cuts <= 6
