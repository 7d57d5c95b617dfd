"""What is exported: the mean of checkpoints and of the weights that they began with."""

import json
from pathlib import Path

import pytest
import torch

from models.lifter import Lifter
from models.weights import load_lifter, save_weights
from training.cli import main
from training.variants import Variant


def test_the_weights_that_a_run_began_with_can_be_a_part_of_the_mean(tmp_path: Path) -> None:
    start, trained = Lifter(), Lifter()
    save_weights(start, tmp_path / "start.safetensors")
    state = {"average": list(trained.state_dict().values()), "step": 7, "seconds": 1.5}
    torch.save(state | {"settings": {"seed": 3}}, tmp_path / "lifter.pt")

    files = [str(tmp_path / name) for name in ("start.safetensors", "lifter.pt")]
    out = tmp_path / "mean.safetensors"
    assert main(["export", *files, "--network", "lifter", "--out", str(out)]) == 0
    mean = load_lifter(out).state_dict()
    for name, value in start.state_dict().items():
        expected = (value + trained.state_dict()[name]) / 2
        torch.testing.assert_close(mean[name], expected, atol=1e-3, rtol=1e-3)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["mean of"][0] == {"file": "start.safetensors"}
    assert card["steps"] == 7 and card["settings"] == {"seed": 3}


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(Lifter(), tmp_path / "lifter.safetensors")
    out = tmp_path / "x.safetensors"
    source = str(tmp_path / "lifter.safetensors")
    assert main(["export", source, "--network", "refiner", "--out", str(out)]) == 2
    assert not out.exists()


def test_what_was_left_out_is_remembered_in_whatever_order(tmp_path: Path) -> None:
    start, trained = tmp_path / "start.safetensors", tmp_path / "lifter.pt"
    save_weights(Lifter(), start)
    state = {"average": list(Lifter().state_dict().values()), "step": 7, "seconds": 1.5}
    torch.save(state | {"settings": {"layers": 1}}, trained)
    mean, again = tmp_path / "mean.safetensors", tmp_path / "again.safetensors"
    for out, files in ((mean, (trained, start)), (again, (mean, start))):
        words = [*map(str, files), "--network", "lifter", "--out", str(out)]
        assert main(["export", *words]) == 0
        assert Variant.of(out) == Variant(layers=1)


def test_a_card_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "lifter.safetensors"
    save_weights(Lifter(), weights)
    for text in ("{", "[]"):
        weights.with_suffix(".json").write_text(text)
        out = str(tmp_path / "mean.safetensors")
        assert main(["export", str(weights), "--network", "lifter", "--out", out]) == 2
        said = capsys.readouterr().err
        assert "lifter.json is not a JSON object" in said and said.count("\n") == 1
