"""From the raw maps of the lifter to the discs that are kept: the kernel of src/cpu_discs.cpp.

In torch, `models.lifter.to_gaussians` computes the same, of all discs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_kernels.library import kernels

MAPS = 10


@dataclass(frozen=True)
class Rules:
    """How a layer's raw numbers are read.

    Args:
        tangent: of half the portrait's field of view.
        step: distance of two neighbouring rays at depth 1.
        scale: half axes of a disc, pixels, before what the network says.
        color: how much of a colour the network may add.
        loose: slope of the offset's tanh.
        reach: the largest offset, metres.
        least: raw opacity from which a disc is kept.
    """

    tangent: float
    step: float
    scale: float
    color: float
    loose: float
    reach: float
    least: float


class Discs:
    """Room for the discs of one avatar, filled layer after layer.

    Args:
        most: discs at most.

    Attributes:
        means: [most, 3]
        axes: [most, 2, 3]
        opacities: [most]
        colors: colours and uncertainty. [most, 4]
        count: of those that are filled.
    """

    def __init__(self, most: int) -> None:
        self.means, self.axes = torch.empty(most, 3), torch.empty(most, 2, 3)
        self.opacities, self.colors = torch.empty(most), torch.empty(most, 4)
        self.count = 0

    def add(self, maps: Tensor, depth: Tensor, picture: Tensor, rules: Rules, pose: Tensor) -> None:
        """Add a layer. All tensors are float32, contiguous and on the CPU.

        Args:
            maps: raw, cell of 2 x 2 pixels after cell. [S * S, 10]
            depth: metres. [S, S]
            picture: colours. [3, S, S]
            rules: how to read the maps.
            pose: cosine and sine of a turn about the optical axis, and a shift. [5]

        Raises:
            ValueError: shapes or types do not fit, or there is no room.
            KernelLibraryError: the kernels are not compiled for this machine.
        """
        size = depth.shape[-1]
        shapes = {
            "maps": (maps, (size * size, MAPS)),
            "depth": (depth, (size, size)),
            "picture": (picture, (3, size, size)),
            "pose": (pose, (5,)),
        }
        for name, (t, shape) in shapes.items():
            if t.shape != shape or t.dtype != torch.float32 or not t.is_contiguous() or size % 2:
                raise ValueError(
                    f"Discs: {name} is {t.dtype} {list(t.shape)}; needs contiguous float32"
                    f" {list(shape)}, of an even size"
                )
        if self.count + size * size > len(self.means):
            raise ValueError(f"Discs: no room for {size * size} more")
        outs = (self.means, self.axes, self.opacities, self.colors)
        self.count += kernels().visavis_live_discs(
            *(size, maps.data_ptr(), depth.data_ptr(), picture.data_ptr()),
            *(rules.tangent, rules.step, rules.scale, rules.color, rules.loose, rules.reach),
            *(rules.least, pose.data_ptr(), *(t[self.count :].data_ptr() for t in outs)),
        )
