"""Stage 2 of the training, on a real photograph."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.weights import load_lifter
from tests.models.faces import needs_face_models, portrait
from training.cli import main
from training.dataset import CorpusError
from training.export import averaged
from training.portraits import Portraits
from training.train_portraits import FRONT, lift, measure_portraits, novel_cameras, view

pytestmark = needs_face_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real portrait, a picture without a face, and a text."""
    folder = tmp_path_factory.mktemp("portraits")
    cv2.imwrite(str(folder / "astronaut.png"), portrait()[..., ::-1])
    cv2.imwrite(str(folder / "grey.png"), np.full((300, 300, 3), 90, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_what_is_no_portrait_is_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    portraits = Portraits(folder)
    assert len(portraits) == 1
    assert [name for name, _ in portraits.refused] == ["grey.png", "notes.txt"]
    with pytest.raises(CorpusError, match="No file"):
        Portraits(tmp_path)


def test_draws_are_mirrored_with_their_masks(folder: Path) -> None:
    portraits = Portraits(folder)
    draw = portraits.draw(np.random.default_rng(0), torch.Generator().manual_seed(0), 12)
    one = torch.cat([portraits.image, portraits.mask], 1)[0].float() / 255
    seen = {
        "straight" if torch.equal(both, one) else "mirrored"
        for both in torch.cat(draw, 1)
        if torch.equal(both, one) or torch.equal(both, one.flip(-1))
    }
    assert seen == {"straight", "mirrored"}


def test_a_portrait_comes_back_and_less_so_by_way_of_a_novel_view(folder: Path) -> None:
    measured = measure_portraits(load_lifter(), Portraits(folder))
    assert measured["portraits_kept"] > 27
    assert 15 < measured["portraits_returned"] < measured["portraits_kept"]


def test_novel_views_are_beside_the_front(folder: Path) -> None:
    cameras = novel_cameras(np.random.default_rng(1), 40)
    yaws = torch.rad2deg(torch.atan2(cameras[:, 0, 2], cameras[:, 0, 0]))
    assert (yaws.abs() > 9).all() and (yaws.abs() < 36).all()
    assert (yaws > 0).any() and (yaws < 0).any()
    portraits = Portraits(folder)
    image, mask = portraits.image.float() / 255, portraits.mask.float() / 255
    with torch.no_grad():
        gaussians = lift(load_lifter(), image, mask)
        front, side = (view(gaussians, FRONT[None], c[None]) for c in (FRONT, cameras[0]))
    assert (front - side).abs().mean() > 0.01


def test_stage_2_trains_resumes_and_exports(
    folder: Path, balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"--portraits {folder} --people {balls} --out {tmp_path} --batch 4 --threads 1"
    for steps in (2, 4):
        assert main(["portraits", *arguments.split(), "--steps", str(steps), "--every", "2"]) == 0
    assert "grey.png is left out" in capsys.readouterr().out
    log = [json.loads(line) for line in (tmp_path / "portraits.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == [2, 2, 4]
    assert {"kept", "returned", "fooled", "told apart", "color"} <= set(log[-1])
    trained, started = averaged("lifter", tmp_path / "portraits.pt"), load_lifter()
    pairs = list(zip(trained.parameters(), started.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all(torch.isfinite(a).all() for a, _ in pairs)
