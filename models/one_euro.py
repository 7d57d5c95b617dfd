"""A low-pass filter that is slow for what rests and fast for what moves.

The One-Euro filter (Casiez, Roussel, Vogel 2012): the cutoff rises with the speed of the signal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class OneEuro:
    """Filters a vector whose components are on one scale.

    Args:
        rest: cutoff at rest, Hz.
        gain: Hz that the cutoff rises per unit per second of speed.
        speed_cutoff: Hz, of the low-pass that the speed goes through.
    """

    def __init__(self, rest: float, gain: float, speed_cutoff: float = 1.0) -> None:
        self._rest, self._gain, self._speed_cutoff = rest, gain, speed_cutoff
        self._time = 0.0
        self._raw: Vector | None = None
        self._value = self._speed = np.zeros(0)

    def __call__(self, value: Vector, now: float) -> Vector:
        """The filtered value. A step back in time, or none, changes nothing."""
        if self._raw is None:
            self._raw, self._time = value.copy(), now
            self._value, self._speed = value.copy(), np.zeros_like(value)
            return self._value
        step = now - self._time
        if step <= 0:
            return self._value
        self._time = now
        speed = (value - self._raw) / step
        self._raw = value.copy()
        self._speed = self._speed + _weight(self._speed_cutoff, step) * (speed - self._speed)
        cutoff = self._rest + self._gain * float(np.linalg.norm(self._speed))
        self._value = self._value + _weight(cutoff, step) * (value - self._value)
        return self._value

    def reset(self) -> None:
        """Forget the past: the next value is taken as it is."""
        self._raw = None


def _weight(cutoff: float, step: float) -> float:
    """How much of the new value a first-order low-pass takes in."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
