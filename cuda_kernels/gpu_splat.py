"""The splatting kernels on a GPU: src/kernels.cu, compiled by cupy, on the tensors of torch.

Nothing is copied: the kernels get torch's pointers, and run on torch's current stream.
"""

import importlib
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cuda_kernels.binning import bin_gaussians
from cuda_kernels.buffers import Buffers, View
from cuda_kernels.build import SOURCE_FOLDER
from cuda_kernels.layout import boxes_and_depths, frame, gradient_bytes, splat_bytes, tile_grid
from cuda_kernels.library import KernelLibraryError
from cuda_kernels.nvrtc import options

THREADS = 256
"""In a block: the pixels of a tile, or that many Gaussians."""
MOST_VIEWS = 65535
"""CUDA's limit of a grid's second edge."""


def _cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError:
        raise KernelLibraryError(
            "The kernels need cupy on a GPU; run: pip install 'visavis[cuda]'"
        ) from None


@cache
def _kernel(name: str, channels: int, device: int) -> Any:
    """A kernel for a device; cupy keeps what it compiled on disk, by architecture and options."""
    with _cupy().cuda.Device(device):
        return _module(channels).get_function(name)


@cache
def _module(channels: int) -> Any:
    source = (SOURCE_FOLDER / "kernels.cu").read_text()
    return _cupy().RawModule(code=source, options=options(channels))


def _by_value(argument: Tensor | np.ndarray | int | float) -> np.ndarray:
    """An argument as the kernels take it: a pointer, a struct, an int or a float.

    Arrays of one item, since cupy copies them as they are; of plain numbers it would make 64 bits.
    """
    if isinstance(argument, Tensor):
        return np.array(argument.data_ptr(), np.uint64)
    if isinstance(argument, np.ndarray):
        return argument
    return np.array(argument, np.int32 if isinstance(argument, int) else np.float32)


def launch(
    name: str, channels: int, blocks: tuple[int, int], device: torch.device, arguments: list[Any]
) -> None:
    """Put a kernel on torch's current stream of a device.

    Args:
        name: of an entry point of kernels.cu.
        channels: that it is compiled for.
        blocks: of 256 threads each.
        device: a CUDA device.
        arguments: tensors for pointers, numbers, and `Frame`.
    """
    if 0 in blocks:  # CUDA calls that an error
        return
    cuda = _cupy().cuda
    stream = cuda.Stream.from_external(torch.cuda.current_stream(device))
    with cuda.Device(device.index), stream:
        kernel = _kernel(name, channels, device.index)
        kernel(blocks, (THREADS,), tuple(_by_value(a) for a in arguments))


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
