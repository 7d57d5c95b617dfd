import importlib.util
from pathlib import Path

import numpy as np
import pytest

from models import face_models
from models.errors import SetupError
from models.face_models import DETECTOR, _tiles, centred, mapped, model_file, sample


def test_absent_models_say_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="pip install --no-deps mediapipe==0.10.21") as caught:
        model_file(DETECTOR)
    assert caught.value.code == "no_face_models"


def test_a_wheel_without_the_file_says_so_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_loader("mediapipe", None)
    assert spec is not None
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(face_models.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(SetupError, match="face_detection_short_range.tflite is missing"):
        model_file(DETECTOR)


def gradient(height: int, width: int) -> np.ndarray:
    """x in red and y in green, at pixel centres."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8)


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.5, 0.21])
def test_sample_reads_where_the_map_says(scale: float) -> None:
    picture = gradient(200, 240)
    to_crop = np.array([[scale, 0, -scale * 60.3], [0, scale, -scale * 40.6]])
    crop = sample(picture, to_crop, 32).astype(float)
    for u, v in ((4.5, 8.5), (15.5, 15.5), (25.5, 20.5)):
        x, y = u / scale + 60.3, v / scale + 40.6
        # The pixel with centre x holds the value x - 0.5; rounding happens twice.
        assert crop[int(v), int(u), :2] == pytest.approx([x - 0.5, y - 0.5], abs=1.01)


def test_sample_averages_instead_of_skipping() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = sample(stripes, np.array([[0.125, 0, 0], [0, 0.125, 0]]), 32)
    assert np.abs(crop.astype(int) - 127).max() <= 2


def test_sample_repeats_the_edge() -> None:
    crop = sample(gradient(20, 20), np.array([[1.0, 0, 10], [0, 1, 10]]), 40)
    assert tuple(crop[0, 0]) == (0, 0, 0)
    assert tuple(crop[39, 39, :2]) == (19, 19)


def test_centred_maps_centre_to_centre() -> None:
    homography = np.array([[1.2, 0.1, 5], [-0.2, 0.9, 3], [1e-4, 2e-4, 1]])
    point = np.array([[7.5, 11.5]])
    here = mapped(homography, point) - 0.5
    np.testing.assert_allclose(mapped(centred(homography), point - 0.5), here, rtol=1e-5)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (100, 1000), (333, 333)])
@pytest.mark.parametrize("divisor", [1, 1.6, 2, 8])
def test_tiles_cover_the_picture(size: tuple[int, int], divisor: float) -> None:
    width, height = size
    side = max(size) / divisor
    seen = np.zeros((height, width), bool)
    for x, y in _tiles(width, height, side):
        seen[max(0, round(y)) : round(y + side), max(0, round(x)) : round(x + side)] = True
    assert seen.all()
