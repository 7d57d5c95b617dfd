"""`visavis-train calibrate` measures networks on people, and writes it beside their weights."""

import json
from pathlib import Path

import pytest
import torch

from models.int8 import available
from models.lifter import Lifter
from models.refiner import Refiner
from models.weights import LIFTER, REFINER, load_calibration, save_weights, weights_folder
from training.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    save_weights(Lifter(), tmp_path / LIFTER)
    save_weights(Refiner(), tmp_path / REFINER)
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    return tmp_path


def test_both_networks_are_calibrated_on_people(folder: Path, balls: Path) -> None:
    assert load_calibration(weights_folder() / LIFTER) is None
    assert main(["calibrate", "--people", str(balls), "--count", "2"]) == 0
    for name, network in ((LIFTER, Lifter()), (REFINER, Refiner())):
        found = load_calibration(weights_folder() / name)
        assert found is not None
        told = json.loads((folder / name.replace(".safetensors", "_int8.json")).read_text())
        assert found.pictures == told["pictures"]
        assert set(found.pictures) == set(network.STEMS)
        convolutions = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)}
        attention = {"attention"} if name == REFINER else set()
        assert set(found.ranges) == (convolutions | attention) - set(network.HEADS)
        assert all(0 < one.scale < 10 and 0 <= one.zero <= 255 for one in found.ranges.values())

    save_weights(Lifter(), folder / LIFTER)
    assert load_calibration(weights_folder() / LIFTER) is None, "of the weights before"


def test_one_network_alone_and_by_a_relative_path(
    folder: Path, balls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder / "run"
    run.mkdir()
    save_weights(Lifter(), run / LIFTER)
    monkeypatch.chdir(folder)
    named = ["calibrate", "--people", str(balls), "--count", "1", "--lifter", f"run/{LIFTER}"]
    assert main(named) == 0
    assert load_calibration(Path("run") / LIFTER) is not None
    assert load_calibration(folder / LIFTER) is None and load_calibration(folder / REFINER) is None
    monkeypatch.chdir(run)
    assert load_calibration(LIFTER) is not None, "of the file that is named, not of the engine's"


def test_people_who_are_not_there_are_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--people", str(tmp_path / "nobody")]) == 2
    assert "no rendered people" in capsys.readouterr().err
    assert load_calibration(weights_folder() / LIFTER) is None


@pytest.mark.skipif(not available(), reason="this CPU has no VNNI, without which --int8 is refused")
def test_networks_are_measured_in_eight_bits(
    folder: Path, balls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = ["evaluate", "--people", str(balls), "--limit", "1", "--levels", "0.05", "--int8"]
    assert main(measure) == 2
    assert "visavis-train calibrate" in capsys.readouterr().err
    noisy = ["evaluate", "--people", str(balls), "--levels", "0.2", "--int8"]
    assert main(noisy) == 2
    assert "0.05" in capsys.readouterr().err
    assert main(["calibrate", "--people", str(balls), "--count", "1"]) == 0
    out = folder / "eight.json"
    assert main([*measure, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert main([*measure[:-1], "--json", str(out)]) == 0
    plain = json.loads(out.read_text())["rows"]
    for label in ("raw", "refined, sigma 0.05"):
        assert rows[label] != plain[label]
        assert rows[label]["mean"] == pytest.approx(plain[label]["mean"], abs=0.3)
