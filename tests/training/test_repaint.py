"""People painted and lit anew are still one person in all views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.balls import RADIUS
from training import repaint
from training.dataset import People, Views
from training.repaint import head_points, repainted
from training.stability import warp
from training.train_lifter import draw


def views_of(balls: Path, *which: int) -> Views:
    return People(balls).views(np.array([0, 1]), np.array([which, which]))


def painted(views: Views, seed: int) -> torch.Tensor:
    return repainted(views, torch.Generator().manual_seed(seed))


def test_pixels_are_found_in_head_space(balls: Path) -> None:
    views = views_of(balls, 0, 3, 6)
    points = head_points(views).norm(dim=1)
    inside = views.depth.flatten(0, 1)[:, 0] > 0
    assert inside.float().mean() > 0.1
    assert (points[inside] - RADIUS).abs().max() < 1e-3


@pytest.mark.parametrize("only", ["pattern", "light"])
def test_all_views_show_the_same_person(
    only: str, balls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbouring view, warped by its exact depth, agrees nearly as well as before."""
    monkeypatch.setattr(repaint, "SHARE", 1.0)
    for name in ("LIGHT", "WARMTH") if only == "pattern" else ("PAINT",):
        monkeypatch.setattr(repaint, name, 0.0)
    views, agreed, changed = views_of(balls, 0, 1), [], []
    depth = torch.nn.functional.interpolate(views.depth.flatten(0, 1), 256).view(2, 2, 256, 256)
    for seed in range(3):
        rgba = painted(views, seed)
        errors = []
        for picture in (views.rgba, rgba, torch.stack([rgba[:, 0], views.rgba[:, 1]], 1)):
            moved, both = warp(picture, depth, views.world_to_camera)
            errors.append(((moved - picture[:, 0]).abs()[:, :3].mean(1) * both).sum() / both.sum())
        before, after, apart = errors
        agreed.append(after / before)
        changed.append(apart / before)
    assert max(agreed) < 2 < 5 < max(changed)


def test_outlines_stay_and_colours_lie_within_them(balls: Path) -> None:
    views = views_of(balls, 0, 2)
    rgba = painted(views, 1)
    assert torch.equal(rgba[:, :, 3], views.rgba[:, :, 3])
    assert (rgba[:, :, :3] <= rgba[:, :, 3:]).all() and (rgba >= 0).all()
    assert torch.equal(painted(views, 1), rgba)
    assert not torch.equal(painted(views, 2), rgba)


def test_batches_are_painted_as_often_as_asked(
    balls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, calls = People(balls), []
    monkeypatch.setattr(
        "training.train_lifter.repainted", lambda views, rng: calls.append(0) or views.rgba
    )
    for share, least, most in ((0.0, 0, 0), (0.5, 2, 18), (1.0, 20, 20)):
        calls.clear()
        for seed in range(20):
            rng, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
            draw(people, rng, noise, 1, 1, repaint=share)
        assert least <= len(calls) <= most


def test_mirrored_people_are_still_one_person(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person and a light seen in a mirror: where the camera is matters, not the picture alone."""
    monkeypatch.setattr(repaint, "SHARE", 1.0)
    views = views_of(balls, 0, 1).mirrored(torch.tensor([True, False]))
    inside = views.depth.flatten(0, 1)[:, 0] > 0
    points = head_points(views).norm(dim=1)
    assert (points[inside] - RADIUS).abs().max() < 1e-3
    assert not torch.equal(painted(views, 0), views.rgba)


@pytest.mark.parametrize("depth", [0.0, torch.nan, torch.inf])
def test_people_whose_depth_nobody_knows_stay_as_they_are(depth: float, balls: Path) -> None:
    views = views_of(balls, 0, 1)
    views.depth = torch.full_like(views.depth, depth)
    assert torch.equal(painted(views, 0), views.rgba)
