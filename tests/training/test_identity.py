"""Distances between faces: which are measured and how they are summed up, with any embedder; and
what dlib's says of real faces."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.picture import load_picture
from tests.models.faces import needs_face_models, portrait
from training.cli import main
from training.dataset import People, Views
from training.identity import FaceEmbedder, by_yaw, identity, near_front
from training.measures import view_names
from training.predictions import Prediction, input_repeated

needs_dlib = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("dlib", "face_recognition_models")),
    reason="dlib or its face network is not installed: visavis[identity] brings them",
)
DEMO = Path(__file__).parents[2] / "models" / "assets" / "demo_portrait.png"


def brightness(picture: np.ndarray) -> np.ndarray:
    """An embedder that is easy to foretell."""
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    return np.array([picture.mean() / 255])


def painted(views: Views) -> Prediction:
    """Pictures as bright as their yaw tells."""
    camera = views.world_to_camera[0]
    yaw = torch.rad2deg(torch.atan2(-camera[:, 2, 0], camera[:, 2, 2]))
    return Prediction(torch.cat([shade(yaw), torch.ones(len(yaw), 1)], 1)[..., None, None])


def shade(yaw: torch.Tensor) -> torch.Tensor:
    return (0.5 + yaw / 100)[:, None].expand(-1, 3)


def test_views_near_the_front_are_measured_whatever_their_pitch() -> None:
    names = ["input", "-45", "-30/-15", "-0", "0#2", "30/10#2", "31", "60"]
    assert near_front(names) == {2: -30, 3: 0, 4: 0, 5: 30}


def test_distances_are_to_the_true_input_at_each_yaw(balls: Path) -> None:
    people = People(balls)
    names = view_names(people)
    rows = identity({"repeated": input_repeated, "painted": painted}, people, names, brightness)
    assert list(rows) == ["truth", "repeated", "painted"]
    yaws = ["-30", "-15", "-6", "15", "30"]
    assert all(list(row) == [*yaws, "mean"] for row in rows.values())
    assert set(rows["repeated"].values()) == {0}
    assert all(rows["truth"][yaw] > 0.001 for yaw in yaws)

    every = people.views(np.arange(2), np.arange(8)[None].repeat(2, 0))
    alpha = every.rgba[:, :, 3:]
    shown = (every.rgba[:, :, :3] + 0.5 * (1 - alpha)).mean((2, 3, 4))
    for yaw in yaws:
        true = (shown[:, names.index(yaw)] - shown[:, 0]).abs().mean()
        assert rows["truth"][yaw] == pytest.approx(float(true), abs=0.002)
        assert rows["painted"][yaw] == pytest.approx(
            float((0.5 + int(yaw) / 100 - shown[:, 0]).abs().mean()), abs=0.003
        )
    assert rows["painted"]["mean"] == pytest.approx(np.mean([rows["painted"][y] for y in yaws]))

    first = identity({}, people, names, brightness, limit=1)["truth"]
    assert first["30"] == pytest.approx(float((shown[0, -2] - shown[0, 0]).abs()), abs=0.002)


def test_views_are_embedded_at_their_size(large_balls: Path) -> None:
    people, seen = People(large_balls), []

    def embed(picture: np.ndarray) -> np.ndarray:
        seen.append(picture.shape)
        return np.zeros(1)

    identity({}, people, view_names(people), embed, size=512)
    assert seen == [(512, 512, 3)] * 5


def test_faces_that_are_not_found_are_left_out_and_counted() -> None:
    distances = np.array([[0.2, np.nan, 0.6, np.nan], [0.4, 0.5, np.nan, np.nan]])
    row = by_yaw(distances, np.array([30, -15, 30, 0]))
    assert row == pytest.approx({"-15": 0.5, "30": 0.4, "mean": 0.425, "not found": 4})
    assert by_yaw(distances[:, :1], np.array([7])) == pytest.approx({"7": 0.3, "mean": 0.3})
    assert by_yaw(distances[:, 3:], np.array([0])) == {"not found": 2}


def test_without_a_face_in_the_input_all_of_a_person_is_missing(balls: Path) -> None:
    people = People(balls)
    calls = iter(range(100))

    def embed(picture: np.ndarray) -> np.ndarray:
        return np.full(1, np.nan if next(calls) == 0 else 0.5)

    rows = identity({}, people, view_names(people), embed)
    assert rows["truth"]["not found"] == 5 and rows["truth"]["mean"] == 0


def test_the_table_and_the_report_have_the_distances(
    balls: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def embedder() -> Callable[[np.ndarray], np.ndarray]:
        calls = iter(range(1000))  # the second picture, the truth at -30, shows no face
        return lambda picture: brightness(picture) if next(calls) != 1 else np.full(1, np.nan)

    monkeypatch.setattr("training.evaluate.FaceEmbedder", embedder)
    report = tmp_path / "report.json"
    arguments = f"--people {balls} --levels --json {report} --identity"
    assert main(["evaluate", *arguments.split()]) == 0
    printed = capsys.readouterr().out
    data = json.loads(report.read_text())
    assert list(data["identity"]) == ["truth", *data["rows"]]
    header = "| identity distance | -30 | -15 | -6 | 15 | 30 | mean | not found |"
    rows = printed[printed.index(header) :].splitlines()
    assert len(rows) == 2 + len(data["identity"])
    truth = data["identity"]["truth"]
    assert truth["not found"] == 1
    assert rows[2].startswith(f"| truth | {truth['-30']:.2f} |") and rows[2].endswith("| 1 |")
    assert all(row.endswith("| - |") for row in rows[3:])

    assert main(["evaluate", *arguments.split()[:-1]]) == 0
    assert "identity" not in capsys.readouterr().out + report.read_text()


@pytest.mark.parametrize("package", ["dlib", "face_recognition_models"])
def test_a_missing_package_is_one_line_before_the_work(
    balls: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "dlib":  # whether or not the other package is there
        monkeypatch.setattr("training.identity._network_file", lambda: Path("network.dat"))
    assert main(["evaluate", "--people", str(balls), "--identity"]) == 2
    printed, said = capsys.readouterr()
    assert printed == "" and said.count("\n") == 1
    assert f"needs {package}. Run: pip install 'visavis[identity]'" in said


def test_a_missing_network_file_is_the_package_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "face_recognition_models").mkdir()
    (tmp_path / "face_recognition_models" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"resnet_model_v1\.dat"):
        FaceEmbedder()


@pytest.fixture(scope="module")
def embed() -> FaceEmbedder:
    return FaceEmbedder()


def rotated(picture: np.ndarray, degrees: float) -> np.ndarray:
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(picture, turn, (width, height)))


@needs_dlib
@needs_face_models
def test_a_face_is_near_itself_and_far_from_another(embed: FaceEmbedder) -> None:
    reference = embed(portrait())
    assert reference.shape == (128,)

    def distance(picture: np.ndarray) -> float:
        return float(np.linalg.norm(embed(picture) - reference))

    mirrored = np.ascontiguousarray(portrait()[:, ::-1])
    half = cv2.resize(portrait(), (256, 256), interpolation=cv2.INTER_AREA)
    assert distance(portrait()) == 0
    assert distance(rotated(portrait(), 8)) < 0.25
    assert distance(mirrored) < 0.3
    assert distance(half) < 0.35
    assert distance(load_picture(DEMO)) > 0.6  # 0.40 with the eyes in the wrong order


@needs_dlib
@needs_face_models
def test_where_there_is_no_face_there_is_no_embedding(embed: FaceEmbedder) -> None:
    nothing = embed(np.full((256, 256, 3), 128, np.uint8))
    assert nothing.shape == (128,) and np.isnan(nothing).all()
