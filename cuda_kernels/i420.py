"""RGB pictures to frames for video encoders, on CPU or GPU; the kernel is in src/yuv.h."""

import numpy as np
import torch
from torch import Tensor

from cuda_kernels.gpu import MOST_VIEWS, THREADS, launch
from cuda_kernels.layout import LAYOUT
from cuda_kernels.library import kernels


def _on_gpu(t: Tensor) -> bool:
    return t.is_cuda


def rgb_to_i420(rgb: Tensor, *, out: Tensor | None = None, threads: int = 1) -> Tensor:
    """Convert to I420, BT.601, limited range (Y 16 to 235); chroma is the mean of 2 x 2 pixels.

    On a GPU nothing waits, and with `out` nothing is allocated: a CUDA graph can hold it.

    Args:
        rgb: 0 to 1, other values are clamped, NaN is 0; H and W even; float32 or bfloat16 in any
            memory layout, channels last included. [3, H, W] or [B, 3, H, W]
        out: where to write, contiguous, on the same device; default: a new tensor.
            uint8 [B, H * 3 / 2, W]
        threads: CPU threads, over the pictures. No matter on a GPU.
    Returns:
        Y, then U and V at half the size, plane after plane. uint8 [B, H * 3 / 2, W]
    Raises:
        ValueError: shape or type do not fit.
        KernelLibraryError: the kernels are not compiled for this machine, or cupy is not there.
    """
    return _convert("rgb_to_i420", 0, rgb, out, threads)


def rgb_to_nv12(rgb: Tensor, *, out: Tensor | None = None, threads: int = 1) -> Tensor:
    """As `rgb_to_i420`, to NV12: U and V take turns in one plane, as NVENC has it."""
    return _convert("rgb_to_nv12", 1, rgb, out, threads)


def _convert(name: str, nv12: int, rgb: Tensor, out: Tensor | None, threads: int) -> Tensor:
    if rgb.dim() not in (3, 4) or rgb.shape[-3] != 3 or rgb.shape[-1] % 2 or rgb.shape[-2] % 2:
        raise ValueError(
            f"{name}: needs [3, H, W] or [B, 3, H, W] with even H and W, not {list(rgb.shape)}"
        )
    if rgb.dtype not in (torch.float32, torch.bfloat16) or rgb.device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"{name}: needs float32 or bfloat16 on the CPU or an NVIDIA GPU, not {rgb.dtype} on"
            f" {rgb.device}"
        )
    rgb = rgb.detach()
    rgb = rgb if rgb.dim() == 4 else rgb[None]
    B, _, H, W = rgb.shape
    shape = (B, H * 3 // 2, W)
    frames = torch.empty(shape, dtype=torch.uint8, device=rgb.device) if out is None else out
    if (
        tuple(frames.shape) != shape
        or frames.dtype != torch.uint8
        or frames.device != rgb.device
        or not frames.is_contiguous()
    ):
        raise ValueError(f"{name}: out must be contiguous uint8 {list(shape)} on {rgb.device}")
    bfloat16 = int(rgb.dtype == torch.bfloat16)
    if not _on_gpu(rgb):
        kernels().visavis_rgb_to_yuv(
            *(nv12, bfloat16, B, W, H, rgb.data_ptr(), *rgb.stride(), threads, frames.data_ptr())
        )
        return frames
    if B > MOST_VIEWS:
        raise ValueError(f"{name}: {B} pictures; a GPU takes up to {MOST_VIEWS} in one call")
    picture_step, *steps = rgb.stride()
    launch(
        "rgb_to_yuv_bfloat16" if bfloat16 else "rgb_to_yuv_float32",
        4,
        (-(-(W // 2 * (H // 2)) // THREADS), B),
        rgb.device,
        [nv12, W, H, rgb, np.array(picture_step), np.array(tuple(steps), LAYOUT), frames],
    )
    return frames
