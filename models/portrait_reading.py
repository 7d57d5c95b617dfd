"""What the refiner reads of a portrait, made for the first frame that is refined.

Under load frames go out raw, and most avatars of a caller who is followed are never refined: then
this work would be for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from torch import Tensor

from models.reprojection import PortraitSurface

Reading = tuple[Tensor, PortraitSurface]
"""The refiner's keys and values, and the surface from which details are read."""


class PortraitReading:
    """Any thread may call it.

    Args:
        make: reads the portrait.
    """

    def __init__(self, make: Callable[[], Reading]) -> None:
        self._make: Callable[[], Reading] | None = make
        self._made: Reading | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Reading:
        """The reading; the first call makes it."""
        with self._lock:
            if self._made is None:
                assert self._make is not None
                self._made, self._make = self._make(), None
            return self._made
