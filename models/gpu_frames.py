"""Frames on their way from the GPU: host memory that is used again once nobody looks at it."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.graphs import Mark, Queue


class HostFrames:
    """Memory for the frames of a batch, and when it was filled.

    Args:
        queue: that fills it.
        shape: of a batch's frames.
    """

    def __init__(self, queue: Queue, shape: tuple[int, ...]) -> None:
        self.memory: Tensor = queue.host(*shape, dtype=torch.uint8)
        self.left_out: Tensor = queue.host(shape[0], dtype=torch.int64)
        self.begun: Mark = queue.mark()
        self.filled: Mark = queue.mark()


class FramePool:
    """Gives out host memory and takes it back when the last picture in it is forgotten.

    So pictures need no copy: they lie where the GPU wrote them, for as long as anybody holds them.

    Args:
        make: makes more, when all is in use. That is slow; it stops after the first few batches.
    """

    def __init__(self, make: Callable[[], HostFrames]) -> None:
        self._make = make
        # A deque, because the collector of garbage gives back in the middle of anything.
        self._free: deque[HostFrames] = deque()
        self.made = 0

    def take(self) -> HostFrames:
        """Memory that nobody looks at."""
        try:
            return self._free.pop()
        except IndexError:
            self.made += 1
            return self._make()

    def pictures(self, frames: HostFrames, count: int) -> list[NDArray[np.uint8]]:
        """The first pictures in `frames`, which comes back to the pool after them."""
        whole: NDArray[np.uint8] = frames.memory.numpy()
        weakref.finalize(whole, self._free.append, frames).atexit = False
        return [whole[index] for index in range(count)]

    def give(self, frames: HostFrames) -> None:
        """Give back what no pictures were taken from."""
        self._free.append(frames)
