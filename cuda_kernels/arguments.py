"""What kernels of batches of views are given, before its addresses are handed over."""

import torch
from torch import Tensor

from cuda_kernels.gpu import MOST_VIEWS


def check(
    function: str,
    device: torch.device,
    views: int,
    tensors: dict[str, tuple[Tensor, tuple[int, ...]]],
) -> None:
    """Refuse what a kernel would misread.

    Args:
        function: whose arguments they are.
        device: where all must be.
        views: of the batch.
        tensors: each with the shape that it must have: float32 and contiguous; `slot_of_view` is
            int32.

    Raises:
        ValueError: shapes, types or devices do not fit.
    """
    for name, (t, shape) in tensors.items():
        dtype = torch.int32 if name == "slot_of_view" else torch.float32
        if t.shape != shape or t.dtype != dtype or t.device != device or not t.is_contiguous():
            raise ValueError(
                f"{function}: {name} is {t.dtype} {list(t.shape)} on {t.device}; needs"
                f" contiguous {dtype} {list(shape)} on {device}"
            )
    if device.type not in ("cpu", "cuda") or views > MOST_VIEWS:
        raise ValueError(
            f"{function}: {views} views on {device}; needs the CPU or an NVIDIA GPU, and up to"
            f" {MOST_VIEWS} views"
        )
