"""Differentiable splatting of Gaussian discs, on CPU or GPU; the kernels are in src/splat.h.

The method is that of Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering"
(2023), with discs: sorted by the depth of their centres, gathered per tile of 16 x 16 pixels,
composited front to back.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cuda_kernels import gpu_splat
from cuda_kernels.buffers import Buffers, View
from cuda_kernels.library import kernels

MAX_CHANNELS = 8
MAX_SIZE = 16384

# Pairs per Gaussian that a call without `capacity` makes room for at first; heads have 1 to 2.
_PAIRS_PER_GAUSSIAN = 4
_LEAST_PAIRS = 65536


def _pointer(t: Tensor) -> int:
    return t.data_ptr()


def _suffix(dtype: torch.dtype) -> str:
    return "f64" if dtype == torch.float64 else "f32"


def _batch(inputs: tuple[Tensor, ...], view: View, capacity: int) -> list[Any]:
    """The arguments that the forward and the backward function share."""
    means, _, _, colors, world_to_camera, _ = inputs
    sets, n = means.shape[:2]
    return [
        *(colors.shape[2], sets, world_to_camera.shape[1], n),
        *(_pointer(t) for t in inputs),
        *(view.width, view.height, view.eps2d, view.near, view.threads, capacity),
    ]


def run_forward(inputs: tuple[Tensor, ...], view: View, buffers: Buffers, out: Tensor) -> None:
    """Rasterise checked, contiguous inputs (means to K, as in `splat`) into `out`, `buffers`."""
    function = getattr(kernels(), f"visavis_splat_forward_{_suffix(out.dtype)}")
    rest = (buffers.splats, buffers.starts, buffers.lists, buffers.pairs, out)
    function(*_batch(inputs, view, buffers.capacity), *(_pointer(t) for t in rest))


def _forward(
    inputs: tuple[Tensor, ...], view: View, capacity: int | None
) -> tuple[Tensor, Buffers]:
    means, _, _, colors, world_to_camera, _ = inputs
    (sets, n), views, channels = means.shape[:2], world_to_camera.shape[1], colors.shape[2]
    out = means.new_empty(sets, views, channels + 2, view.height, view.width)
    enough = capacity or max(_PAIRS_PER_GAUSSIAN * n, _LEAST_PAIRS)
    while True:
        buffers = Buffers.allocate(sets * views, n, channels, view, enough, out.dtype)
        run_forward(inputs, view, buffers, out)
        needed = int(buffers.pairs.max()) if sets * views else 0
        if capacity is not None or needed <= enough:
            return out, buffers
        enough = needed


def _backward(
    inputs: tuple[Tensor, ...], view: View, buffers: Buffers, out: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    grads = tuple(torch.zeros_like(t) for t in inputs[:4])
    function = getattr(kernels(), f"visavis_splat_backward_{_suffix(out.dtype)}")
    rest = (buffers.splats, buffers.starts, buffers.lists, out, grad, *grads)
    function(*_batch(inputs, view, buffers.capacity), *(_pointer(t) for t in rest))
    return grads


def _on_gpu(t: Tensor) -> bool:
    return t.is_cuda


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, view, capacity, overflow = arguments
        inputs = tuple(t.detach().contiguous() for t in tensors)
        forward = gpu_splat.forward if _on_gpu(inputs[0]) else _forward
        out, buffers = forward(inputs, view, capacity)
        if overflow is not None:
            overflow.copy_(buffers.left_out().view(overflow.shape))
        ctx.view = view
        ctx.save_for_backward(
            *inputs, out, buffers.splats, buffers.starts, buffers.lists, buffers.pairs
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        *inputs, out, splats, starts, lists, pairs = ctx.saved_tensors
        buffers = Buffers(splats, starts, lists, pairs)
        backward = gpu_splat.backward if _on_gpu(out) else _backward
        grads = backward(tuple(inputs), ctx.view, buffers, out, grad.contiguous())
        return (*grads, None, None, None, None, None)


def check_inputs(inputs: tuple[Tensor, ...], view: View) -> None:
    """Raise ValueError in one line where shapes, types or sizes do not fit together."""
    means, axes, opacities, colors, world_to_camera, K = inputs
    if means.dim() != 3 or world_to_camera.dim() != 4 or colors.dim() != 3:
        raise ValueError(
            "splat: means is [B, N, 3], colors [B, N, C], world_to_camera [B, V, 4, 4]"
        )
    (B, N), V, C = means.shape[:2], world_to_camera.shape[1], colors.shape[2]
    expected = {
        "means": (means, (B, N, 3)),
        "axes": (axes, (B, N, 2, 3)),
        "opacities": (opacities, (B, N)),
        "colors": (colors, (B, N, C)),
        "world_to_camera": (world_to_camera, (B, V, 4, 4)),
        "K": (K, (B, V, 3, 3)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"splat: {name} has shape {list(tensor.shape)}, needs {list(shape)}")
        if tensor.dtype != means.dtype or tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"splat: {name} is {tensor.dtype}; all must be float32, or all float64"
            )
        if tensor.device != means.device:
            raise ValueError(
                f"splat: {name} is on {tensor.device} and means on {means.device}; all must be on"
                " one device"
            )
    if means.device.type not in ("cpu", "cuda"):
        raise ValueError(f"splat: means is on {means.device}; needs the CPU or an NVIDIA GPU")
    if means.is_cuda and means.dtype == torch.float64:
        raise ValueError("splat: means is torch.float64; on a GPU all must be float32")
    if not 1 <= C <= MAX_CHANNELS:
        raise ValueError(f"splat: {C} colour channels; from 1 to {MAX_CHANNELS} can be splatted")
    if not (0 < view.width <= MAX_SIZE and 0 < view.height <= MAX_SIZE):
        raise ValueError(f"splat: {view.width} x {view.height} pixels; from 1 to {MAX_SIZE} each")
    if not (view.eps2d > 0 and view.near > 0 and view.threads > 0):
        raise ValueError("splat: eps2d, near and threads must be positive")


def splat(
    means: Tensor,
    axes: Tensor,
    opacities: Tensor,
    colors: Tensor,
    world_to_camera: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float = 0.1,
    near: float = 0.05,
    threads: int = 1,
    capacity: int | None = None,
    overflow: Tensor | None = None,
) -> Tensor:
    """Rasterise Gaussian discs; differentiable in means, axes, opacities and colors.

    View (b, v) sees the Gaussians of set b. A disc has the covariance a0 a0^T + a1 a1^T; its alpha
    at a pixel is min(0.99, opacity * exp(-d^T S^-1 d / 2)), nothing under 1/255, and a pixel takes
    no more once less than 1/1000 of what lies behind would show. Equal depths: lower index first.

    All tensors are on the CPU, or all on one NVIDIA GPU.

    Args:
        means: centres in metres, world frame. float32 (on the CPU also float64) [B, N, 3]
        axes: half axes (one sigma) in metres, world frame. [B, N, 2, 3]
        opacities: 0 to 1; less than 1/255 is not seen. [B, N]
        colors: any C = 1 to 8 channels. [B, N, C]
        world_to_camera: OpenCV axes (x right, y down, z forward). [B, V, 4, 4]
        K: intrinsics in pixels; only fx, fy, cx, cy count. [B, V, 3, 3]
        width: of the picture, pixels.
        height: of the picture, pixels.
        eps2d: square pixels added to the screen covariance, a blur that hides the grid.
        near: discs whose centre is nearer to the camera are left out, metres.
        threads: CPU threads; over views, or over tiles where there is one view. No matter on a GPU.
        capacity: how many pairs (Gaussian, tile) a view may have; the farthest Gaussians beyond
            are left out. Default: as many as there are.
        overflow: if given, is filled with the number of pairs left out. int64 [B, V]
    Returns:
        Sum of weight * color, sum of weight * depth (metres), alpha. [B, V, C + 2, H, W]
    Raises:
        ValueError: shapes, types or sizes do not fit.
        KernelLibraryError: the kernels are not compiled for this machine, or cupy is not there.
    """
    inputs = (means, axes, opacities, colors, world_to_camera, K)
    view = View(int(width), int(height), float(eps2d), float(near), threads)
    check_inputs(inputs, view)
    if capacity is not None and capacity < 1:
        raise ValueError(f"splat: capacity {capacity}; a view needs room for at least one pair")
    result: Tensor = _Splat.apply(*inputs, view, capacity, overflow)  # type: ignore[no-untyped-call]
    return result
