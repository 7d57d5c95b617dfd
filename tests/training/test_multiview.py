"""People from outside: any calibrated cameras become the portrait camera, seen from there."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.camera import viewpoint_camera
from models.viewpoint import Viewpoint
from tests.training.balls import ball_seen_by
from training.cli import main
from training.dataset import FOCAL, People
from training.measures import view_names

COLOR = np.array([0.9, 0.6, 0.4])
TO_HEAD = np.diag([1.0, -1, -1, 1])  # the world of these cameras: y up, z towards the camera, cm
TO_HEAD[:3, 3] = [0, 3, 5]
CAMERAS = ((0, 2.0, 2600), (20, 0.6, 500), (-35, 0.9, 800))
"""Yaw in degrees, distance in metres, focal length in pixels."""


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A ball photographed by a long lens from 2 m and by wide ones from nearer, not centred."""
    folder = tmp_path / "person"
    folder.mkdir()
    views = []
    for number, (yaw, distance, focal) in enumerate(CAMERAS):
        pose = viewpoint_camera(Viewpoint(yaw=yaw), distance).world_to_camera.double().numpy()
        turn, _ = cv2.Rodrigues(np.array([0.04, -0.07, 0.2]))
        pose[:3] = turn @ pose[:3]
        K = np.array([[focal, 0, 330], [0, focal, 235], [0, 0, 1]], float)
        rgba, _ = ball_seen_by(K, pose, 640, 480, COLOR)
        cv2.imwrite(str(folder / f"{number}.png"), rgba[..., [2, 1, 0]])
        cv2.imwrite(str(folder / f"{number}_mask.png"), rgba[..., 3])
        to_head = TO_HEAD.copy()
        to_head[:3, 3] /= 100
        world_to_camera = pose @ to_head
        world_to_camera[:3, 3] *= 100  # the world is in centimetres
        views.append(
            {
                "picture": f"{number}.png",
                "mask": f"{number}_mask.png",
                "K": K.tolist(),
                "world_to_camera": world_to_camera.tolist(),
            }
        )
    origin = np.linalg.inv(TO_HEAD)[:3, 3].tolist()
    head = {"origin": origin, "right": [1, 0, 0], "down": [0, -1, 0]}
    described = {"metres": 0.01, "head": head, "views": views}
    (folder / "cameras.json").write_text(json.dumps(described))
    return folder


def test_photographs_become_what_the_portrait_camera_sees(person: Path, tmp_path: Path) -> None:
    assert main(["multiview", str(person), "--out", str(tmp_path / "out")]) == 0
    people = People(tmp_path / "out")
    assert view_names(people) == ["input", "20", "-35"]
    views = people.views(np.array([0]), np.arange(3)[None])
    assert views.distance[0].tolist() == pytest.approx([2, 0.6, 0.9], abs=1e-4)
    assert views.nominal_distance[0].tolist() == pytest.approx([0.75] * 3, abs=1e-4)
    for number in range(3):
        focal = float(views.focal[0, number]) * 256
        K = np.array([[focal, 0, 128], [0, focal, 128], [0, 0, 1]])
        pose = views.world_to_camera[0, number].double().numpy()
        truth, _ = ball_seen_by(K, pose, 256, 256, COLOR)
        seen = views.rgba[0, number].permute(1, 2, 0).numpy() * 255
        error = np.abs(seen - truth.astype(float))
        assert error.mean() < 1.5, number
        # Only the ball's rim may differ: it is not smooth where it was drawn.
        assert (error.max(-1) > 12).mean() < 0.02, number


def test_they_can_be_evaluated_without_depth(
    person: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["multiview", str(person), "--out", str(out)]) == 0
    assert main(["evaluate", "--people", str(out), "--levels", "0"]) == 0
    printed = capsys.readouterr().out
    assert "| -35 |" in printed and "| depth |" not in printed and "mean head" not in printed


def test_lifted_people_stand_where_the_camera_saw_them(person: Path, tmp_path: Path) -> None:
    """From 2 m, the avatar must be about where the ball is, not 0.75 m from the camera."""
    from models.weights import load_lifter
    from training.predictions import Networks

    assert main(["multiview", str(person), "--out", str(tmp_path / "out")]) == 0
    views = People(tmp_path / "out").views(np.array([0]), np.arange(3)[None])
    assert float(views.focal[0, 0]) > 2 * FOCAL
    gaussians = Networks(load_lifter()).lift(views).gaussians
    depth = gaussians.means[0, gaussians.opacities[0] > 0.9, 2]
    assert 1.8 < float(depth.median()) < 2.1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["views"][0].pop("mask"), "needs an alpha channel"),
        (lambda d: d.pop("head"), "lacks 'head'"),
        (lambda d: d["views"][1].update(picture="no.png"), "no.png is missing"),
        (
            lambda d: d["views"][1].update(K=[[1, 2], [3, 4]]),
            "K must be 3 x 3 finite numbers",
        ),
        (lambda d: d["head"].update(down=[1, 0, 0]), "parallel"),
        (lambda d: d.update(views=d["views"][:1]), "fewer than two views"),
        (lambda d: d.update(metres="wide"), "metres must be a finite number"),
        (lambda d: d.update(metres=0), "metres must be above 0"),
        (lambda d: d.update(metres=1), "200 m from the camera"),
        (lambda d: d.update(views={"a": 1}), "views[0]"),
        (lambda d: d["views"][0].update(K=[[0, 0, 0]] * 3), "views[0]: K must be"),
        (lambda d: d["views"][2].update(K=[[True] * 3] * 3), "views[2]: K must be"),
        (lambda d: d["views"][1]["world_to_camera"][0].__setitem__(0, 9), "a rotation"),
        (lambda d: d["head"].update(origin=[70, 0, 0]), "the person is not where"),
    ],
)
def test_what_is_wrong_is_one_line(
    person: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change, reason: str
) -> None:
    path = person / "cameras.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))
    assert main(["multiview", str(person), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_pictures_of_16_bits_are_refused_and_a_second_run_too(
    person: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["multiview", str(person), "--out", str(out)]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    picture = cv2.imread(str(person / "1.png")).astype(np.uint16) * 257
    cv2.imwrite(str(person / "1.png"), picture)
    assert main([*arguments[:-1], str(tmp_path / "other")]) == 2
    assert "8-bit" in capsys.readouterr().err
