"""Both training stages, end to end and small: people who are shaded balls, seen by real cameras."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training import run
from training.augment import camera_picture, jpeg
from training.cli import main
from training.dataset import CorpusError, People, relative_cameras
from training.export import averaged
from training.losses import box_sum, detail_error, ssim
from training.run import cosine, generators


def train(people: Path, out: Path, steps: int) -> None:
    arguments = f"--people {people} --out {out} --steps {steps} --batch 2 --threads 1 --every 2"
    assert main(["lifter", *arguments.split()]) == 0


def test_resumed_run_equals_the_unbroken_one_and_means_are_exported(
    balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = run.save_checkpoint

    def keep(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        shutil.copy(path, path.with_name(f"{state['step']}.pt"))

    monkeypatch.setattr(run, "save_checkpoint", keep)
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    train(balls, unbroken, 4)
    resumed.mkdir()
    shutil.copy(unbroken / "2.pt", resumed / "lifter.pt")
    train(balls, resumed, 4)
    mean = averaged("lifter", unbroken / "2.pt", unbroken / "4.pt").state_dict()
    early, late = (averaged("lifter", unbroken / f"{s}.pt").state_dict() for s in (2, 4))
    assert all(torch.allclose(v, (early[k] + late[k]) / 2) for k, v in mean.items())
    assert any(not torch.equal(early[k], late[k]) for k in mean)
    one, two = (torch.load(d / "lifter.pt", weights_only=True) for d in (unbroken, resumed))
    assert one["step"] == two["step"] == 4
    for name, value in one["network"].items():
        assert torch.equal(value, two["network"][name]), name


def test_lifter_learns_and_the_refiner_follows(balls: Path, tmp_path: Path) -> None:
    train(balls, tmp_path, 12)
    log = [json.loads(line) for line in (tmp_path / "lifter.jsonl").read_text().splitlines()]
    # In so few steps the rate is still warming up; what needs no other view is learnt first.
    assert log[-1]["opaque"] < 0.9 * log[0]["opaque"]

    weights = tmp_path / "lifter.safetensors"
    checkpoint = str(tmp_path / "lifter.pt")
    assert main(["export", checkpoint, "--network", "lifter", "--out", str(weights)]) == 0
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["steps"] == 12 and card["settings"]["seed"] == 1

    arguments = f"--people {balls} --out {tmp_path} --lifter {weights} --steps 4 --batch 1"
    assert main(["refiner", *arguments.split(), "--threads", "1", "--every", "2"]) == 0
    log = [json.loads(line) for line in (tmp_path / "refiner.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4
    assert "told apart" in log[-1]
    refiner = averaged("refiner", tmp_path / "refiner.pt")
    assert all(torch.isfinite(p).all() for p in refiner.parameters())


def test_scores_of_several_kinds_of_people_are_told_apart(
    balls: Path, large_balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = f"--people {balls} --out {tmp_path} --steps 2 --batch 2 --threads 1 --every 1"
    held_out = f"--held-out {balls} {large_balls}"
    assert main(["lifter", *common.split(), *held_out.split()]) == 0
    [_, record] = map(json.loads, (tmp_path / "lifter.jsonl").read_text().splitlines())
    scores = [record[f"held_out_{folder.name}_mean"] for folder in (balls, large_balls)]
    assert scores[0] != scores[1] and all(np.isfinite(scores))

    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / balls.name
    twin.symlink_to(balls, target_is_directory=True)
    (tmp_path / "lifter.pt").unlink()
    assert main(["lifter", *common.split(), "--held-out", str(balls), str(twin)]) == 2
    assert "the same name" in capsys.readouterr().err


def test_a_start_that_a_checkpoint_overrules_is_said(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(balls, tmp_path, 2)
    weights = str(tmp_path / "lifter.safetensors")
    checkpoint = str(tmp_path / "lifter.pt")
    assert main(["export", checkpoint, "--network", "lifter", "--out", weights]) == 0
    capsys.readouterr()
    arguments = (
        f"--people {balls} --out {tmp_path} --steps 2 --batch 2 --threads 1 --start {weights}"
    )
    assert main(["lifter", *arguments.split()]) == 0
    assert capsys.readouterr().err == f"{checkpoint} goes on; --start is not used.\n"


@pytest.mark.parametrize("broken", ["other", "text"])
def test_a_checkpoint_of_something_else_is_said_in_one_line(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    train(balls, tmp_path, 1)
    checkpoint = tmp_path / "lifter.pt"
    if broken == "text":
        checkpoint.write_text("x")
    else:
        state = torch.load(checkpoint, weights_only=True)
        state["network"]["stem.weight"] = state["network"]["stem.weight"][:, :5]
        torch.save(state, checkpoint)
    arguments = f"--people {balls} --out {tmp_path} --steps 2 --batch 2 --threads 1"
    capsys.readouterr()
    assert main(["lifter", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "not a checkpoint of this version's lifter" in said


def test_unfinished_shards_are_left_alone(balls: Path) -> None:
    assert len(People(balls)) == 2


def test_no_people_is_said(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="visavis-train people"):
        People(tmp_path)


def test_mirrored_views_agree_with_their_cameras(balls: Path) -> None:
    views = People(balls).views(np.array([0]), np.array([[0, 6]]))
    mirrored = views.mirrored(torch.tensor([True]))
    # Yaw 30 in the mirror is yaw -30: the camera stands on the other side.
    moved = relative_cameras(views.world_to_camera[:, 0], views.world_to_camera)[0, 1]
    turned = relative_cameras(mirrored.world_to_camera[:, 0], mirrored.world_to_camera)[0, 1]
    assert torch.allclose(turned[0, 2], -moved[0, 2])
    assert torch.allclose(turned[1, 1], moved[1, 1])
    assert torch.equal(mirrored.rgba, views.rgba.flip(-1))


def test_ssim_of_a_picture_with_itself_is_one() -> None:
    picture = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(ssim(picture, picture), torch.ones_like(picture))
    assert ssim(picture, 1 - picture).mean() < 0.2


@pytest.mark.parametrize("window", [1, 3, 7, 11])
def test_box_sums_are_those_of_a_square_window(window: int) -> None:
    picture = torch.rand(2, 3, 20, 31, dtype=torch.float64)
    wanted = F.avg_pool2d(picture, window, 1, window // 2, divisor_override=1)
    torch.testing.assert_close(box_sum(picture, window), wanted)


def test_detail_elsewhere_is_better_than_none() -> None:
    texture = torch.rand(1, 1, 64, 64)
    other, blurred = torch.rand(1, 1, 64, 64), F.avg_pool2d(texture, 7, 1, 3)
    assert (other - texture).abs().mean() > (blurred - texture).abs().mean()
    assert detail_error(other, texture) < 0.2 * detail_error(blurred, texture)


def test_jpeg_keeps_colours_and_loses_detail_with_quality() -> None:
    axis = torch.linspace(0, 1, 64)
    picture = torch.stack(
        [axis.expand(64, 64), axis[:, None].expand(64, 64), 0.3 * axis + 0.2 * axis[:, None]]
    )
    fine, coarse = (float((jpeg(picture, q) - picture).abs().mean()) for q in (95, 25))
    assert fine < 0.01 < 5 * coarse
    assert fine < coarse < 0.1


def test_camera_pictures_depend_on_their_generator_alone() -> None:
    picture = torch.rand(4, 3, 64, 64)
    one, two, other = (
        camera_picture(picture, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_draws_depend_on_step_and_worker_alone() -> None:
    first, again, other = (generators(1, 5, w)[0].integers(0, 1 << 40) for w in (0, 0, 1))
    assert first == again != other


def test_rate_warms_up_and_falls() -> None:
    rates = [cosine(step, 1000) for step in range(1000)]
    assert rates[0] < rates[50] < rates[100]
    assert rates[-1] < 0.03 < 0.5 < rates[400]


def test_what_is_no_checkpoint_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, other = tmp_path / "notes.pt", tmp_path / "other.pt"
    text.write_text("hello")
    torch.save({"average": [torch.zeros(3)]}, other)
    out = str(tmp_path / "x.safetensors")
    for path, reason in (
        (text, "is not a checkpoint"),
        (other, "another network"),
        (tmp_path / "no.pt", "No such file"),
    ):
        assert main(["export", str(path), "--network", "lifter", "--out", out]) == 2
        said = capsys.readouterr().err
        assert reason in said and said.count("\n") == 1
    assert not Path(out).exists()
