"""Splatting for a frame loop on the CPU: buffers allocated once, no autograd."""

import torch
from torch import Tensor

from cuda_kernels.buffers import Buffers, View
from cuda_kernels.splat import MAX_CHANNELS, check_inputs, run_forward


class Splatter:
    """Rasterises one view after another into buffers of fixed size.

    One thread at a time may use a Splatter; give each thread its own.
    """

    def __init__(
        self,
        most: int,
        width: int,
        height: int,
        *,
        channels: int = 4,
        eps2d: float = 0.1,
        near: float = 0.05,
        threads: int = 1,
        capacity: int | None = None,
    ) -> None:
        """Allocate everything that `render` needs.

        Args:
            most: the largest number of Gaussians.
            width: of the picture, pixels.
            height: of the picture, pixels.
            channels: colour channels, 1 to 8.
            eps2d: square pixels added to the screen covariance.
            near: discs whose centre is nearer to the camera are left out, metres.
            threads: CPU threads, over the tiles.
            capacity: most pairs of a Gaussian and a tile, default 8 * most + 4096; beyond it the
                farthest Gaussians are left out, and counted in `left_out`.
        """
        if most < 1 or not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(
                f"Splatter: {most} Gaussians of {channels} channels; needs one Gaussian or more,"
                f" and 1 to {MAX_CHANNELS} channels"
            )
        self.most = most
        self.view = View(width, height, eps2d, near, threads)
        room = 8 * most + 4096 if capacity is None else capacity
        self._buffers = Buffers.allocate(1, most, channels, self.view, room, torch.float32)
        self._picture = torch.zeros(channels + 2, height, width)

    def render(
        self,
        means: Tensor,
        axes: Tensor,
        opacities: Tensor,
        colors: Tensor,
        world_to_camera: Tensor,
        K: Tensor,
        *,
        out: Tensor | None = None,
    ) -> Tensor:
        """Rasterise one view.

        Args:
            means: centres in metres, world frame; N at most `most`. float32 [N, 3]
            axes: half axes (one sigma) in metres. [N, 2, 3]
            opacities: 0 to 1. [N]
            colors: [N, C]
            world_to_camera: OpenCV axes. [4, 4]
            K: intrinsics in pixels. [3, 3]
            out: where to write, contiguous; default: a tensor of this Splatter, which the next call
                overwrites. [C + 2, H, W]
        Returns:
            Sum of weight * color, sum of weight * depth (metres), alpha. [C + 2, H, W]
        Raises:
            ValueError: shapes, types or sizes do not fit.
        """
        picture = self._picture if out is None else out
        tensors = (means, axes, opacities, colors, world_to_camera[None], K[None])
        inputs = tuple(t.detach()[None].contiguous() for t in tensors)
        check_inputs(inputs, self.view)
        if len(means) > self.most or colors.shape[1] + 2 != len(self._picture):
            raise ValueError(
                f"Splatter: {len(means)} Gaussians of {colors.shape[1]} channels do not fit; made"
                f" for {self.most} of {len(self._picture) - 2}"
            )
        if (
            picture.shape != self._picture.shape
            or picture.dtype != torch.float32
            or means.dtype != torch.float32
            or not picture.is_contiguous()
            or means.device != self._picture.device
            or picture.device != self._picture.device
        ):
            raise ValueError(
                f"Splatter: out must be contiguous float32 {list(self._picture.shape)}, on the CPU"
            )
        run_forward(inputs, self.view, self._buffers, picture)
        return picture

    @property
    def left_out(self) -> int:
        """Pairs of a Gaussian and a tile that the last picture had no room for; 0 is all well."""
        return int(self._buffers.left_out()[0])
