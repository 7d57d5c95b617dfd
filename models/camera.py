"""Pinhole cameras of the portrait and of a viewpoint.

OpenCV axes, metres, pixel centres at +0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.viewpoint import Viewpoint

FIELD_OF_VIEW = 24.0
"""Degrees, horizontal and vertical, of the portrait camera and of a viewpoint at zoom 1."""
NOMINAL_DISTANCE = 0.75
"""Metres from the portrait camera to the middle of the head."""


@dataclass(frozen=True, eq=False)  # tensors have no single truth value to compare by
class Camera:
    """A pinhole camera with a square picture.

    Args:
        K: intrinsics in pixels, float32. [3, 3]
        world_to_camera: rigid transform from head space, metres, float32. [4, 4]
        size: width and height in pixels.
    """

    K: Tensor
    world_to_camera: Tensor
    size: int


def focal_pixels(size: int) -> float:
    """Focal length in pixels of the portrait camera at a picture size (602.2 at 256)."""
    return 0.5 * size / math.tan(math.radians(0.5 * FIELD_OF_VIEW))


def portrait_camera(distance: float = NOMINAL_DISTANCE, size: int = 256) -> Camera:
    """The camera that took the portrait: at (0, 0, -distance) of head space, looking along +z.

    Args:
        distance: metres to the middle of the head, > 0.
        size: pixels.
    """
    return viewpoint_camera(Viewpoint(), distance, size)


def viewpoint_camera(
    viewpoint: Viewpoint, distance: float = NOMINAL_DISTANCE, size: int = 256
) -> Camera:
    """The camera of a receiver.

    Without `viewpoint.eye` it stands on a sphere of radius `distance` around the middle of the head
    and looks at it. With `viewpoint.eye` the screen is a window of the size that the portrait
    camera sees at the middle of the head (divided by zoom), standing there, parallel to the
    portrait's picture plane: camera axes stay parallel to head space and the frustum is off-axis.
    An eye at (0, 0, -distance) is the portrait camera.

    Args:
        viewpoint: where to look from.
        distance: metres from the portrait camera to the middle of the head, > 0.
        size: pixels.
    """
    if not distance > 0 or size < 1:
        raise ValueError(f"distance and size must be positive, got {distance} and {size}")
    focal, centre = focal_pixels(size), 0.5 * size
    if viewpoint.eye is None:
        yaw, pitch = math.radians(viewpoint.yaw), math.radians(viewpoint.pitch)
        sy, cy, sp, cp = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
        eye = (distance * sy * cp, -distance * sp, -distance * cy * cp)
        # Rows are the camera's axes in head space: right, down, forward (towards the origin).
        right, down, forward = (cy, 0.0, sy), (sy * sp, cp, -cy * sp), (-sy * cp, sp, cy * cp)
        focal *= viewpoint.zoom
        principal = (centre, centre)
    else:
        eye = viewpoint.eye
        right, down, forward = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
        pixels_per_metre = focal / distance * viewpoint.zoom  # on the screen's plane
        focal = -eye[2] * pixels_per_metre
        principal = (centre + eye[0] * pixels_per_metre, centre + eye[1] * pixels_per_metre)

    world_to_camera = torch.eye(4, dtype=torch.float64)
    world_to_camera[:3, :3] = torch.tensor([right, down, forward], dtype=torch.float64)
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ torch.tensor(eye, dtype=torch.float64)
    K = torch.tensor(
        [[focal, 0.0, principal[0]], [0.0, focal, principal[1]], [0.0, 0.0, 1.0]],
        dtype=torch.float64,
    )
    if viewpoint.roll:
        # The picture turns about its own centre: the camera about its axis, and with it the
        # principal point, which an off-axis window has elsewhere.
        roll = math.radians(viewpoint.roll)
        s, c = math.sin(roll), math.cos(roll)
        turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
        middle = torch.tensor([centre, centre], dtype=torch.float64)
        K[:2, 2] = middle + turn[:2, :2] @ (K[:2, 2] - middle)
        world_to_camera[:3] = turn @ world_to_camera[:3]
    return Camera(K.float(), world_to_camera.float(), size)
