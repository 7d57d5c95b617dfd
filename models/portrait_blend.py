"""Near the portrait's own camera, a view shows the portrait's own pixels.

Whatever the networks make of a person, from where the camera stood the camera knows better. So the
colours of a view are mixed with the portrait's, read where the splat's depth says that they come
from, as image-based rendering does: all of them from the camera's direction, less with every
degree, none from `WIDEST` on. No network is needed for that: raw frames have it as well, and
pictures larger than what the networks see have all that the camera saw.

The outline stays the view's own. What the camera saw behind soft edges, hair most of all, is mixed
into the portrait's colours there, and its mask is a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_kernels.portrait_blend import blend_portrait
from models.camera import Camera
from models.lifter import HALF_FOV

WIDEST = math.radians(15)
"""Angle between the cameras of a view and of the portrait, seen from the head, from which on
nothing of it counts."""
MARGIN = 4
"""Pixels over which the portrait fades at its border."""
COARSEST, FINEST = 256, 512
"""Least and most pixels of a side that are kept of a portrait: the least is what the networks see,
and faces before a camera have hardly more than the most."""
EDGE = 5
"""Side of the surroundings, pixels at 256, that must all be the person for a pixel to count."""


@dataclass(frozen=True, eq=False)
class ShownPortrait:
    """What an avatar keeps of its portrait for the views near it.

    Attributes:
        picture: from `countable`. [1, 4, S, S]
        camera_from_head: from head space to the portrait's camera. [4, 4]
    """

    picture: Tensor
    camera_from_head: Tensor

    def blend(self, rgba: Tensor, splatted: Tensor, camera: Camera, threads: int) -> None:
        """Change a view in place.

        Args:
            rgba: colours (premultiplied) and alpha, float32 or bfloat16. [1, 4, H, W]
            splatted: as `splat` returns it. [6, H, W]
            camera: of the view.
            threads: of the CPU.
        """
        move = self.camera_from_head @ torch.linalg.inv(camera.world_to_camera)
        blend_portrait(
            rgba,
            splatted[None],
            camera.K[None],
            move[None].contiguous(),
            camera.world_to_camera[2, 3:],
            self.picture,
            torch.zeros(1, dtype=torch.int32),
            half_fov=HALF_FOV,
            widest=WIDEST,
            threads=threads,
        )


def angles(portrait_from_camera: Tensor, distances: Tensor) -> Tensor:
    """Between the directions in which views and the portrait's camera see the head, radians. For
    screens that are windows, whose cameras keep their axes, it is not the angle of the axes.

    Args:
        portrait_from_camera: from each view's camera to the portrait's. [V, 4, 4]
        distances: of the head's middle along each view's axis, metres. [V]

    Returns:
        [V]
    """
    aside = portrait_from_camera[:, :2, 3].norm(dim=-1)
    return torch.atan2(aside, portrait_from_camera[:, 2, 2] * distances)


def fine_size(size: int) -> int:
    """How many pixels portraits need for frames of so many."""
    return min(max(size, COARSEST), FINEST)


def eroded(mask: Tensor) -> Tensor:
    """The least of a person's mask within `EDGE` pixels. [B, 1, S, S] -> [B, 1, S, S]"""
    return -F.max_pool2d(-mask, EDGE, 1, EDGE // 2)


def countable(image: Tensor, inner: Tensor, smooth: Tensor) -> Tensor:
    """A portrait, and how surely each of its pixels is what is seen in its place.

    Args:
        image: sRGB 0..1. [B, 3, S, S]
        inner: from `eroded`. [B, 1, T, T]
        smooth: from `models.reprojection.smoothness`: at steps of depth what lies behind would be
            taken for what lies before. [B, 1, T, T]

    Returns:
        Colours and certainty. [B, 4, S, S]
    """
    sure = ((inner - 0.8) * 5).clamp(0, 1) * smooth
    if image.shape[-1] != inner.shape[-1]:
        sure = F.interpolate(sure, size=image.shape[-2:], mode="bilinear")
    return torch.cat([image, sure], 1)


def blended(
    rgba: Tensor,
    splatted: Tensor,
    K: Tensor,
    portrait_from_camera: Tensor,
    distances: Tensor,
    picture: Tensor,
) -> Tensor:
    """Views mixed with the portrait.

    Args:
        rgba: colours (premultiplied) and alpha. [V, 4, H, W]
        splatted: as `splat` returns it: of six channels the last two are depth times alpha in
            metres, and alpha. [V, 6, H, W]
        K: intrinsics of the views in pixels, without skew. [V, 3, 3]
        portrait_from_camera: from each view's camera to the portrait's. [V, 4, 4]
        distances: of the head's middle along each view's axis, metres. [V]
        picture: from `countable`. [1, 4, S, S]

    Returns:
        [V, 4, H, W]
    """
    views, _, height, width = rgba.shape
    size = picture.shape[-1]
    near = (1 - angles(portrait_from_camera, distances) / WIDEST).clamp(min=0)

    def entry(matrix: Tensor, row: int, column: int) -> Tensor:
        return matrix[:, row, column].view(-1, 1, 1)

    def pixels(count: int) -> Tensor:
        return torch.arange(count, device=rgba.device, dtype=splatted.dtype) + 0.5

    cover = splatted[:, 5]
    far = splatted[:, 4] / cover.clamp(min=0.3)
    x = (pixels(width).view(1, 1, -1) - entry(K, 0, 2)) / entry(K, 0, 0)
    y = (pixels(height).view(1, -1, 1) - entry(K, 1, 2)) / entry(K, 1, 1)
    move = portrait_from_camera
    there = [
        entry(move, axis, 3)
        + (entry(move, axis, 0) * x + entry(move, axis, 1) * y + entry(move, axis, 2)) * far
        for axis in range(3)
    ]
    inverse = 1 / (math.tan(HALF_FOV) * there[2].clamp(min=0.01))
    grid = torch.stack([there[0] * inverse, there[1] * inverse], -1)
    shown = F.grid_sample(
        picture.expand(views, -1, -1, -1), grid, mode="bilinear", align_corners=False
    )
    place = (grid + 1) * (size / 2) - 0.5
    border = torch.minimum(place, size - 1 - place).amin(-1)
    inside = (border / MARGIN).clamp(0, 1) * (there[2] > 0.01)
    alpha = rgba[:, 3:]
    solid = ((torch.minimum(alpha[:, 0], cover) - 0.8) * 5).clamp(0, 1)
    part = (near.view(-1, 1, 1) * inside * solid)[:, None] * shown[:, 3:]
    colors = torch.lerp(rgba[:, :3], shown[:, :3] * alpha, part)
    return torch.cat([colors, alpha], 1)
