"""What stands behind a person: a soft light on a plain wall, so that it is no hole."""

from __future__ import annotations

import torch
from torch import Tensor

EDGE = (0.16, 0.18, 0.21)
CENTRE = (0.42, 0.45, 0.49)


def backdrop(size: int) -> Tensor:
    """A radial gradient, sRGB. [1, 3, size, size]"""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis + 0.25, axis, indexing="ij")
    light = torch.exp(-0.9 * (x * x + y * y))
    edge, centre = (torch.tensor(color).view(3, 1, 1) for color in (EDGE, CENTRE))
    return (edge + (centre - edge) * light)[None]
