"""What the lifter's training takes for an error, and from when on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models.weights import load_lifter
from training import train_lifter
from training.dataset import People
from training.losses import detail_error, with_hues
from training.train_lifter import SHARPER, Recipe, mean_smooth, part_loss, shape_error


def test_only_steps_of_depth_are_its_shape() -> None:
    truth = torch.rand(2, 1, 32, 32)
    solid = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    assert shape_error(truth + 0.1, truth, solid) < 1e-9
    ramp = torch.arange(32) * 0.002  # 2 mm from column to column, nothing from row to row
    steps = torch.tensor([0.2, 0.4, 0.8, 1.6])  # cm
    each = torch.where(steps < 0.25, steps**2 / 0.5, steps - 0.125)
    torch.testing.assert_close(shape_error(truth + ramp, truth, solid), each.sum() / 16)
    solid[..., 16:] = False
    wrong = truth.clone()
    wrong[..., 16:] += 1
    assert shape_error(wrong, truth, solid) == 0


def test_nothing_known_is_no_error() -> None:
    nothing = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    assert shape_error(torch.rand(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), nothing) == 0
    assert mean_smooth(torch.zeros(0), 0.5) == 0


def test_colours_that_do_not_go_together_are_another_amount_of_detail() -> None:
    """Stripes in red and green: as much detail of each colour, and another hue."""
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::8] = stripes[..., 1::8] = stripes[..., 2::8] = stripes[..., 3::8] = 1
    odd = stripes.clone()
    odd[:, 0] = odd[:, 0].roll(4, -1)
    assert detail_error(odd, stripes) < 1e-3
    assert detail_error(with_hues(odd), with_hues(stripes)) > 0.05


@pytest.mark.parametrize(("progress", "times"), [(0.79, 1.0), (0.8, 1.0), (0.81, SHARPER)])
def test_detail_counts_more_at_the_end(
    progress: float, times: float, balls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    loss = train_lifter.loss

    def noting(*arguments: object) -> object:
        seen.append(arguments[-1])
        return loss(*arguments)

    monkeypatch.setattr(train_lifter, "loss", noting)
    rng, noise, recipe = (
        np.random.default_rng(0),
        torch.Generator().manual_seed(0),
        Recipe(detail=3),
    )
    part_loss(load_lifter(), People(balls), rng, noise, progress, 1, recipe)
    assert asdict(seen[0]) == asdict(recipe) | {"detail": 3 * times}


def test_people_without_depth_teach_none(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `visavis-train multiview` have 0 everywhere."""
    draw = train_lifter.draw

    def flat(*arguments: object, **options: object) -> object:
        sample = draw(*arguments, **options)
        sample.views.depth.zero_()
        return sample

    monkeypatch.setattr(train_lifter, "draw", flat)
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    total, parts = part_loss(load_lifter(), People(balls), rng, noise, 0.9, 1, Recipe())
    assert parts["depth"] == parts["shape"] == parts["surface"] == 0 and total.isfinite()
