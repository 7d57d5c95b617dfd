"""Rasterising all views of a batch, each of the avatar in its own slot.

On the GPU in one go; on the CPU, where only tests and checks of the rest ask for it, one by one.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import torch
from torch import Tensor

from cuda_kernels.splatter import Splatter
from models.gpu_slots import COLORS, AvatarSlots
from models.gpu_views import ViewBlock

PICTURE = COLORS + 2
"""Channels of a splat: colours, uncertainty, depth times alpha, alpha."""


class BatchSplatter(Protocol):
    """`cuda_kernels.gpu_splatter.GpuSplatter`, or `PlainSplatter`."""

    def render(
        self,
        means: Tensor,
        axes: Tensor,
        opacities: Tensor,
        colors: Tensor,
        counts: Tensor,
        slot_of_view: Tensor,
        world_to_camera: Tensor,
        K: Tensor,
        out: Tensor,
    ) -> Tensor: ...

    @property
    def left_out(self) -> Tensor: ...


class PlainSplatter:
    """The CPU's kernels behind the GPU rasteriser's interface. Arguments as for `GpuSplatter`."""

    def __init__(self, views: int, most: int, size: int) -> None:
        self._splatter = Splatter(most, size, size)
        self.left_out = torch.zeros(views, dtype=torch.int64)

    def render(
        self,
        means: Tensor,
        axes: Tensor,
        opacities: Tensor,
        colors: Tensor,
        counts: Tensor,
        slot_of_view: Tensor,
        world_to_camera: Tensor,
        K: Tensor,
        out: Tensor,
    ) -> Tensor:
        for view, slot in enumerate(slot_of_view.tolist()):
            here = slice(int(counts[slot]))
            self._splatter.render(
                means[slot, here],
                axes[slot, here],
                opacities[slot, here],
                colors[slot, here],
                world_to_camera[view],
                K[view],
                out=out[view],
            )
            self.left_out[view] = self._splatter.left_out
        return out


def batch_splatter(
    views: int, slots: int, most: int, size: int, device: torch.device
) -> BatchSplatter:
    """The rasteriser of a device.

    Args:
        views: of a batch.
        slots: sets of Gaussians.
        most: Gaussians of a set at most.
        size: of the pictures, pixels.
        device: to run on.
    """
    if device.type != "cuda":
        return PlainSplatter(views, most, size)
    # Imported here, because it needs cupy.
    kind: Any = importlib.import_module("cuda_kernels.gpu_splatter").GpuSplatter
    splatter: BatchSplatter = kind(views, slots, most, size, size, channels=COLORS, device=device)
    return splatter


class Rasteriser:
    """Splats a batch of views into a picture of its own.

    Args:
        slots: the avatars.
        views: the batch, on the device.
        size: pixels.

    Attributes:
        picture: float32 [batch, 6, size, size]
    """

    def __init__(self, slots: AvatarSlots, views: ViewBlock, size: int) -> None:
        self._slots, self._views = slots, views
        batch = len(views.slots)
        device = views.block.device
        self.picture = torch.zeros(batch, PICTURE, size, size, device=device)
        self._splatter = batch_splatter(batch, slots.count + 1, slots.most, size, device)

    def run(self) -> Tensor:
        """Splat the views as they stand in memory now."""
        slots, views = self._slots, self._views
        self._splatter.render(
            slots.means,
            slots.axes,
            slots.opacities,
            slots.colors,
            slots.counts,
            views.slots,
            views.world_to_camera,
            views.K,
            self.picture,
        )
        return self.picture

    def left_out(self) -> int:
        """Pairs of a Gaussian and a tile that the last batch had no room for. Waits."""
        return int(self._splatter.left_out.sum())
