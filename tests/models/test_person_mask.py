import cv2
import numpy as np
import pytest

from models.face_models import SEGMENTER_SIZE
from models.person_mask import guided_filter, person_mask

HEAD = np.array([[128 + 40 * np.cos(a), 110 + 50 * np.sin(a)] for a in np.linspace(0, 6.28, 40)])


class Says:
    """A segmenter that answers what is painted white in the picture, blurred like a network."""

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        assert crop.shape == (SEGMENTER_SIZE, SEGMENTER_SIZE, 3)
        white = (crop[..., 0] > 200).astype(np.float32)
        return cv2.GaussianBlur(white, (0, 0), 3)


def scene() -> np.ndarray:
    picture = np.full((256, 256, 3), 60, np.uint8)
    cv2.ellipse(picture, (128, 110), (50, 62), 0, 0, 360, (230, 230, 230), -1)
    return picture


def run(picture: np.ndarray, crop: np.ndarray | None = None) -> np.ndarray:
    crop = np.eye(3) if crop is None else crop
    mask = person_mask(Says(), picture, crop, 256, HEAD.astype(np.float32))  # type: ignore[arg-type]
    assert mask.dtype == np.float32 and mask.shape == (256, 256)
    assert mask.min() >= 0 and mask.max() <= 1
    return mask


def test_the_edge_lies_on_the_edge_of_the_picture() -> None:
    picture = scene()
    truth = (picture[..., 0] > 200).astype(np.float32)
    mask = run(picture)
    assert np.abs(mask - truth).mean() < 0.006
    assert ((mask > 0.5) != (truth > 0.5)).mean() < 0.002


def test_someone_else_in_the_background_is_left_out() -> None:
    picture = scene()
    cv2.circle(picture, (230, 60), 20, (230, 230, 230), -1)
    mask = run(picture)
    assert mask[40:80, 205:256].max() < 0.05
    assert mask[110, 128] == 1


def test_a_small_hole_in_the_person_is_closed() -> None:
    picture = scene()
    cv2.circle(picture, (128, 165), 4, (60, 60, 60), -1)
    assert run(picture)[165, 128] == 1


def test_what_lies_beyond_the_picture_is_no_person() -> None:
    lower = np.array([[1.0, 0, 0], [0, 1, 100], [0, 0, 1]])  # the picture's top 100 px further down
    picture = scene()[100:]
    mask = run(picture, lower)
    assert (mask[:100] == 0).all()
    assert mask[120, 128] == 1


def test_a_picture_full_of_person_is_all_person() -> None:
    assert run(np.full((256, 256, 3), 230, np.uint8)).min() > 0.99


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_guided_filter_keeps_constants_and_follows_its_guide(epsilon: float) -> None:
    flat = np.full((40, 40), 0.3, np.float32)
    guide = np.zeros((40, 40), np.float32)
    guide[:, 20:] = 1
    np.testing.assert_allclose(guided_filter(guide, flat, 3, epsilon), flat, atol=1e-4)
    np.testing.assert_allclose(guided_filter(guide, guide, 3, 1e-6), guide, atol=1e-3)
