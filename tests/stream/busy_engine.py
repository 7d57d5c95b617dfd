"""A bar over a picture that never rests, so that a receiver's video takes all the bits it may."""

from __future__ import annotations

import itertools

import numpy as np

from models.engine import RenderRequest
from tests.stream.bar_engine import BarEngine, Picture

GRAIN = 4
"""Edge of the grains in pixels: finer ones are lost in the encoder, coarser ones are cheap."""

PICTURES = 16


class BusyEngine(BarEngine):
    """As `BarEngine`, with grains of noise that change from picture to picture.

    Args:
        size: edge of the pictures.
        noise: how far the grains go up and down.
    """

    def __init__(self, size: int = 256, noise: int = 24) -> None:
        super().__init__(size)
        random = np.random.default_rng(1)
        grains = random.integers(-noise, noise + 1, (PICTURES, size // GRAIN, size // GRAIN))
        fine = grains.repeat(GRAIN, axis=1).repeat(GRAIN, axis=2)
        self._noise = itertools.cycle(fine.astype(np.int16))

    def _draw(self, request: RenderRequest) -> Picture:
        picture = super()._draw(request)
        luma = picture[: self.size]
        luma[:] = np.clip(luma + next(self._noise), 16, 235)
        return picture
