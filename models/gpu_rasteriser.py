"""Rasterising all views of a batch, each of the avatar in its own slot.

On the GPU in one go; on the CPU, where only tests and checks of the rest ask for it, one by one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_kernels.gpu_splatter import GpuSplatter, Workspace
from cuda_kernels.splatter import Splatter
from models.gpu_slots import COLORS, AvatarSlots
from models.gpu_views import ViewBlock

PICTURE = COLORS + 2
"""Channels of a splat: colours, uncertainty, depth times alpha, alpha."""


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


BatchSplatter = GpuSplatter | PlainSplatter


def batch_splatter(
    views: int,
    slots: int,
    most: int,
    size: int,
    device: torch.device,
    workspace: Workspace | None = None,
) -> BatchSplatter:
    """The rasteriser of a device.

    Args:
        views: of a batch.
        slots: sets of Gaussians.
        most: Gaussians of a set at most.
        size: of the pictures, pixels.
        device: to run on.
        workspace: shared with others that run before or after; see `GpuSplatter`.
    """
    if device.type != "cuda":
        return PlainSplatter(views, most, size)
    return GpuSplatter(
        views, slots, most, size, size, channels=COLORS, device=device, workspace=workspace
    )


def shared_workspace(views: int, slots: AvatarSlots) -> Workspace | None:
    """What the rasterisers of all batches of up to so many views can share; the CPU needs none."""
    device = slots.counts.device
    if device.type != "cuda":
        return None
    return Workspace(views, slots.most, channels=COLORS, device=device)


class Rasteriser:
    """Splats a batch of views.

    Args:
        slots: the avatars.
        views: the batch, on the device.
        size: pixels.
        workspace: from `shared_workspace`.
    """

    def __init__(
        self, slots: AvatarSlots, views: ViewBlock, size: int, workspace: Workspace | None
    ) -> None:
        self._slots, self._views = slots, views
        batch = len(views.slots)
        device = views.block.device
        self._shape = (batch, PICTURE, size, size)
        self._splatter = batch_splatter(batch, slots.count + 1, slots.most, size, device, workspace)

    def run(self) -> Tensor:
        """Splat the views as they stand in memory now. float32 [batch, 6, size, size]"""
        slots, views = self._slots, self._views
        return self._splatter.render(
            slots.means,
            slots.axes,
            slots.opacities,
            slots.colors,
            slots.counts,
            views.slots,
            views.world_to_camera,
            views.K,
            torch.empty(self._shape, device=views.block.device),
        )

    @property
    def left_out(self) -> Tensor:
        """Pairs of a Gaussian and a tile that the last run had no room for. int64 [batch]"""
        return self._splatter.left_out
