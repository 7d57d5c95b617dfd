"""Training for what a moving viewer sees, and what ablations leave out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.camera import viewpoint_camera
from models.lifter import Lifter
from models.refiner import RENDER, Refiner
from models.viewpoint import Viewpoint
from models.weights import load_lifter
from tests.training.balls import ball_seen_by
from training import run, train_refiner
from training.cli import main
from training.dataset import FOCAL, People, intrinsics
from training.predictions import Networks
from training.stability import warp
from training.train_lifter import noised_twice
from training.train_refiner import Beside, disagreement, neighbours, prepare
from training.variants import Variant


def neighbouring_balls(focal: float = FOCAL) -> tuple[torch.Tensor, Beside]:
    """RGBA [1, 2, 4, 256, 256] of a ball from 10 and 15 degrees, and how they belong together."""
    cameras = torch.stack([viewpoint_camera(Viewpoint(yaw=y)).world_to_camera for y in (10, 15)])
    K = intrinsics(256, torch.tensor(focal)).double().numpy()
    color = np.array([0.9, 0.6, 0.4])
    seen = [ball_seen_by(K, pose.double().numpy(), 256, 256, color) for pose in cameras]
    rgba = torch.stack([torch.from_numpy(v[0]).permute(2, 0, 1) / 255 for v in seen])
    depth = torch.stack([torch.from_numpy(v[1]).float() for v in seen])
    return rgba[None], Beside(depth[None], cameras[None], torch.tensor([focal]))


def test_neighbours_agree_until_one_is_changed() -> None:
    rgba, beside = neighbouring_balls()
    # A batch of two: as it is, and with the second view darker.
    pictures = rgba.repeat(2, 1, 1, 1, 1)
    pictures[1, 1, :3] *= 0.8
    depth, cameras = beside.depth.repeat(2, 1, 1, 1), beside.cameras.repeat(2, 1, 1, 1)
    moved, both = warp(pictures, depth, cameras)
    assert both[0].float().mean() > 0.2 and torch.equal(both[0], both[1])
    untouched, changed = (
        (moved[i] - pictures[i, 0]).abs()[:3, both[i]].mean().item() for i in (0, 1)
    )
    assert untouched < 0.003 and changed > 10 * untouched
    alone, _ = warp(rgba[0], beside.depth[0], beside.cameras[0], FOCAL)
    torch.testing.assert_close(moved[0], alone)


def test_a_longer_lens_is_allowed_for() -> None:
    rgba, beside = neighbouring_balls(2 * FOCAL)

    def apart(focal: torch.Tensor | float) -> float:
        moved, both = warp(rgba, beside.depth, beside.cameras, focal)
        return float((moved - rgba[:, 0]).abs()[:, :3].mean(1)[both].mean())

    assert apart(beside.focal) < 0.003 < 0.006 < apart(FOCAL)


def test_only_what_exceeds_the_raw_disagreement_counts() -> None:
    raw, beside = neighbouring_balls()
    assert disagreement(raw, raw, beside).item() == 0
    grain = 0.1 * torch.randn(1, 1, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    grain[:, :, 3] = 0  # the same on the screen in both views: it does not stick to the surface
    assert disagreement(raw + grain, raw, beside).item() > 0.02


def test_both_pictures_are_asked_to_agree_and_depth_is_not() -> None:
    raw, beside = neighbouring_balls()
    pictures = raw.clone()
    pictures[:, 1, :3] *= 0.8
    pictures.requires_grad_(True)
    beside.depth.requires_grad_(True)
    disagreement(pictures, raw, beside).sum().backward()
    assert pictures.grad[:, 0].abs().sum() > 0 and pictures.grad[:, 1].abs().sum() > 0
    assert beside.depth.grad is None


def test_neighbours_go_round_the_head() -> None:
    yaws = (-50.0, 0.0, 20.0, 50.0)
    cameras = torch.stack([viewpoint_camera(Viewpoint(yaw=y)).world_to_camera for y in yaws])
    turned = neighbours(cameras, np.random.default_rng(0))
    assert torch.equal(turned[:, :3, 3], cameras[:, :3, 3])  # where the head's middle is
    eyes = -turned[:, :3, :3].transpose(1, 2) @ turned[:, :3, 3:]
    found = torch.atan2(eyes[:, 0, 0], -eyes[:, 2, 0]).rad2deg()
    steps = (found - torch.tensor(yaws)).abs()
    assert (steps > 2.99).all() and (steps < 6.01).all()
    assert torch.allclose(eyes[:, 1], torch.zeros(1), atol=1e-6)


def test_twins_belong_to_the_first_targets(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_refiner, "TWINS", 0.5)
    people, kinds = People(balls), set()
    for seed in range(8):
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        batch = prepare((load_lifter(), Variant()), people, rng, generator, 2)
        assert len(batch.render) == 6 and len(batch.truth) == 4
        assert torch.equal(batch.noise[4:], batch.noise[[0, 2]])
        assert torch.equal(batch.level[4:], batch.level[[0, 2]])
        first, twin = batch.render[[0, 2], :3], batch.render[4:, :3]
        kinds.add(batch.beside is None)
        if batch.beside is None:  # the same view, from another picture of the same person
            assert 0 < (first - twin).abs().mean() < 0.02
            assert torch.equal(batch.whose, torch.tensor([0, 0, 1, 1, 2, 3]))
            apart = batch.portrait[:2] - batch.portrait[2:]
            assert apart.abs().mean() < 0.05
            masked = batch.portrait[:2, 3].any((1, 2))  # else the portrait is black
            assert torch.equal((apart != 0).any((1, 2, 3)), masked)
        else:
            assert torch.equal(batch.whose, torch.tensor([0, 0, 1, 1, 0, 1]))
            pair = torch.stack([first, twin], 1)
            pair = torch.cat([pair, batch.render[[0, 4, 2, 5], 5:6].view(2, 2, 1, 256, 256)], 2)
            beside = batch.beside
            moved, both = warp(pair, beside.depth, beside.cameras, beside.focal)
            assert both.any((1, 2)).all()
            agree = ((moved - pair[:, 0]).abs()[:, :3].mean(1) * both).sum() / both.sum()
            assert agree < 0.3 * ((first - twin).abs().mean(1) * both).sum() / both.sum()
    assert kinds == {True, False}


def test_the_refiner_is_trained_on_renders_without_gaps(
    balls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As engines fill what a lifter leaves out, so does the training."""
    blind = load_lifter()
    with torch.no_grad():
        for head in (blind.front_head, blind.back_head):
            head.weight.zero_()
            head.bias.fill_(-3.0)
    monkeypatch.setattr(train_refiner, "TWINS", 0.0)
    shown = []
    for seed in range(4):
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        batch = prepare((blind, Variant()), People(balls), rng, generator, 2)
        masked = batch.portrait[batch.whose, 3].any(-1).any(-1)  # others were lifted without one
        covered = batch.render[:, 5].mean((1, 2)) / batch.truth[:, 3].mean((1, 2))
        shown += covered[masked].tolist()
        assert (covered[~masked] < 0.05).all()
    assert len(shown) > 4 and min(shown) > 0.3


def test_draws_of_noise_differ_and_have_one_strength() -> None:
    picture = torch.full((3, 3, 64, 64), 0.5)
    one, two = noised_twice(picture, torch.Generator().manual_seed(0))
    a, b = (x.sub(picture).std((1, 2, 3)) for x in (one, two))
    torch.testing.assert_close(a, b, rtol=0.05, atol=0)
    assert (a < 0.031).all() and a.max() > 1.2 * a.min()
    assert ((one - two).std((1, 2, 3)) > 1.3 * a).all()


def test_without_the_back_layer_it_is_as_if_transparent(balls: Path) -> None:
    views = People(balls).views(np.array([0]), np.array([[0, 4, 7]]))
    lifter, clear = load_lifter(), load_lifter()
    with torch.no_grad():  # the logit of the back layer's opacity, in four pixels of a patch
        clear.back_head.weight[20:24] = 0
        clear.back_head.bias[20:24] = -60
    full, front = Networks(lifter), Networks(lifter, variant=Variant(layers=1))
    assert front.lift(views).gaussians.means.shape[1] == 256 * 256
    assert full.lift(views).gaussians.means.shape[1] == 256 * 256 * 5 // 4
    torch.testing.assert_close(front(views).rgba, Networks(clear)(views).rgba)
    assert (front(views).rgba - full(views).rgba).abs().max() > 0.05


def test_a_refiner_without_the_portrait_its_detail_or_the_map() -> None:
    generator = torch.Generator().manual_seed(0)
    network = Refiner()
    render = torch.rand(1, RENDER, 64, 64, generator=generator)
    render[:, 3], render[:, 5] = 0, 1  # all is sure
    noise = torch.randn(1, 4, 64, 64, generator=generator)
    with torch.no_grad():
        portraits = torch.rand(2, 4, 256, 256, generator=generator)
        one, two = (network.encode_portrait(p[None]) for p in portraits)

        def refined(variant: Variant, level: float = 0.3, tokens: torch.Tensor = one):
            return variant.refine(network, render, noise, level, tokens)

        assert not torch.equal(refined(Variant()), refined(Variant(), tokens=two))
        blind = Variant(portrait=False)
        assert torch.equal(refined(blind), refined(blind, tokens=two))
        plain = Variant(reprojection=False)
        assert not torch.equal(refined(Variant()), refined(plain))
        render[:, 6:] = torch.rand(1, RENDER - 6, 64, 64, generator=generator)
        first = refined(plain)
        render[:, 6:] = 0
        assert torch.equal(first, refined(Variant()))
        everywhere = Variant(map=False)
        assert torch.equal(refined(Variant(), 0.0), refined(Variant(), 0.3))
        assert not torch.equal(refined(everywhere, 0.0), refined(everywhere, 0.3))


def test_a_lifter_of_one_layer_and_a_refiner_with_every_option(
    balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = f"--people {balls} --out {tmp_path} --steps 2 --batch 2 --threads 1 --every 2"
    assert main(["lifter", *common.split(), "--layers", "1", "--steady", "1"]) == 0
    [record] = map(json.loads, (tmp_path / "lifter.jsonl").read_text().splitlines())
    assert record["steady"] > 0
    trained = torch.load(tmp_path / "lifter.pt", weights_only=True)["network"]
    torch.manual_seed(1)
    begun = Lifter().state_dict()
    assert torch.equal(trained["back_head.weight"], begun["back_head.weight"])
    assert not torch.equal(trained["front_head.weight"], begun["front_head.weight"])
    weak = tmp_path / "weak.safetensors"
    checkpoint = str(tmp_path / "lifter.pt")
    assert main(["export", checkpoint, "--network", "lifter", "--out", str(weak)]) == 0
    assert Variant.of(weak) == Variant(layers=1)

    used = []
    save = run.save_checkpoint

    def keep(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        shutil.copy(path, path.with_name(f"{path.stem}_{state['step']}.pt"))

    def noting(lift: train_refiner.Lift, *arguments: object) -> train_refiner.Batch:
        used.append(lift[1].layers)
        return prepare(lift, *arguments)

    monkeypatch.setattr(train_refiner, "prepare", noting)
    monkeypatch.setattr(train_refiner, "TWINS", 0.5)
    monkeypatch.setattr(train_refiner, "WEAKER", 0.5)
    monkeypatch.setattr(run, "save_checkpoint", keep)
    common = f"--people {balls} --steps 2 --batch 4 --threads 4 --every 1"
    options = f"--weaker {weak} --no-portrait --no-map --fixed-level 0.2"
    command = ["refiner", *common.split(), *options.split(), "--out"]
    assert main([*command, str(tmp_path)]) == 0
    records = [json.loads(line) for line in (tmp_path / "refiner.jsonl").read_text().splitlines()]
    assert all(sum(record[part] for record in records) > 0 for part in ("agree", "steady"))
    assert set(used) == {1, 2}

    resumed = tmp_path / "resumed"
    resumed.mkdir()
    shutil.copy(tmp_path / "refiner_1.pt", resumed / "refiner.pt")
    assert main([*command, str(resumed)]) == 0
    one, two = (torch.load(d / "refiner.pt", weights_only=True) for d in (tmp_path, resumed))
    assert one["step"] == two["step"] == 2
    assert all(torch.equal(value, two["network"][name]) for name, value in one["network"].items())

    sharp = tmp_path / "sharp.safetensors"
    checkpoint = str(tmp_path / "refiner.pt")
    assert main(["export", checkpoint, "--network", "refiner", "--out", str(sharp)]) == 0
    assert Variant.of(weak, sharp) == Variant(layers=1, portrait=False, map=False)
    assert Variant.of() == Variant()
