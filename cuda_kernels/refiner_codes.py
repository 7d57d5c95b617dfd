"""What the refiner sees in eight bits, for CPUs: the kernel of src/cpu_codes.cpp.

In torch, `models.refiner.Refiner.picture` and `models.int8.Int8Conv.picture` compute the same.
"""

import torch
from torch import Tensor

from cuda_kernels.library import kernels

RENDER, SEEN = 10, 12


def refiner_codes(
    render: Tensor, noise: Tensor, level: float, enlarged: Tensor, threads: int = 1
) -> Tensor:
    """A noised render as codes.

    All tensors are contiguous and on the CPU.

    Args:
        render: from `refiner_input`, float32 or bfloat16. [1, 10, H, W]
        noise: standard normal, float32. [1, 4, H, W]
        level: the largest sigma.
        enlarged: codes per unit of each channel of what is seen, float32; the code of 0 is 128.
            [12]
        threads: over the pixels.

    Returns:
        Noised colours and alpha, uncertainty, depth, alpha, three times sigma, the portrait's
        detail and its certainty, channels last. uint8 [1, 12, H, W]

    Raises:
        ValueError: shapes or types do not fit.
        KernelLibraryError: the kernels are not compiled for this machine.
    """
    height, width = render.shape[-2:]
    bfloat16 = render.dtype == torch.bfloat16
    shapes = {
        "render": (render, (1, RENDER, height, width), render.dtype if bfloat16 else torch.float32),
        "noise": (noise, (1, 4, height, width), torch.float32),
        "enlarged": (enlarged, (SEEN,), torch.float32),
    }
    for name, (t, shape, dtype) in shapes.items():
        if t.shape != shape or t.dtype != dtype or not t.is_contiguous() or t.is_cuda:
            raise ValueError(
                f"refiner_codes: {name} is {t.dtype} {list(t.shape)} on {t.device}; needs"
                f" contiguous {dtype} {list(shape)} on the CPU"
            )
    out = torch.empty(1, SEEN, height, width, dtype=torch.uint8, memory_format=torch.channels_last)
    kernels().visavis_refiner_codes(
        *(int(bfloat16), height * width, render.data_ptr(), noise.data_ptr(), level),
        *(enlarged.data_ptr(), out.data_ptr(), threads),
    )
    return out
