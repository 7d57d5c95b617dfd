"""Gives views the portrait's own pixels, on CPU or GPU; the kernel is in src/blend.h.

In torch, `models.portrait_blend.blended` computes the same.
"""

import math

import numpy as np
import torch
from torch import Tensor

from cuda_kernels.arguments import check
from cuda_kernels.gpu import THREADS, launch
from cuda_kernels.layout import BLENDING, LAYOUT
from cuda_kernels.library import kernels


def _on_gpu(t: Tensor) -> bool:
    return t.is_cuda


def blend_portrait(
    rgba: Tensor,
    splatted: Tensor,
    K: Tensor,
    portrait_from_camera: Tensor,
    distances: Tensor,
    pictures: Tensor,
    slot_of_view: Tensor,
    *,
    half_fov: float,
    widest: float,
    threads: int = 1,
) -> Tensor:
    """Change views towards the portrait, the more the nearer their cameras are to its camera.

    On a GPU nothing waits and nothing is allocated: a CUDA graph can hold it.

    Args:
        rgba: colours (premultiplied), changed in place, and alpha; in any memory layout, float32 or
            bfloat16. [V, 4, H, W]
        splatted: colours, uncertainty, depth times alpha in metres, alpha; the last two are read.
            Contiguous, as all tensors but `rgba`, and float32 where nothing else is said.
            [V, 6, H, W]
        K: intrinsics of the views in pixels, without skew. [V, 3, 3]
        portrait_from_camera: from each view's camera to the portrait's. [V, 4, 4]
        distances: of the head's middle along each view's axis, metres. [V]
        pictures: portraits: colours, and how surely they are the person's, 0..1.
            [slots, 4, S, S]
        slot_of_view: whose portrait a view reads; none, where there is no such slot. int32 [V]
        half_fov: half the portraits' field of view, radians.
        widest: angle between the two cameras, seen from the head, from which on nothing changes,
            radians.
        threads: CPU threads, over the rows. No matter on a GPU.

    Returns:
        `rgba`.

    Raises:
        ValueError: shapes, types or devices do not fit.
        KernelLibraryError: the kernels are not compiled for this machine, or cupy is not there.
    """
    if rgba.dim() != 4 or pictures.dim() != 4:
        raise ValueError("blend_portrait: rgba is [V, 4, H, W], pictures [slots, 4, S, S]")
    V, _, H, W = rgba.shape
    slots, S, device = len(pictures), pictures.shape[-1], rgba.device
    tensors = {
        "splatted": (splatted, (V, 6, H, W)),
        "K": (K, (V, 3, 3)),
        "portrait_from_camera": (portrait_from_camera, (V, 4, 4)),
        "distances": (distances, (V,)),
        "pictures": (pictures, (slots, 4, S, S)),
        "slot_of_view": (slot_of_view, (V,)),
    }
    check("blend_portrait", device, V, tensors)
    bfloat16 = int(rgba.dtype == torch.bfloat16)
    if rgba.shape[1] != 4 or not (bfloat16 or rgba.dtype == torch.float32):
        raise ValueError(
            f"blend_portrait: rgba is {rgba.dtype} {list(rgba.shape)}; needs float32 or bfloat16"
            f" {[V, 4, H, W]}"
        )
    view_step, *steps = rgba.stride()
    blending = (S, math.tan(half_fov), widest)
    read = (splatted, K, portrait_from_camera, distances, pictures)
    if _on_gpu(rgba):
        launch(
            "blend_portrait_bfloat16" if bfloat16 else "blend_portrait_float32",
            4,
            (-(-W * H // THREADS), V),
            device,
            [
                *(slots, slot_of_view, W, H, *read, np.array(blending, BLENDING), rgba),
                *(np.array(view_step), np.array(tuple(steps), LAYOUT)),
            ],
        )
    else:
        kernels().visavis_blend_portrait(
            *(bfloat16, V, slots, slot_of_view.data_ptr(), W, H),
            *(t.data_ptr() for t in read),
            *(*blending, rgba.data_ptr(), view_step, *steps, threads),
        )
    return rgba
