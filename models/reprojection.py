"""What the portrait itself shows of the points that a view sees.

A splat is a blur of the portrait's pixels: discs overlap. But the splat's depth tells where in the
portrait each of a view's pixels comes from, and reading the portrait there gives back what the
discs lost, as image-based rendering does. What the portrait does not show (it is hidden there, or
off the person) is told by the depth of layer 1, which is the portrait's own surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_kernels.portrait_detail import refiner_input
from models.lifter import HALF_FOV

CHANNELS = 4
TRUSTED, DOUBTED = 0.01, 0.02
"""Metres between a point and the portrait's surface: up to the first it is what the portrait shows,
from the second on it is something else."""
SMOOTH, STEP = 0.006, 0.012
"""Metres by which the depth of 3 x 3 pixels differs: up to the first they lie on one surface, from
the second on there is a step, and each view would draw its jagged edge."""
FADE = 7
"""Pixels over which reading rises beside a step of depth. Where it began at once, a thin line ran
down the cheek."""


@dataclass(frozen=True, eq=False)
class PortraitSurface:
    """What an avatar keeps of its portrait to be read again.

    Attributes:
        picture: from `readable`. [1, 4, S, S]
        depth: of layer 1, metres. [1, 1, S, S]
        camera_from_head: from head space to the portrait's camera. [4, 4]
    """

    picture: Tensor
    depth: Tensor
    camera_from_head: Tensor

    def refiner_input(
        self, splatted: Tensor, K: Tensor, world_to_camera: Tensor, out: Tensor, threads: int
    ) -> Tensor:
        """What `portrait_detail` and `models.refiner.refiner_input` make of one view, in one step.

        Args:
            splatted: as for `portrait_detail`. [6, H, W]
            K: intrinsics of the view, pixels. [3, 3]
            world_to_camera: of the view. [4, 4]
            out: where to write, float32 or bfloat16. [1, 10, H, W]
            threads: of the CPU.
        """
        move = self.camera_from_head @ torch.linalg.inv(world_to_camera)
        return refiner_input(
            splatted[None],
            K[None],
            move[None].contiguous(),
            world_to_camera[2, 3:],
            self.picture,
            self.depth,
            torch.zeros(1, dtype=torch.int32),
            half_fov=HALF_FOV,
            trusted=TRUSTED,
            doubted=DOUBTED,
            out=out,
            threads=threads,
        )


def smoothness(depth: Tensor) -> Tensor:
    """1 on a surface, 0 at steps of depth. [B, 1, T, T] -> [B, 1, T, T]"""
    farthest = F.max_pool2d(depth, 3, 1, 1)
    nearest = -F.max_pool2d(-depth, 3, 1, 1)
    return ((STEP - (farthest - nearest)) / (STEP - SMOOTH)).clamp(0, 1)


def fading(smooth: Tensor) -> Tensor:
    """What `smoothness` returned, rising slowly beside steps. It is shrunk by as much as it is then
    blurred, so that it is still 0 where it was. [B, 1, T, T] -> [B, 1, T, T]"""
    inner = -F.max_pool2d(-smooth, FADE, 1, FADE // 2)
    padded = F.pad(inner, (FADE // 2,) * 4, mode="replicate")
    return F.avg_pool2d(padded, FADE, 1)


def readable(portrait: Tensor, depth: Tensor) -> Tensor:
    """A portrait less what lies about steps of its depth.

    Args:
        portrait: colours times mask, mask. [B, 4, S, S]
        depth: of layer 1, metres. [B, 1, T, T]

    Returns:
        Both times a further mask. [B, 4, S, S]
    """
    smooth = fading(smoothness(depth))
    if smooth.shape[-1] != portrait.shape[-1]:
        smooth = F.interpolate(smooth, size=portrait.shape[-2:], mode="bilinear")
    return portrait * smooth


def portrait_detail(
    splatted: Tensor, K: Tensor, portrait_from_camera: Tensor, portrait: Tensor, depth: Tensor
) -> Tensor:
    """By how much the portrait differs from the splat of it, and how surely it shows the same.

    Args:
        splatted: as `splat` returns it: colours (premultiplied), uncertainty, depth times alpha in
            metres, alpha. [B, V, 6, H, W]
        K: intrinsics of the views in pixels, without skew. [B, V, 3, 3]
        portrait_from_camera: from each view's camera to the portrait's. [B, V, 4, 4]
        portrait: from `readable`. [B, 4, S, S]
        depth: of layer 1 on its grid, metres. [B, 1, T, T]

    Returns:
        Differences of the colours, premultiplied by the splat's alpha and by the certainty; and the
        certainty, 0..1. [B, V, 4, H, W]
    """
    batch, views, _, height, width = splatted.shape
    alpha = splatted[:, :, 5:]
    far = splatted[:, :, 4:5] / alpha.clamp(min=0.3)

    def entry(matrix: Tensor, row: int, column: int) -> Tensor:
        return matrix[:, :, row, column].view(batch, views, 1, 1, 1)

    def pixels(count: int) -> Tensor:
        return torch.arange(count, device=splatted.device, dtype=splatted.dtype) + 0.5

    # Rays of the view's pixels, already turned into the portrait camera's axes: a row and a column
    # of numbers each, so that only three planes are computed from them.
    x = (pixels(width).view(1, 1, 1, 1, width) - entry(K, 0, 2)) / entry(K, 0, 0)
    y = (pixels(height).view(1, 1, 1, height, 1) - entry(K, 1, 2)) / entry(K, 1, 1)
    move = portrait_from_camera
    there = [
        torch.addcmul(
            entry(move, axis, 3),
            entry(move, axis, 0) * x + (entry(move, axis, 1) * y + entry(move, axis, 2)),
            far,
        )
        for axis in range(3)
    ]
    inverse = 1 / (math.tan(HALF_FOV) * there[2].clamp(min=0.01))
    grid = torch.stack([there[0] * inverse, there[1] * inverse], -1)

    def read(source: Tensor) -> Tensor:
        flat = grid.view(batch, views * height, width, 2)
        planes = F.grid_sample(source, flat, mode="bilinear", align_corners=False)
        return planes.view(batch, -1, views, height, width).transpose(1, 2)

    if depth.shape[-1] == portrait.shape[-1]:
        found = read(torch.cat([portrait, depth], 1))
        shown, surface = found[:, :, :4], found[:, :, 4:]
    else:
        shown, surface = read(portrait), read(depth)
    apart = (there[2] - surface).abs()
    sure = ((DOUBTED - apart) / (DOUBTED - TRUSTED)).clamp(0, 1) * shown[:, :, 3:] * alpha
    # Where the mask ends or fades, colours were multiplied by it, and would seem dark.
    colors = shown[:, :, :3] / shown[:, :, 3:].clamp(min=0.05)
    return torch.cat([(colors * alpha - splatted[:, :, :3]) * sure, sure], 2)
