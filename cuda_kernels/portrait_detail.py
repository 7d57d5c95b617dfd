"""The refiner's input in one kernel, on CPU or GPU; it is in src/detail.h.

In torch, `models.reprojection.portrait_detail` and `models.refiner.refiner_input` compute the same.
"""

import math

import numpy as np
import torch
from torch import Tensor

from cuda_kernels.arguments import check
from cuda_kernels.gpu import THREADS, launch
from cuda_kernels.layout import LAYOUT, READING
from cuda_kernels.library import kernels

CHANNELS = 10


def _on_gpu(t: Tensor) -> bool:
    return t.is_cuda


def refiner_input(
    splatted: Tensor,
    K: Tensor,
    portrait_from_camera: Tensor,
    distances: Tensor,
    pictures: Tensor,
    depths: Tensor,
    slot_of_view: Tensor,
    *,
    half_fov: float,
    trusted: float,
    doubted: float,
    out: Tensor | None = None,
    threads: int = 1,
) -> Tensor:
    """A splat, and beside it by how much the portrait differs from it and how surely.

    On a GPU nothing waits, and with `out` nothing is allocated: a CUDA graph can hold it.

    Args:
        splatted: colours (premultiplied), uncertainty, depth times alpha in metres, alpha.
            Contiguous, as all tensors but `out`, and float32 where nothing else is said.
            [V, 6, H, W]
        K: intrinsics of the views in pixels, without skew. [V, 3, 3]
        portrait_from_camera: from each view's camera to the portrait's. [V, 4, 4]
        distances: of the head's middle along each view's axis, metres. [V]
        pictures: portraits: colours times mask, mask. [slots, 4, S, S]
        depths: of what they show, metres. [slots, 1, S, S]
        slot_of_view: whose portrait a view reads; none, where there is no such slot. int32 [V]
        half_fov: half the portraits' field of view, radians.
        trusted: up to so many metres from its surface, the portrait shows a point.
        doubted: from so many metres on it does not; more than `trusted`.
        out: where to write, in any memory layout, float32 or bfloat16; default: new, float32.
            [V, 10, H, W]
        threads: CPU threads, over the rows. No matter on a GPU.
    Returns:
        Colours, uncertainty, depth counted from the head's middle in 0.1 m, alpha; differences of
        the colours, premultiplied by alpha and by the certainty; the certainty, 0..1. [V, 10, H, W]
    Raises:
        ValueError: shapes, types or devices do not fit.
        KernelLibraryError: the kernels are not compiled for this machine, or cupy is not there.
    """
    if splatted.dim() != 4 or pictures.dim() != 4:
        raise ValueError("refiner_input: splatted is [V, 6, H, W], pictures [slots, 4, S, S]")
    V, _, H, W = splatted.shape
    slots, S, device = len(pictures), pictures.shape[-1], splatted.device
    tensors = {
        "splatted": (splatted, (V, 6, H, W)),
        "K": (K, (V, 3, 3)),
        "portrait_from_camera": (portrait_from_camera, (V, 4, 4)),
        "distances": (distances, (V,)),
        "pictures": (pictures, (slots, 4, S, S)),
        "depths": (depths, (slots, 1, S, S)),
        "slot_of_view": (slot_of_view, (V,)),
    }
    check("refiner_input", device, V, tensors)
    if out is None:
        out = torch.empty(V, CHANNELS, H, W, device=device)
    bfloat16 = int(out.dtype == torch.bfloat16)
    if (
        out.shape != (V, CHANNELS, H, W)
        or out.device != device
        or not (bfloat16 or out.dtype == torch.float32)
    ):
        raise ValueError(
            f"refiner_input: out is {out.dtype} {list(out.shape)} on {out.device}; needs float32 or"
            f" bfloat16 {[V, CHANNELS, H, W]} on {device}"
        )
    view_step, *steps = out.stride()
    reading = (S, math.tan(half_fov), trusted, doubted)
    read = (K, portrait_from_camera, distances, pictures, depths)
    if _on_gpu(splatted):
        launch(
            "refiner_input_bfloat16" if bfloat16 else "refiner_input_float32",
            4,
            (-(-W * H // THREADS), V),
            device,
            [
                *(slots, slot_of_view, W, H, splatted, *read, np.array(reading, READING), out),
                *(np.array(view_step), np.array(tuple(steps), LAYOUT)),
            ],
        )
    else:
        kernels().visavis_refiner_input(
            *(bfloat16, V, slots, slot_of_view.data_ptr(), W, H, splatted.data_ptr()),
            *(t.data_ptr() for t in read),
            *(*reading, out.data_ptr(), view_step, *steps, threads),
        )
    return out
