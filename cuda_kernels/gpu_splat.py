"""The splatting kernels on a GPU, as training wants them: any number of pairs, and gradients."""

import torch
from torch import Tensor

from cuda_kernels.binning import bin_gaussians
from cuda_kernels.buffers import Buffers, View
from cuda_kernels.gpu import MOST_VIEWS, THREADS, launch
from cuda_kernels.layout import boxes_and_depths, frame, gradient_bytes, splat_bytes, tile_grid


def _sizes(inputs: tuple[Tensor, ...]) -> tuple[int, int, int, int]:
    """Sets, views of each set, Gaussians and channels."""
    (sets, n), views_per_set = inputs[0].shape[:2], inputs[4].shape[1]
    return sets, views_per_set, n, inputs[3].shape[2]


def forward(inputs: tuple[Tensor, ...], view: View, capacity: int | None) -> tuple[Tensor, Buffers]:
    """Rasterise.

    Args:
        inputs: means to K as in `cuda_kernels.splat.splat`, checked, contiguous, float32.
        view: `threads` counts for nothing here.
        capacity: as in `splat`.
    Returns:
        The pictures [B, V, C + 2, H, W], and what the backward pass needs.
    """
    sets, views_per_set, n, channels = _sizes(inputs)
    views, device = sets * views_per_set, inputs[0].device
    if views > MOST_VIEWS:
        raise ValueError(f"splat: {views} views; up to {MOST_VIEWS} can be splatted in one call")
    picture = frame(view.width, view.height)
    splats = torch.empty(views, n, splat_bytes(channels), dtype=torch.uint8, device=device)
    touched = torch.empty(views, n, dtype=torch.int32, device=device)
    launch(
        "project",
        channels,
        (-(-n // THREADS), views),
        device,
        [n, views_per_set, *inputs, picture, view.eps2d, view.near, splats, touched],
    )
    boxes, depths = boxes_and_depths(splats, torch.float32)
    buffers = Buffers(splats, *bin_gaussians(boxes, depths, view.width, view.height, capacity))
    out = inputs[0].new_empty(sets, views_per_set, channels + 2, view.height, view.width)
    launch(
        "composite_forward",
        channels,
        (_tiles(view), views),
        device,
        [n, picture, buffers.capacity, buffers.starts, buffers.lists, splats, out],
    )
    return out, buffers


def backward(
    inputs: tuple[Tensor, ...], view: View, buffers: Buffers, out: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of means, axes, opacities and colors.

    Blocks add to the same Gaussian in any order: the last bits differ from one run to the next.

    Args:
        inputs: as in `forward`.
        view: as in `forward`.
        buffers: what `forward` returned.
        out: the pictures that `forward` returned.
        grad: of `out`, contiguous. [B, V, C + 2, H, W]
    """
    sets, views_per_set, n, channels = _sizes(inputs)
    views, device = sets * views_per_set, inputs[0].device
    means, axes, opacities, _, world_to_camera, K = inputs
    splats = buffers.splats
    moments = torch.zeros(views, n, gradient_bytes(channels), dtype=torch.uint8, device=device)
    launch(
        "composite_backward",
        channels,
        (_tiles(view), views),
        device,
        [
            *(n, frame(view.width, view.height), buffers.capacity, buffers.starts, buffers.lists),
            *(splats, out, grad, moments),
        ],
    )
    gradients = tuple(torch.zeros_like(t) for t in inputs[:4])
    launch(
        "project_backward",
        channels,
        (-(-n // THREADS), sets),
        device,
        [
            *(n, views_per_set, means, axes, opacities, world_to_camera, K, view.eps2d),
            *(splats, moments, *gradients),
        ],
    )
    return gradients


def _tiles(view: View) -> int:
    columns, rows = tile_grid(view.width, view.height)
    return columns * rows
