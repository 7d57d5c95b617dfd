"""What the truth agrees by with itself, on a ball whose light does not move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import truth_agreement
from benchmarks.truth_agreement import BLURS, SIZE, agreement
from models.camera import focal_pixels
from tests.training.balls import ball_seen_by
from training.people.views import View

FINE = 0.0008
"""Metres: the grain's wavelength is four pixels."""


class Ball:
    """Stands for a renderer with a person in it: a ball with a grain.

    Args:
        moving: how much the light changes from one view to the next.
    """

    def __init__(self, moving: float = 0.0) -> None:
        self.moving, self.seen = moving, 0

    def render(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        focal = focal_pixels(SIZE)
        K = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])
        self.seen += 1
        color = np.full(3, 0.8 * (1 - self.moving * (self.seen % 2)))
        rgba, depth = ball_seen_by(K, view.world_to_camera, SIZE, SIZE, color)
        y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
        seen = np.stack([x * depth / focal, y * depth / focal, depth, np.ones_like(depth)], -1)
        point = seen @ np.linalg.inv(view.world_to_camera).T
        grain = 0.8 + 0.2 * np.sin(point[..., :1] / FINE) * np.sin(point[..., 1:2] / FINE)
        rgba[..., :3] = (rgba[..., :3] * grain).round().astype(np.uint8)
        return rgba, depth.astype(np.float32)


@pytest.fixture(autouse=True)
def one_yaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_agreement, "YAWS", (0.0, 20.0))


def measured(ball: Any) -> np.ndarray:
    """dB and sharpness for each of BLURS. [B, 2]"""
    found = agreement(ball)
    assert found.shape == (2, len(BLURS), 2)
    means: np.ndarray = found.mean(0)
    return means


def test_blur_buys_agreement_with_sharpness() -> None:
    decibel, sharpness = measured(Ball()).T
    assert sharpness[0] == 1 and (np.diff(sharpness) < 0).all()
    assert decibel[0] > 35 and decibel[-1] > decibel[0]


def test_light_that_moves_disagrees() -> None:
    still, moving = measured(Ball())[0, 0], measured(Ball(0.1))[0, 0]
    assert moving < still - 5
