"""Cameras: where the views of one person are taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FOV_DEGREES = 24.0
Layout = Literal["train", "test", "grid"]
VIEWS = {"train": 8, "test": 8, "grid": 22}
PICTURE = {"train": 256, "test": 256, "grid": 512}
"""Edge of the pictures, pixels."""
TEST_YAWS = (-45, -30, -15, 0, 15, 30, 45)
GRID_PITCHES = (-15, 0, 15)


@dataclass(frozen=True)
class View:
    """A camera: `world_to_camera` [4, 4] from head space (metres) to OpenCV camera axes."""

    world_to_camera: NDArray[np.float64]
    distance: float

    def row(self) -> NDArray[np.float32]:
        """The 17 numbers stored in a shard: the matrix row by row, then the distance."""
        return np.append(self.world_to_camera.ravel(), self.distance).astype(np.float32)


def orbit(
    yaw: float,
    pitch: float,
    distance: float,
    roll: float = 0.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> View:
    """Look at the origin of head space from yaw and pitch in degrees (right and up positive).

    `offset` (metres) then shifts the camera in its own plane, so that the head is not centred;
    `roll` (degrees) turns the picture clockwise.
    """
    y, p, r = np.radians([yaw, pitch, roll])
    eye = distance * np.array([np.sin(y) * np.cos(p), -np.sin(p), -np.cos(y) * np.cos(p)])
    forward = -eye / np.linalg.norm(eye)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    turn = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    rotation = turn @ np.stack([right, down, forward])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -rotation @ eye
    matrix[:2, 3] += offset
    return View(matrix, distance)


def sample_views(layout: Layout, rng: np.random.Generator) -> list[View]:
    """The views of one person.

    train: two inputs near the front, then six targets, four of them beyond 20 degrees of yaw.
    test: one input near the front, then the fixed yaws at pitch 0 and 0.75 m.
    grid: the same input, then the fixed yaws at each of three pitches.
    """
    if layout != "train":
        pitches = GRID_PITCHES if layout == "grid" else (0,)
        views = [orbit(rng.uniform(-8, 8), rng.uniform(-5, 5), 0.75)]
        return views + [orbit(yaw, pitch, 0.75) for pitch in pitches for yaw in TEST_YAWS]
    views = []
    # Two targets on each side, two anywhere: every person is seen well from left and right.
    yaw_ranges = [(-13, 13)] * 2 + [(-52, -20)] * 2 + [(20, 52)] * 2 + [(-52, 52)] * 2
    for number, yaw_range in enumerate(yaw_ranges):
        is_input = number < 2
        views.append(
            orbit(
                rng.uniform(*yaw_range),
                rng.uniform(-9, 9) if is_input else rng.uniform(-18, 18),
                rng.uniform(0.66, 0.86),
                rng.normal() * (3 if is_input else 2),
                (rng.normal() * 0.010, rng.normal() * 0.012),
            )
        )
    return views


def intrinsics(size: int) -> NDArray[np.float64]:
    """K [3, 3] in pixels of a square picture."""
    focal = size / 2 / np.tan(np.radians(FOV_DEGREES) / 2)
    return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
