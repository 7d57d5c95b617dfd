"""Cameras: where the views of one person are taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FOV_DEGREES = 24.0
FOCAL = 0.5 / float(np.tan(np.radians(FOV_DEGREES) / 2))
"""Of the portrait camera, in picture widths."""
NUMBERS = 18
"""That describe a view in a shard."""
Layout = Literal["train", "test", "grid"]
VIEWS = {"train": 8, "test": 8, "grid": 22}
PICTURE = {"train": 256, "test": 256, "grid": 512}
"""Edge of the pictures, pixels."""
TEST_YAWS = (-45, -30, -15, 0, 15, 30, 45)
GRID_PITCHES = (-15, 0, 15)
INPUT_YAW, INPUT_PITCH = 15, 10
"""Degrees to either side that an input of training is turned by at most."""
TARGET_YAW, TARGET_PITCH = 60, 30
LEVEL = 15
"""Degrees of pitch that half of the targets are kept within: people rarely look from above."""
NOMINAL = (0.66, 0.86)
"""Metres from which the portrait camera would see the head in its size."""
NEAREST, FARTHEST = 0.4, 1.2
"""Metres from a webcam to the middle of the head."""


@dataclass(frozen=True)
class View:
    """A camera: `world_to_camera` [4, 4] from head space (metres) to OpenCV camera axes, the
    distance to the head's middle (metres) and the focal length (picture widths).
    """

    world_to_camera: NDArray[np.float64]
    distance: float
    focal: float = FOCAL

    def row(self) -> NDArray[np.float32]:
        """The 18 numbers stored in a shard: the matrix row by row, the distance, the focal
        length."""
        numbers = [*self.world_to_camera.ravel(), self.distance, self.focal]
        return np.array(numbers, np.float32)


def orbit(
    yaw: float,
    pitch: float,
    distance: float,
    roll: float = 0.0,
    offset: tuple[float, float] = (0.0, 0.0),
    focal: float = FOCAL,
) -> View:
    """Look at the origin of head space from yaw and pitch in degrees (right and up positive).

    `offset` (metres) then shifts the camera in its own plane, so that the head is not centred;
    `roll` (degrees) turns the picture clockwise. `focal` is in picture widths.
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
    return View(matrix, distance, focal)


def sample_views(layout: Layout, rng: np.random.Generator) -> list[View]:
    """The views of one person.

    train: two inputs near the front, then six targets: two beyond 20 degrees of yaw on each side,
    two anywhere. Inputs are seen by the portrait camera, since that is what a lifter takes every
    camera to be; half of the targets are seen from nearer or farther, as large in the picture.
    test: one input near the front, then the fixed yaws at pitch 0 and 0.75 m.
    grid: the same input, then the fixed yaws at each of three pitches.
    """
    if layout != "train":
        pitches = GRID_PITCHES if layout == "grid" else (0,)
        views = [orbit(rng.uniform(-8, 8), rng.uniform(-5, 5), 0.75)]
        return views + [orbit(yaw, pitch, 0.75) for pitch in pitches for yaw in TEST_YAWS]
    views = [_random_view(rng, (-INPUT_YAW, INPUT_YAW), INPUT_PITCH, 3.0) for _ in range(2)]
    far = TARGET_YAW
    # Two targets on each side, two anywhere: every person is seen well from left and right.
    for yaw_range in [(-far, -20)] * 2 + [(20, far)] * 2 + [(-far, far)] * 2:
        pitch = LEVEL if rng.uniform() < 0.5 else TARGET_PITCH
        actual = webcam_distance(rng) if rng.uniform() < 0.5 else None
        views.append(_random_view(rng, yaw_range, pitch, 2.0, actual))
    return views


def _random_view(
    rng: np.random.Generator,
    yaw_range: tuple[float, float],
    pitch: float,
    roll: float,
    actual: float | None = None,
) -> View:
    """A view with the head about centred; from the distance `actual` (metres) where it is given."""
    nominal = rng.uniform(*NOMINAL)
    distance = actual or nominal
    return orbit(
        rng.uniform(*yaw_range),
        rng.uniform(-pitch, pitch),
        distance,
        rng.normal() * roll,
        (rng.normal() * 0.010, rng.normal() * 0.012),
        FOCAL * (distance / nominal),
    )


def webcam_distance(rng: np.random.Generator) -> float:
    """How far people sit from their webcam, metres."""
    return float(np.exp(rng.uniform(np.log(NEAREST), np.log(FARTHEST))))


def intrinsics(size: int, focal: float = FOCAL) -> NDArray[np.float64]:
    """K [3, 3] in pixels of a square picture from a focal length in picture widths."""
    return np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1]])
