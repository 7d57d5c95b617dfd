"""RGB pictures to the I420 frames that video encoders take; the kernel is in src/i420.h."""

import torch
from torch import Tensor

from cuda_kernels.library import kernels


def rgb_to_i420(rgb: Tensor, *, out: Tensor | None = None, threads: int = 1) -> Tensor:
    """Convert to I420, BT.601, limited range (Y 16 to 235); chroma is the mean of 2 x 2 pixels.

    Args:
        rgb: 0 to 1, other values are clamped, NaN is 0; H and W even; float32 or bfloat16 in any
            memory layout, channels last included. [3, H, W] or [B, 3, H, W]
        out: where to write, contiguous; default: a new tensor. uint8 [B, H * 3 / 2, W]
        threads: CPU threads, over the pictures.
    Returns:
        Y, then U and V at half the size, plane after plane. uint8 [B, H * 3 / 2, W]
    Raises:
        ValueError: shape or type do not fit.
        KernelLibraryError: the kernels are not compiled for this machine.
    """
    if rgb.dim() not in (3, 4) or rgb.shape[-3] != 3 or rgb.shape[-1] % 2 or rgb.shape[-2] % 2:
        raise ValueError(
            f"rgb_to_i420: needs [3, H, W] or [B, 3, H, W] with even H and W, not {list(rgb.shape)}"
        )
    if rgb.dtype not in (torch.float32, torch.bfloat16) or rgb.device.type != "cpu":
        raise ValueError(
            f"rgb_to_i420: needs float32 or bfloat16 on the CPU, not {rgb.dtype} on {rgb.device}"
        )
    rgb = rgb.detach()
    rgb = rgb if rgb.dim() == 4 else rgb[None]
    B, _, H, W = rgb.shape
    frames = torch.empty(B, H * 3 // 2, W, dtype=torch.uint8) if out is None else out
    if (
        tuple(frames.shape) != (B, H * 3 // 2, W)
        or frames.dtype != torch.uint8
        or not frames.is_contiguous()
    ):
        raise ValueError(f"rgb_to_i420: out must be contiguous uint8 {[B, H * 3 // 2, W]}")
    bfloat16 = int(rgb.dtype == torch.bfloat16)
    kernels().visavis_rgb_to_i420(
        bfloat16, B, W, H, rgb.data_ptr(), *rgb.stride(), threads, frames.data_ptr()
    )
    return frames
