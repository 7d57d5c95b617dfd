"""How the structs of the kernels lie in memory, for whoever allocates, reads or hands them over.

The CUDA build asserts these numbers when it is compiled, a test compares them with the CPU build.
"""

import numpy as np
import torch
from torch import Tensor

FRAME = np.dtype([(name, np.int32) for name in ("width", "height", "tiles_x", "tiles_y")])
LAYOUT = np.dtype([(name, np.int64) for name in ("channel", "row", "column")])
READING = np.dtype(
    [("size", np.int32), *((name, np.float32) for name in ("tangent", "trusted", "doubted"))]
)
BLENDING = np.dtype([("size", np.int32), *((name, np.float32) for name in ("tangent", "widest"))])
BOX_BYTES = 8
ITEM_BYTES = 8
"""Of what is sorted: a key and a value."""

_ALIGNMENT = 16
_BEFORE_BOX = 7  # numbers in a Splat: u, v, xx, xy, yy, peak, depth; then the box, then colours
_MOMENTS = 7  # numbers in a SplatGrad before the colours


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def splat_bytes(channels: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of one projected Gaussian."""
    return _padded((_BEFORE_BOX + channels) * dtype.itemsize + BOX_BYTES)


def gradient_bytes(channels: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of what the backward pass gathers for one projected Gaussian."""
    return _padded((_MOMENTS + channels) * dtype.itemsize)


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """How many tiles of 16 x 16 pixels lie side by side, and one above the other."""
    return -(-width // 16), -(-height // 16)


def frame(width: int, height: int) -> np.ndarray:
    """A Frame, to be passed to a kernel by value."""
    return np.array((width, height, *tile_grid(width, height)), FRAME)


def macros(channels: int) -> dict[str, int]:
    """What src/kernels.cu is compiled with: the number of channels, and the numbers it asserts."""
    return {
        "CHANNELS": channels,
        "SPLAT_BYTES": splat_bytes(channels),
        "SPLAT_DEPTH_AT": (_BEFORE_BOX - 1) * 4,
        "SPLAT_BOX_AT": _BEFORE_BOX * 4,
        "GRADIENT_BYTES": gradient_bytes(channels),
        "FRAME_BYTES": FRAME.itemsize,
        "LAYOUT_BYTES": LAYOUT.itemsize,
        "READING_BYTES": READING.itemsize,
        "BLENDING_BYTES": BLENDING.itemsize,
        "ITEM_BYTES": ITEM_BYTES,
    }


def boxes_and_depths(splats: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What binning needs to know of projected Gaussians.

    Args:
        splats: as `project` of splat.h writes them. uint8 [..., splat_bytes]
        dtype: of their numbers.
    Returns:
        Left, top, right and bottom in cells of 4 x 4 pixels, right and bottom exclusive, all 0
        where the Gaussian is not in the picture. int32 [..., 4]
        Depths in metres, of no meaning where the box is empty. [...]
    """
    at = _BEFORE_BOX * dtype.itemsize // 2
    # torch does little with unsigned 16-bit numbers.
    boxes = splats.view(torch.int16)[..., at : at + 4].int() & 0xFFFF
    return boxes, splats.view(dtype)[..., _BEFORE_BOX - 1]
