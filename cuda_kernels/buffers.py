"""What the passes of the splatting share: the settings of a call, and what one leaves the next."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_kernels.layout import splat_bytes, tile_grid


@dataclass(frozen=True)
class View:
    """What is the same for all views of a call."""

    width: int
    height: int
    eps2d: float = 0.1
    near: float = 0.05
    threads: int = 1


@dataclass
class Buffers:
    """What a forward pass writes beside the picture, and the backward pass reads."""

    splats: Tensor  # uint8 [views, N, bytes of one projected Gaussian]
    starts: Tensor  # int32 [views, tiles + 1]: where a tile's list starts
    lists: Tensor  # int32 [views, capacity]: Gaussians, tile by tile, front to back
    pairs: Tensor  # int64 [views]: how long the list would be without a limit

    @classmethod
    def allocate(
        cls, views: int, n: int, channels: int, view: View, capacity: int, dtype: torch.dtype
    ) -> "Buffers":
        columns, rows = tile_grid(view.width, view.height)
        return cls(
            torch.empty(views, n, splat_bytes(channels, dtype), dtype=torch.uint8),
            torch.empty(views, columns * rows + 1, dtype=torch.int32),
            torch.empty(views, capacity, dtype=torch.int32),
            torch.zeros(views, dtype=torch.int64),
        )

    @property
    def capacity(self) -> int:
        return self.lists.shape[1]

    def left_out(self) -> Tensor:
        """Pairs of a Gaussian and a tile that the list did not hold. int64 [views]"""
        return self.pairs - self.starts[:, -1]
