"""The measuring itself, on people who are shaded balls, where the truth is known."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from models.camera import viewpoint_camera
from models.viewpoint import Viewpoint
from models.weights import load_lifter, load_refiner
from tests.training.balls import ball
from training.cli import main
from training.dataset import People
from training.evaluate import evaluate
from training.measures import per_yaw, score, summary, view_names
from training.predictions import Networks, Prediction, input_repeated, mean_depth, on_grey, warped
from training.stability import warp


def test_repeating_the_input_scores_perfectly_only_at_the_input(balls: Path) -> None:
    measured = evaluate(input_repeated, People(balls))
    assert measured["input"] > 50
    assert all(measured[str(yaw)] < 40 for yaw in (-30, -15, 15, 30, 45))
    assert "depth" not in measured


def test_the_truth_scores_perfectly(balls: Path) -> None:
    people = People(balls)

    def truth(views: object) -> Prediction:
        depth = torch.nn.functional.interpolate(views.depth[0], scale_factor=2)[:, 0]
        return Prediction(views.rgba[0], depth)

    scores = score(truth, people)
    assert scores["psnr"].min() > 50 and scores["depth"].max() < 1
    measured = summary(scores, view_names(people))
    assert measured["ssim"] > 0.999 and measured["iou"] == 1
    assert measured["sharpness"] == pytest.approx(1)


def test_views_are_named_by_their_cameras(balls: Path) -> None:
    assert view_names(People(balls)) == ["input", "-6", "-45", "-30", "-15", "15", "30", "45"]


def test_a_summary_has_each_yaw_and_each_pitch(large_balls: Path) -> None:
    people = People(large_balls)
    assert view_names(people) == ["input", "-30/-15", "30/-15", "-30", "30"]
    scores = score(input_repeated, people)
    measured, views = summary(scores, view_names(people)), scores["psnr"].mean(0)
    assert measured["-30"] == pytest.approx(views[[1, 3]].mean())
    assert measured["pitch -15"] == pytest.approx(views[1:3].mean())
    assert measured["pitch 0"] == pytest.approx(views[3:].mean())


def test_views_from_the_same_side_share_a_column() -> None:
    names = ["input", "20/5", "20/5#2", "20", "20#2"]
    measured = summary(
        {"psnr": np.arange(10.0).reshape(2, 5)}
        | {
            name: np.ones((2, 5))
            for name in ("psnr_whole", "ssim", "ssim_whole", "iou", "sharpness", "depth")
        },
        names,
    )
    assert measured["20"] == 5 and measured["pitch 5"] == 4 and measured["pitch 0"] == 6
    assert not any("#" in name for name in measured)


def test_people_are_filled_as_in_a_call(balls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = People(balls).views(np.array([0]), np.zeros((1, 1), np.int64))
    lifter = load_lifter()

    def nothing(image: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((1, 10, 256, 256), -3.0), torch.full((1, 10, 128, 128), -3.0)

    monkeypatch.setattr(lifter, "forward", nothing)
    solid, left = (
        (Networks(lifter, given=given).lift(views).gaussians.opacities > 0.9).sum()
        for given in (True, False)
    )
    inside = int((views.rgba[0, 0, 3] > 0.95).sum())
    assert 0.9 * inside < solid <= inside and left == 0


def test_each_measure_is_told_by_yaw(balls: Path, large_balls: Path) -> None:
    people = People(balls)
    names, scores = view_names(people), score(input_repeated, people)
    told = per_yaw(scores, names)
    assert list(told["iou"]) == names and "depth" not in told
    assert told["sharpness"]["-45"] == pytest.approx(scores["sharpness"][:, 2].mean())
    assert told["psnr, interval"]["30"] == pytest.approx(
        1.96 * scores["psnr"][:, 6].std(ddof=1) / np.sqrt(2)
    )
    alone = People(large_balls)  # one person has no interval
    told = per_yaw(score(input_repeated, alone), view_names(alone))
    assert "psnr, interval" not in told and "pitch -15" in told["ssim"]


def test_views_are_measured_at_512_too(large_balls: Path) -> None:
    people, networks = People(large_balls), Networks(load_lifter(), load_refiner())
    views = people.views(np.array([0]), np.arange(5)[None], 512)
    seen = networks(views)
    assert seen.rgba.shape == (5, 4, 512, 512) and seen.depth.shape == (5, 512, 512)
    small, large = (score(networks, people, size=size)["psnr"].mean() for size in (256, 512))
    assert large == pytest.approx(small, abs=2)


def test_pictures_that_are_too_small_are_one_line(
    balls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--people", str(balls), "--size", "512"]) == 2
    said = capsys.readouterr().err
    assert "--layout grid" in said and said.count("\n") == 1


def test_the_mean_head_is_better_than_no_head(balls: Path) -> None:
    people = People(balls)
    depth = mean_depth(people)
    assert depth.min() == pytest.approx(-0.1, abs=0.005)  # all balls have the same size
    with_depth, without = evaluate(warped(depth), people), evaluate(input_repeated, people)
    assert with_depth["30"] > without["30"] + 3
    assert with_depth["depth"] < 10


def test_a_view_warped_by_its_true_depth_is_its_neighbour() -> None:
    color = np.array([0.9, 0.6, 0.4])
    views = [ball(yaw, color) for yaw in (10, 15)]
    rgba = torch.stack([torch.from_numpy(v[0]).permute(2, 0, 1) / 255 for v in views])
    depth = torch.stack([torch.from_numpy(v[1].astype(np.float32)) for v in views])
    depth = torch.nn.functional.interpolate(depth[:, None], scale_factor=2, mode="bilinear")[:, 0]
    cameras = torch.stack([viewpoint_camera(Viewpoint(yaw=y)).world_to_camera for y in (10, 15)])

    def agreement(depth: torch.Tensor) -> float:
        moved, both = warp(rgba, depth, cameras)
        assert both.float().mean() > 0.2
        return float(-10 * torch.log10(((on_grey(moved) - on_grey(rgba[0])) ** 2)[:, both].mean()))

    assert agreement(depth) > 38
    assert agreement(torch.full_like(depth, 0.75)) < agreement(depth) - 10


def test_evaluate_writes_rows_scores_and_a_sheet(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    arguments = f"--people {balls} --limit 1 --levels 0.3 --json {report} --sheet {sheet}"
    arguments += " --per-yaw"
    assert main(["evaluate", *arguments.split()]) == 0
    printed = capsys.readouterr().out
    data = json.loads(report.read_text())
    assert list(data["rows"]) == [
        "input repeated",
        "warped with the mean head",
        "raw, no mask given",
        "raw",
        "refined, sigma 0.3",
        "raw, as shown",
        "refined, sigma 0.3, as shown",
    ]
    assert all(f"| {label} |" in printed for label in data["rows"])
    assert all(f"| {name} | input | -6 | -45 |" in printed for name in ("psnr", "iou", "depth"))
    assert data["yaws"]["raw"]["depth"]["30"] > 0
    assert len(data["scores"]["raw"]["psnr"][0]) == len(data["views"]) == 8
    assert data["moving"]["raw"]["jitter, levels"] > 0
    assert sheet.stat().st_size > 10_000


def test_what_is_no_picture_is_refused_before_the_work(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in (("--sheet", "sheet.pdf"), ("--plot", "plot.xyz"), ("--plot", "plot")):
        if option == "--plot":
            pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        arguments = f"--people {balls} --limit 1 --levels {option} {tmp_path / name}"
        assert main(["evaluate", *arguments.split()]) == 2
        printed, said = capsys.readouterr()
        assert printed == "" and f"written as {name}." in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_sheet_has_the_size_of_the_views(large_balls: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = f"--people {large_balls} --levels --size 512 --sheet {sheet}"
    assert main(["evaluate", *arguments.split()]) == 0
    picture = cv2.imread(str(sheet))
    assert picture.shape == (2 * 512, 3 * 512, 3)  # truth and raw; the views at pitch 0
    enlarged = cv2.resize(cv2.resize(picture, None, fx=0.5, fy=0.5), picture.shape[1::-1])
    assert np.abs(picture.astype(int) - enlarged).max() > 10
