"""Which graphs a tick needs: requests of one quality together, in batches of captured sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.engine import RenderRequest

BATCHES = (1, 2, 4, 8, 16, 32)
"""Views that graphs are captured for. A batch between two sizes is padded up to the larger."""


class Quality(Enum):
    """How a frame is made."""

    REFINED = "refined"
    RAW = "raw"
    COARSE = "coarse"


def quality_of(request: RenderRequest) -> Quality:
    """How a request's frame is to be made. There is no refined one of less than full size."""
    if request.coarse:
        return Quality.COARSE
    return Quality.REFINED if request.refine else Quality.RAW


@dataclass(frozen=True)
class Batch:
    """One replay of a graph.

    Attributes:
        quality: of its frames.
        size: views that the graph has.
        members: which requests these are, at most `size`.
    """

    quality: Quality
    size: int
    members: tuple[int, ...]


def batches_of(qualities: Sequence[Quality], sizes: Sequence[int] = BATCHES) -> list[Batch]:
    """Divide requests among graphs.

    Args:
        qualities: of the requests, in their order.
        sizes: that graphs are captured for, rising.

    Returns:
        Each request in one batch; as few batches as there can be.
    """
    found = []
    for quality in Quality:
        members = [index for index, wanted in enumerate(qualities) if wanted is quality]
        for first in range(0, len(members), sizes[-1]):
            some = tuple(members[first : first + sizes[-1]])
            size = next(size for size in sizes if size >= len(some))
            found.append(Batch(quality, size, some))
    return found
