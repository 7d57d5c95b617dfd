"""Rows of the evaluation that are told a part of the truth, on balls, where all of it is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.lifter import Layers, to_gaussians
from models.weights import load_lifter
from tests.training.balls import ball
from training.cli import main
from training.dataset import People, Views
from training.evaluate import evaluate
from training.limits import TrueDepth, at_true_depth, portrait_pixels
from training.predictions import Networks, on_grey
from training.variants import Variant


def views_of(folder: Path, person: int = 0) -> Views:
    people = People(folder)
    return people.views(np.array([person]), np.arange(people.views_per_person)[None])


def test_the_portrait_has_the_right_colours_where_it_shows_a_surface(balls: Path) -> None:
    views = views_of(balls)
    colors, shown = portrait_pixels(views)
    truth = views.rgba[0, :, :3]
    assert ((colors - truth).abs() * shown).max() < 0.15  # 8 bits, and texels of half the size
    error = ((colors - truth) ** 2 * shown).sum((1, 2, 3)) / shown.sum((1, 2, 3))
    assert error.max() < 1e-4
    solid = (views.rgba[0, :, 3] > 0.95).sum((1, 2))
    share = shown.sum((1, 2, 3)) / solid
    assert share[0] > 0.9
    assert 0.5 < share[2] < 0.9  # 47 degrees on, a part of the ball was on the other side


def test_layer_1_is_put_where_the_surface_is_and_layer_2_left(balls: Path) -> None:
    views = views_of(balls)
    layers = Layers(torch.zeros(1, 10, 256, 256), torch.full((1, 10, 128, 128), 2.0))
    moved = at_true_depth(layers, views)
    image = on_grey(views.rgba[:, 0])
    before, after = (to_gaussians(x, image, views.distance[:, 0]) for x in (layers, moved))
    middle = after.depth[0, 0, 126:130, 126:130]
    assert middle.mean() == pytest.approx(0.75 - 0.1, abs=1e-3)
    corner = after.depth[0, 0, :20, :20]
    assert torch.equal(corner, before.depth[0, 0, :20, :20])
    back = slice(256 * 256, None)
    assert torch.allclose(before.means[:, back], after.means[:, back], atol=1e-4)


def test_a_layer_2_that_would_be_overtaken_stays_behind(balls: Path) -> None:
    views = views_of(balls)
    front = torch.full((1, 10, 256, 256), -3.0)  # 24 cm too near
    moved = at_true_depth(Layers(front, torch.full((1, 10, 128, 128), -5.0)), views)
    image = on_grey(views.rgba[:, 0])
    discs = to_gaussians(moved, image, views.distance[:, 0])
    seen = torch.nn.functional.avg_pool2d(discs.depth, 2).flatten()
    assert (discs.means[0, 256 * 256 :, 2] >= seen + 0.01).all()


def test_who_is_told_more_is_nearer_the_truth(balls: Path) -> None:
    networks, people = Networks(load_lifter()), People(balls)
    raw, depth, pixels = (
        evaluate(predict, people)
        for predict in (networks, TrueDepth(networks), TrueDepth(networks, pixels=True))
    )
    assert raw["mean"] < depth["mean"] < pixels["mean"]
    assert depth["depth"] < raw["depth"] / 2
    assert "depth" not in pixels


def test_a_layer_that_is_left_out_stays_so(balls: Path) -> None:
    views, lifter = views_of(balls), load_lifter()
    both, front = (
        TrueDepth(Networks(lifter, variant=Variant(layers=layers)))(views).rgba[:, 3].mean()
        for layers in (2, 1)
    )
    assert front < both - 0.005


def test_limits_are_rows_and_need_depth(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--people", str(balls), "--levels", "--limit", "1", "--limits"]
    assert main(arguments) == 0
    assert "raw, true depth and pixels" in capsys.readouterr().out
    shard = tmp_path / "shard_00000"
    shard.mkdir()
    rgba, _, pose = ball(2, np.array([0.8, 0.6, 0.5]))
    np.save(shard / "rgba.npy", np.stack([rgba, rgba])[None])
    np.save(shard / "depth.npy", np.zeros((1, 2, 128, 128), np.float16))
    np.save(shard / "camera.npy", np.tile(np.append(pose.ravel(), 0.75), (1, 2, 1)))
    assert main(["evaluate", "--people", str(tmp_path), "--levels", "--limits"]) == 2
    assert "holds no depth" in capsys.readouterr().err
