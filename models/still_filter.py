"""Averages over time what rests in a portrait, and takes what moves as it is.

A recursive filter per pixel whose strength follows how much the picture there has changed beyond
the camera's noise. The noise is measured in the picture itself: it is what the calmer part of the
pixels differs by from what was seen before. Changes are looked for in means over a few pixels, in
which noise shrinks and a moving mouth does not, and they count for their surroundings too.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.face_models import Floats, Picture

FLOOR = 0.12
"""How much of a new frame counts where all rests: 8 frames are averaged."""
QUIET, CHANGED = 4.5, 9.0
"""Standard deviations of the noise: up to the first nothing has changed, from the second on the
new frame counts alone."""
LEAST_NOISE, MOST_NOISE = 0.25, 3.0
"""Grey levels (of 255), standard deviation of the means."""
CALM = 0.3
"""Part of the pixels that is calm even when the head moves; its share of half a normal
distribution ends at `CALM_SIGMAS`."""
CALM_SIGMAS = 0.385
MEAN, REACH = 5, 9
"""Side of the means, and of what a change counts for, pixels at 256."""


class StillFilter:
    """Filters the portraits of one caller, one after another."""

    def __init__(self) -> None:
        self._state: Floats | None = None
        self._larger: Floats | None = None
        self._noise = LEAST_NOISE

    def reset(self) -> None:
        """Forget the past: the next portrait is taken as it is."""
        self._state = self._larger = None

    def __call__(self, portrait: Picture) -> tuple[Floats, Floats]:
        """Take in a portrait.

        Args:
            portrait: RGB. [S, S, 3]

        Returns:
            The filtered portrait, 0..255 [S, S, 3]; and where it changed: 0 nothing did, 1 all is
            new. [S, S]
        """
        new = portrait.astype(np.float32)
        if self._state is None or self._state.shape != new.shape:
            self._state = new
            return new, np.ones(new.shape[:2], np.float32)
        change = self._changed(new - self._state)
        weight = FLOOR + (1 - FLOOR) * change
        state = self._state
        state += (new - state) * weight[..., None]
        return state.copy(), change

    def larger(self, portrait: Picture, change: Floats) -> Floats:
        """Filter the same portrait with more pixels.

        Args:
            portrait: RGB. [T, T, 3]
            change: where the smaller one changed. [S, S]

        Returns:
            0..255. [T, T, 3]
        """
        new = portrait.astype(np.float32)
        if self._larger is None or self._larger.shape != new.shape:
            self._larger = new
            return new
        weight = cv2.resize(change, new.shape[:2], interpolation=cv2.INTER_LINEAR)
        state = self._larger
        state += (new - state) * (FLOOR + (1 - FLOOR) * weight)[..., None]
        return state.copy()

    def _changed(self, apart: Floats) -> Floats:
        """Where a difference is more than noise, 0..1. [S, S, 3] -> [S, S]"""
        means = np.abs(cv2.blur(apart, (MEAN, MEAN)))
        most = np.maximum(np.maximum(means[..., 0], means[..., 1]), means[..., 2])
        calm = float(np.quantile(means[::4, ::4, 1], CALM)) / CALM_SIGMAS
        calm = float(np.clip(calm, LEAST_NOISE, MOST_NOISE))
        # A head that moves makes all seem noisy: down at once, up slowly.
        self._noise = calm if calm < self._noise else 0.95 * self._noise + 0.05 * calm
        near = cv2.dilate(most, np.ones((REACH, REACH), np.uint8))
        ramp = (near / self._noise - QUIET) / (CHANGED - QUIET)
        return np.asarray(cv2.blur(np.clip(ramp, 0, 1), (MEAN, MEAN)), np.float32)
