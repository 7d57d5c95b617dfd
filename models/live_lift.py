"""Stage 1 for a caller who is followed: the same Gaussians as `models.lifter`, sooner.

`to_gaussians` computes every disc of both layers plane by plane, to be differentiated; half of them
are then dropped. Here the network's heads write each disc's numbers side by side, those kept are
gathered, and only they are computed. The raw maps may be averaged over time on the way.
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

from models.gaussians import Gaussians
from models.lifter import CHANNELS, FAINT, HALF_FOV, Lifter, pixel_grid
from models.portrait_blend import EDGE
from models.reprojection import SMOOTH, STEP

TAN = math.tan(HALF_FOV)
LEAST_LOGIT = 0.5 * math.log(FAINT / 0.995 / (1 - FAINT / 0.995))
"""Raw opacity from which a disc is kept."""


@dataclass
class Maps:
    """Raw maps of the lifter; rows are pixels in the order of `by_cells`.

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


class MapFilter:
    """Averages raw maps over time where neither the picture nor the surface has changed. Torch
    only, and nothing waits for the device."""

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
        old, self._state = self._state, mixed(self._state, maps, change)
        del old
        return self._state


def mixed(old: Maps, new: Maps, change: Tensor) -> Maps:
    """New maps where something changed, mostly old ones where nothing did; see `MapFilter`."""
    weight = map_weight(
        old.front[:, 0], new.front[:, 0], old.front[:, 5], new.front[:, 5], by_cells(change)
    )
    # A pixel of layer 2 is a cell of layer 1.
    back = by_cells(weight.view(-1, 4).amax(1).view(*(n // 2 for n in change.shape)))
    return Maps(
        torch.lerp(old.front, new.front, weight[:, None]),
        torch.lerp(old.back, new.back, back[:, None]),
    )


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
        self.lifter = copy.deepcopy(lifter)
        # Of a cell of 2 x 2 pixels the heads write channel by channel; now pixel by pixel.
        order = torch.arange(4 * CHANNELS).view(CHANNELS, 4).T.reshape(-1)
        with torch.no_grad():
            for head in (self.lifter.front_head, self.lifter.back_head):
                head.weight.copy_(head.weight[order].clone())
                assert head.bias is not None
                head.bias.copy_(head.bias[order].clone())

    def forward(self, image: Tensor, mask: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        front, back = self.lifter.cells(image, mask, given)
        rows = [x.permute(0, 2, 3, 1).reshape(-1, CHANNELS).float() for x in (front, back)]
        return rows[0], rows[1]


class LiveLifter:
    """Lifts portraits, one after another; stateless.

    Args:
        lifter: the network, in `dtype`.
        dtype: to run in.
    """

    def __init__(self, lifter: Lifter, dtype: torch.dtype) -> None:
        size = self.size = lifter.config.size
        self._dtype = dtype
        self._given = torch.ones(1, dtype=dtype)
        image, mask = self._inputs(torch.rand(1, 4, size, size))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes become constants, which is what is wanted
            network = _Network(lifter).eval()
            traced = torch.jit.trace(network, (image, mask, self._given))  # type: ignore[no-untyped-call]
            self._network = torch.jit.freeze(traced)
            for _ in range(3):  # the first runs optimise
                self._network(image, mask, self._given)
        self._grids = [_Grid(edge) for edge in (size, size // 2)]

    def _inputs(self, portrait: Tensor) -> tuple[Tensor, Tensor]:
        portrait = portrait.to(self._dtype, memory_format=torch.channels_last)
        return portrait[:, :3], portrait[:, 3:]

    def maps(self, portrait: Tensor) -> Maps:
        """Run the network.

        Args:
            portrait: sRGB 0..1, and the mask. [1, 4, S, S]
        """
        front, back = self._network(*self._inputs(portrait), self._given)
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
        step = 2 * TAN / self.size
        depth = by_rows(distance + 0.08 * maps.front[:, 0], self.size)
        behind = by_rows(0.01 + 0.05 * F.softplus(maps.back[:, 0]), self.size // 2)
        behind += F.avg_pool2d(depth[None], 2)[0]
        small = F.avg_pool2d(image, 2)
        front = self._grids[0].discs(maps.front, depth, image, step, _FRONT, step * distance)
        back = self._grids[1].discs(maps.back, behind, small, 2 * step, _BACK, 0.06)
        planes = [torch.cat(pair, 1) for pair in zip(front, back, strict=True)]
        c, s = float(head_from_camera[0, 0]), float(head_from_camera[1, 0])
        for row in (planes[0][:3], planes[0][3:6], planes[0][6:]):
            row[:2] = torch.stack([c * row[0] - s * row[1], s * row[0] + c * row[1]])
        planes[0][:3] += head_from_camera[:3, 3, None]
        placed = planes[0].T
        gaussians = Gaussians(
            placed[:, :3].contiguous(),
            placed[:, 3:].contiguous().view(-1, 2, 3),
            planes[1][4],
            planes[1][:4].T.contiguous(),
        )
        return gaussians, depth[None, None]


@dataclass(frozen=True)
class _Rules:
    """How a layer's raw numbers are read; see `to_gaussians`."""

    scale: float  # half axes of a disc, pixels, before what the network says
    color: float  # how much of a colour the network may add
    loose: float  # slope of the offset's tanh


_FRONT, _BACK = _Rules(0.45, 0.3, 1.0), _Rules(0.8, 1.0, 0.5)


class _Grid:
    """The pixels of one layer."""

    def __init__(self, size: int) -> None:
        self._row_of_cell = by_cells(torch.arange(size * size).view(size, size))
        self._rays = pixel_grid(size, torch.zeros(1))[0].flatten(1) * TAN  # [2, size * size]

    def discs(
        self,
        maps: Tensor,
        depth: Tensor,
        picture: Tensor,
        step: float,
        rules: _Rules,
        reach: float,
    ) -> tuple[Tensor, Tensor]:
        """Those that are kept, a number of all discs after another: short inner dimensions are
        slow.

        Args:
            maps: raw. [P, 10]
            depth: metres. [H, W]
            picture: colours. [3, H, W]
            step: distance of two neighbouring rays at depth 1.
            rules: how to read the maps.
            reach: the largest offset, metres.

        Returns:
            Centre and two half axes in the camera's frame, metres [9, K]; colours, uncertainty,
            opacity [5, K].
        """
        kept = torch.nonzero(maps[:, 5] >= LEAST_LOGIT)[:, 0]
        at = self._row_of_cell[kept]
        rows = maps[kept].T.contiguous()  # [10, K]
        z, (x, y) = depth.flatten()[at], self._rays[:, at]
        offset = torch.tanh_(rows[1:3] * rules.loose).mul_(reach)
        placed = torch.empty(9, len(kept))
        placed[0] = torch.addcmul(offset[0], x, z)
        placed[1] = torch.addcmul(offset[1], y, z)
        placed[2] = z
        sigma = rows[3:5].clamp_(-2.5, 2.5).exp_().mul_(rules.scale)
        footprint = z * step
        steepest = 5 * footprint
        for axis, slope in enumerate(_slopes(depth)):
            rise = slope.flatten()[at]
            rise = torch.maximum(torch.minimum(rise, steepest), -steepest).mul_(sigma[axis])
            half_axis = placed[3 + 3 * axis : 6 + 3 * axis]
            torch.mul(x, rise, out=half_axis[0])
            torch.mul(y, rise, out=half_axis[1])
            half_axis[2] = rise
            half_axis[axis].addcmul_(footprint, sigma[axis])
        shown = torch.empty(5, len(kept))
        torch.add(picture.flatten(1)[:, at], rows[6:9], alpha=rules.color, out=shown[:3])
        shown[:3].clamp_(-0.2, 1.2)
        torch.sigmoid(rows[9] - 2, out=shown[3])
        torch.sigmoid(2 * rows[5], out=shown[4]).mul_(0.995)
        return placed, shown


def _slopes(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Of `surface_tangents` of `models.lifter`, not clamped: along x and along y. [H, W] each"""
    out = []
    for dim in (1, 0):
        ahead = depth.diff(dim=dim)
        first, last = ahead.narrow(dim, 0, 1), ahead.narrow(dim, -1, 1)
        ahead = torch.cat([first, first, ahead, last, last], dim)
        length = depth.shape[dim]
        sides = ahead.narrow(dim, 0, length + 2) + ahead.narrow(dim, 1, length + 2)
        before, after = sides.narrow(dim, 0, length), sides.narrow(dim, 2, length)
        out.append(0.5 * torch.where(before.abs() < after.abs(), before, after))
    return out[0], out[1]


def by_cells(grid: Tensor) -> Tensor:
    """Pixels of a grid, cell of 2 x 2 after cell. [H, W, ...] -> [H * W, ...]"""
    height, width, *rest = grid.shape
    cells = grid.reshape(height // 2, 2, width // 2, 2, *rest).transpose(1, 2)
    return cells.reshape(height * width, *rest)


def by_rows(pixels: Tensor, size: int) -> Tensor:
    """The inverse of `by_cells`. [size * size] -> [size, size]"""
    return pixels.view(size // 2, size // 2, 2, 2).transpose(1, 2).reshape(size, size)


def eroded(mask: Tensor) -> Tensor:
    """As `models.portrait_blend.eroded`, on the CPU. [1, S, S] -> [S, S]"""
    return torch.from_numpy(cv2.erode(mask[0].numpy(), np.ones((EDGE, EDGE), np.uint8)))


def smoothness(depth: Tensor) -> Tensor:
    """As `models.reprojection.smoothness`, on the CPU. [1, 1, S, S] -> [S, S]"""
    surface = depth[0, 0].numpy()
    square = np.ones((3, 3), np.uint8)
    apart = torch.from_numpy(cv2.dilate(surface, square) - cv2.erode(surface, square))
    return ((STEP - apart) / (STEP - SMOOTH)).clamp_(0, 1)
