"""Training and measuring the large refiner, on a tiny pipeline of the same classes."""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.lifter import Lifter
from models.sd_turbo import SdTurbo
from models.sd_turbo_files import load_sd_turbo
from tests.models.tiny_sd_turbo import one_thread, write_pipeline
from training import run, train_sd_turbo
from training.cli import main
from training.dataset import People
from training.run import Learner
from training.train_refiner import generator_loss, prepare
from training.train_sd_turbo import Trained, averaged
from training.variants import Variant

SIZE = 64


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_thread():
        yield write_pipeline(tmp_path_factory.mktemp("pipeline"))


def trained_for(pipeline: Path, balls: Path, out: Path, steps: int, *more: str) -> int:
    arguments = f"--base {pipeline} --size {SIZE} --people {balls} --out {out} --steps {steps}"
    return main(["sd-turbo", *arguments.split(), *"--threads 1 --every 1".split(), *more])


@pytest.mark.parametrize("sparing", [False, True])
def test_one_step_changes_the_additions_alone(pipeline: Path, balls: Path, sparing: bool) -> None:
    network = load_sd_turbo(pipeline, SIZE, rank=2)
    if sparing:
        network.unet.enable_gradient_checkpointing()
        network.unet.train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    learner = Learner(Trained(network), 1e-2)
    assert len(learner.parameters) == len(network.trainable()) < len(before)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    variant = Variant()
    batch = prepare(
        (Lifter().eval(), variant), People(balls), np.random.default_rng(0), generator, 1, 0.3
    )
    total, parts, _ = generator_loss(network, None, batch, variant)
    assert torch.isfinite(total) and parts["color"] > 0
    gradients = torch.autograd.grad(total, learner.parameters, allow_unused=True)
    for value, gradient in zip(learner.parameters, gradients, strict=True):
        value.grad = gradient
    learner.learn(0, 1.0)
    changed = {n for n, v in network.named_parameters() if not torch.equal(v, before[n])}
    assert changed <= network.trainable().keys()
    for part in ("unet.", "vae.decoder.", "skips."):
        assert any(name.startswith(part) for name in changed), part


def test_average_is_lent_and_taken_back(pipeline: Path) -> None:
    network = load_sd_turbo(pipeline, SIZE, rank=2)
    learner = Learner(Trained(network), 1e-2)
    with torch.no_grad():
        network.skips[0].weight.fill_(1)
    with averaged(learner):
        assert (network.skips[0].weight == 0).all()
    assert (network.skips[0].weight == 1).all()


def test_resumed_training_equals_the_unbroken_one_and_is_measured(
    pipeline: Path,
    balls: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = run.save_checkpoint

    def keep(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        shutil.copy(path, path.with_name(f"{state['step']}.pt"))

    monkeypatch.setattr(run, "save_checkpoint", keep)
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert trained_for(pipeline, balls, unbroken, 3, "--held-out", str(balls)) == 0
    log = [json.loads(x) for x in (unbroken / "sd_turbo.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 3 and "told apart" in log[-1] and "held_out_mean" in log[-1]
    resumed.mkdir()
    shutil.copy(unbroken / "2.pt", resumed / "sd_turbo.pt")
    assert trained_for(pipeline, balls, resumed, 3) == 0
    one, two = (torch.load(d / "sd_turbo.pt", weights_only=True) for d in (unbroken, resumed))
    assert one["step"] == two["step"] == 3
    for name, value in one["network"].items():
        assert torch.equal(value, two["network"][name]), name
    # The checkpoint holds what is trained, and not the pipeline.
    network = load_sd_turbo(unbroken / "refiner", merged=False)
    assert len(one["network"]) == len(network.trainable()) == len(one["average"])
    assert network.config.size == SIZE and network.config.rank == train_sd_turbo.RANK
    for value, kept in zip(network.trainable().values(), one["average"], strict=True):
        assert torch.equal(value, kept.half().float())

    capsys.readouterr()
    assert trained_for(pipeline, balls, resumed, 4, "--rank", "3") == 2
    assert "--rank 8" in capsys.readouterr().err
    report = tmp_path / "report.json"
    arguments = f"--people {balls} --refiner {unbroken / 'refiner'} --levels 0.2 --json {report}"
    assert main(["evaluate", *arguments.split(), "--limit", "1"]) == 0
    rows = json.loads(report.read_text())["rows"]
    assert np.isfinite(rows["refined, sigma 0.2"]["mean"])
    assert rows["refined, sigma 0.2"]["iou"] == rows["raw"]["iou"]  # alpha is the splat's


def test_training_begins_with_trained_additions(
    pipeline: Path, balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained_for(pipeline, balls, tmp_path / "first", 1, "--rank", "2") == 0
    begun = []

    def note(name: str, chosen: argparse.Namespace, people: People, parts: dict, *_: object):
        begun.append(parts["network"].state_dict())

    monkeypatch.setattr(train_sd_turbo, "train", note)
    first = tmp_path / "first" / "refiner"
    assert trained_for(pipeline, balls, tmp_path / "second", 1, "--start", str(first)) == 0
    kept: SdTurbo = load_sd_turbo(first, merged=False)
    for value, wanted in zip(begun[0].values(), kept.trainable().values(), strict=True):
        assert torch.equal(value, wanted)


def test_a_base_that_is_none_is_said(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained_for(tmp_path, balls, tmp_path / "out", 1) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "no pipeline of diffusers" in line
