"""The lifter's raw maps of someone who is followed on a CPU: the kernels of src/cpu_maps.cpp.

In torch, `models.live_lift.map_weight` and `models.lifter.to_gaussians` say the same. Pixels of
layer 1 stand in cells of 2 x 2, cell after cell; pixels of layer 2 are these cells, in cells of
2 x 2 again. All tensors are float32, contiguous and on the CPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_kernels.library import kernels
from cuda_kernels.live_discs import MAPS


@dataclass(frozen=True)
class Change:
    """When a pixel counts as changed, by its raw numbers.

    Args:
        least: how much of new maps counts where nothing has changed.
        depth: differences up to which nothing has changed, and from which all is new.
        opacity: the same of the raw opacity.
    """

    least: float
    depth: tuple[float, float]
    opacity: tuple[float, float]


def mix_maps(
    front: Tensor, back: Tensor, new_front: Tensor, new_back: Tensor, change: Tensor, rules: Change
) -> None:
    """Change maps in place towards new ones.

    Args:
        front: layer 1, changed. [S * S, 10]
        back: layer 2, changed. [S / 2 * S / 2, 10]
        new_front: the newest. [S * S, 10]
        new_back: the newest. [S / 2 * S / 2, 10]
        change: where the portrait changed, 0..1. [S, S]
        rules: what else counts as a change.

    Raises:
        ValueError: shapes or types do not fit.
        KernelLibraryError: the kernels are not compiled for this machine.
    """
    size = change.shape[-1]
    fronts = {"front": front, "new_front": new_front}
    backs = {"back": back, "new_back": new_back}
    _check("mix_maps", size, fronts, backs, {"change": change})
    kernels().visavis_mix_maps(
        *(size, new_front.data_ptr(), new_back.data_ptr(), change.data_ptr(), rules.least),
        *(*rules.depth, *rules.opacity, front.data_ptr(), back.data_ptr()),
    )


def surfaces(front: Tensor, back: Tensor, size: int, distance: float) -> tuple[Tensor, Tensor]:
    """Depths of both layers, metres.

    Args:
        front: layer 1. [S * S, 10]
        back: layer 2. [S / 2 * S / 2, 10]
        size: S, a multiple of 4.
        distance: of the head's middle from the portrait's camera, metres.

    Returns:
        Of layer 1 [S, S], and of layer 2 [S / 2, S / 2].

    Raises:
        ValueError: shapes or types do not fit.
        KernelLibraryError: the kernels are not compiled for this machine.
    """
    _check("surfaces", size, {"front": front}, {"back": back}, {})
    depth, behind = torch.empty(size, size), torch.empty(size // 2, size // 2)
    kernels().visavis_surfaces(
        *(size, front.data_ptr(), back.data_ptr(), distance, depth.data_ptr(), behind.data_ptr())
    )
    return depth, behind


def _check(
    function: str,
    size: int,
    fronts: dict[str, Tensor],
    backs: dict[str, Tensor],
    grids: dict[str, Tensor],
) -> None:
    shapes = [
        *((name, t, (size * size, MAPS)) for name, t in fronts.items()),
        *((name, t, (size * size // 4, MAPS)) for name, t in backs.items()),
        *((name, t, (size, size)) for name, t in grids.items()),
    ]
    for name, t, shape in shapes:
        wrong = t.shape != shape or t.dtype != torch.float32 or not t.is_contiguous() or t.is_cuda
        if wrong or size % 4:
            raise ValueError(
                f"{function}: {name} is {t.dtype} {list(t.shape)} on {t.device}; needs contiguous"
                f" float32 {list(shape)} on the CPU, of a size that is a multiple of 4"
            )
