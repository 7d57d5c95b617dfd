"""Stage 1 for a caller who is followed: the same Gaussians as `models.lifter`, sooner.

`to_gaussians` computes every disc of both layers plane by plane, to be differentiated; half of them
are then dropped. Here the network's heads write each disc's numbers side by side, and a kernel
computes those that are kept. The raw maps may be averaged over time on the way.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cuda_kernels.live_discs import Discs, Rules
from cuda_kernels.live_maps import Change, mix_maps, surfaces
from models.gaussians import Gaussians
from models.lifter import (
    BELIEVED,
    CHANNELS,
    FAINT,
    GAP,
    HALF_FOV,
    RAW_SCALE,
    RIM,
    SOLID,
    Lifter,
    depth_around,
)
from models.portrait_blend import EDGE
from models.quantised import Calibration, quantised
from models.reprojection import FADE, SMOOTH, STEP

TAN = math.tan(HALF_FOV)
LEAST_LOGIT = 0.5 * math.log(FAINT / 0.995 / (1 - FAINT / 0.995))
"""Raw opacity from which a disc is kept."""


@dataclass
class Maps:
    """Raw maps of the lifter; rows are pixels in cells of 2 x 2, cell after cell.

    Attributes:
        front: layer 1. [S * S, 10]
        back: layer 2. [S / 2 * S / 2, 10]
    """

    front: Tensor
    back: Tensor


MAP_FLOOR = 0.25
"""How much of new maps counts where nothing has changed."""
STILL_DEPTH, MOVED_DEPTH = 0.0015, 0.005
"""Metres by which the depth of a pixel differs: up to the first it has not moved, from the second
on the new maps count alone: a head that turns changes in depth more than in colour."""
STILL_OPACITY, MOVED_OPACITY = 0.3, 1.2
"""The same of the raw opacity: an outline that moves."""


CHANGE = Change(MAP_FLOOR, (STILL_DEPTH / 0.08, MOVED_DEPTH / 0.08), (STILL_OPACITY, MOVED_OPACITY))


class MapFilter:
    """Averages raw maps over time where neither the picture nor the surface has changed. What it
    returns holds until the next call."""

    def __init__(self) -> None:
        self._state: Maps | None = None

    def reset(self) -> None:
        """Forget the past."""
        self._state = None

    def __call__(self, maps: Maps, change: Tensor) -> Maps:
        """Filter maps.

        Args:
            maps: of the newest portrait.
            change: where that changed, 0..1. [S, S]
        """
        if self._state is None:
            self._state = maps
            return maps
        state = self._state
        mix_maps(state.front, state.back, maps.front, maps.back, change.contiguous(), CHANGE)
        return state


def map_weight(
    old_depth: Tensor, new_depth: Tensor, old_opacity: Tensor, new_opacity: Tensor, change: Tensor
) -> Tensor:
    """How much of new maps counts; all raw, of layer 1, and of one shape."""
    weight = change
    for old, new, still, moved in (
        (old_depth, new_depth, STILL_DEPTH / 0.08, MOVED_DEPTH / 0.08),
        (old_opacity, new_opacity, STILL_OPACITY, MOVED_OPACITY),
    ):
        ramp = ((new - old).abs() - still) / (moved - still)
        weight = torch.maximum(weight, ramp.clamp(0, 1))
    return MAP_FLOOR + (1 - MAP_FLOOR) * weight


class _Network(nn.Module):
    """The lifter without its last step, the pixel shuffle."""

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.lifter = lifter

    def forward(self, image: Tensor, mask: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        front, back = self.lifter.cells(self.lifter.picture(image, mask, given))
        rows = [x.permute(0, 2, 3, 1).reshape(-1, CHANNELS).float() for x in (front, back)]
        return rows[0], rows[1]


def by_pixels(lifter: Lifter) -> Lifter:
    """A copy whose heads write, of a cell of 2 x 2 pixels, pixel by pixel, not channel by
    channel."""
    lifter = copy.deepcopy(lifter)
    order = torch.arange(4 * CHANNELS).view(CHANNELS, 4).T.reshape(-1)
    with torch.no_grad():
        for head in (lifter.front_head, lifter.back_head):
            head.weight.copy_(head.weight[order].clone())
            assert head.bias is not None
            head.bias.copy_(head.bias[order].clone())
    return lifter


class LiveLifter:
    """Lifts portraits, one after another; stateless.

    Args:
        lifter: the network, in `dtype`.
        dtype: to run in.
        calibration: of the lifter; with one it runs in eight bits.
    """

    def __init__(
        self, lifter: Lifter, dtype: torch.dtype, calibration: Calibration | None = None
    ) -> None:
        size = self.size = lifter.config.size
        # In eight bits a picture becomes codes, from the numbers as they are.
        self._input = (dtype, torch.channels_last)
        if calibration is not None:
            self._input = (torch.float32, torch.contiguous_format)
        self._given = torch.ones(1, dtype=self._input[0])
        image, mask = self._inputs(torch.rand(1, 4, size, size))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes become constants, which is what is wanted
            lifter = by_pixels(lifter)
            if calibration is not None:
                lifter = quantised(lifter, calibration, torch.float32)
            network = _Network(lifter).eval()
            network(image, mask, self._given)  # networks in eight bits pack their weights
            traced = torch.jit.trace(network, (image, mask, self._given))  # type: ignore[no-untyped-call]
            self._network = torch.jit.freeze(traced)
            for _ in range(3):  # the first runs optimise
                self._network(image, mask, self._given)

    def _inputs(self, portrait: Tensor) -> tuple[Tensor, Tensor]:
        dtype, memory_format = self._input
        portrait = portrait.to(dtype, memory_format=memory_format)
        return portrait[:, :3], portrait[:, 3:]

    def maps(self, portrait: Tensor) -> Maps:
        """Run the network, and fill gaps.

        Args:
            portrait: sRGB 0..1, and the mask. [1, 4, S, S]
        """
        front, back = self._network(*self._inputs(portrait), self._given)
        fill(front, portrait[0, 3])
        return Maps(front, back)

    def gaussians(
        self, maps: Maps, image: Tensor, distance: float, head_from_camera: Tensor
    ) -> tuple[Gaussians, Tensor]:
        """Make the discs.

        Args:
            maps: from `maps`.
            image: sRGB 0..1. [3, S, S]
            distance: from the portrait's camera to the middle of the head, metres.
            head_from_camera: a turn about the optical axis and a shift. [4, 4]

        Returns:
            The discs in head space, and the depth of layer 1, metres. [1, 1, S, S]
        """
        depth, behind = surfaces(maps.front, maps.back, self.size, distance)
        image = image.contiguous()  # colour by colour
        small = F.avg_pool2d(image, 2)
        pose = torch.cat([head_from_camera[:2, 0], head_from_camera[:3, 3]])
        discs = Discs(len(maps.front) + len(maps.back))
        step = 2 * TAN / self.size
        front = Rules(TAN, step, 0.45, 0.3, 1.0, step * distance, LEAST_LOGIT)
        back = Rules(TAN, 2 * step, 0.8, 1.0, 0.5, 0.06, LEAST_LOGIT)
        discs.add(maps.front, depth, image, front, pose)
        discs.add(maps.back, behind, small, back, pose)
        n = discs.count
        gaussians = Gaussians(
            discs.means[:n], discs.axes[:n], discs.opacities[:n], discs.colors[:n]
        )
        return gaussians, depth[None, None]


def fill(front: Tensor, mask: Tensor) -> None:
    """As `models.lifter.filled`, on the CPU and in place.

    Args:
        front: layer 1, as in `Maps`. [S * S, 10]
        mask: 0..1, float32. [S, S]
    """
    size, outline = len(mask), mask.numpy()
    depth, opacity = (_plane(front[:, channel], size) for channel in (0, 5))
    there = ((opacity.numpy() > 0) | (outline < 0.5)).view(np.uint8)
    middle = 1 - cv2.dilate(there, _square(GAP // 2))
    if not middle.any():
        return
    wide = cv2.dilate(middle, _square(GAP // 2 + RIM)) > 0
    gaps = torch.from_numpy(wide & (cv2.dilate(1 - outline, _square(1)) < 1 - BELIEVED))
    solid = (opacity > 1) & (mask > 0.5) & ~gaps
    around = depth_around(depth[None, None], solid[None, None])[0, 0]
    rows = _cells(gaps)
    patch = front[rows]
    patch[:, 0] = _cells(around)[rows]
    patch[:, 1:3], patch[:, 3:5], patch[:, 6:9] = 0, RAW_SCALE, 0
    patch[:, 5].clamp_(min=SOLID)
    front[rows] = patch


def _plane(numbers: Tensor, size: int) -> Tensor:
    """Cells of 2 x 2 pixels, cell after cell, as a picture. [S * S] -> [S, S]"""
    half = size // 2
    return numbers.view(half, half, 2, 2).transpose(1, 2).reshape(size, size)


def _cells(plane: Tensor) -> Tensor:
    """The inverse of `_plane`."""
    half = len(plane) // 2
    return plane.view(half, 2, half, 2).transpose(1, 2).flatten()


def _square(by: int) -> np.ndarray:
    """What spreads by so many pixels."""
    return np.ones((2 * by + 1, 2 * by + 1), np.uint8)


def eroded(mask: Tensor) -> Tensor:
    """As `models.portrait_blend.eroded`, on the CPU. [1, S, S] -> [S, S]"""
    return torch.from_numpy(cv2.erode(mask[0].numpy(), _square(EDGE // 2)))


def smoothness(depth: Tensor) -> Tensor:
    """As `models.reprojection.smoothness`, on the CPU. [1, 1, S, S] -> [S, S]"""
    surface = depth[0, 0].numpy()
    apart = torch.from_numpy(cv2.dilate(surface, _square(1)) - cv2.erode(surface, _square(1)))
    return ((STEP - apart) / (STEP - SMOOTH)).clamp_(0, 1)


def fading(smooth: Tensor) -> Tensor:
    """As `models.reprojection.fading`, on the CPU. [S, S] -> [S, S]"""
    inner = cv2.erode(smooth.numpy(), _square(FADE // 2))
    return torch.from_numpy(cv2.blur(inner, (FADE, FADE), borderType=cv2.BORDER_REPLICATE))
