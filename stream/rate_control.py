"""How many bits per second a receiver's encoder may use.

The receiver reports what it believes the path carries (REMB). Those reports start as low as 6,520
bit/s on a perfect path and jump about, so they are smoothed on a logarithmic scale: quickly down,
slowly up, never under a floor.
"""

from __future__ import annotations

import math

START_PART = 0.7
"""Part of the ceiling that a call starts with."""

GRACE = 2.0
"""Seconds after the first report in which the receiver's estimate is still growing from nothing."""

FALL_TIME = 0.5
RISE_TIME = 2.0
"""Seconds in which the rate covers 63 % of the way down or up."""

HEADROOM = 0.9
"""Part of the reported rate that video may use; the rest is for headers, repairs and messages."""


class RateControl:
    """Pure smoothing of one receiver's reports.

    Args:
        floor: bits per second.
        ceiling: bits per second.
    """

    def __init__(self, floor: int, ceiling: int) -> None:
        if not 0 < floor <= ceiling:
            raise ValueError(f"The floor {floor} must be above 0 and not above {ceiling}.")
        self._floor = floor
        self._ceiling = ceiling
        self._rate = max(float(floor), ceiling * START_PART)
        self._first: float | None = None
        self._last = 0.0

    @property
    def rate(self) -> int:
        """Bits per second to encode with."""
        return round(self._rate)

    def report(self, now: float, bits_per_second: float) -> int:
        """Take in one report of the receiver and return the new rate.

        Args:
            now: seconds of a monotonic clock.
            bits_per_second: what the receiver believes the path carries.
        """
        if self._first is None:
            self._first = self._last = now
        # Several reports at once count as some time, one after a long silence not as all of it.
        elapsed = min(max(now - self._last, 0.02), 0.5)
        self._last = now
        wanted = min(max(bits_per_second * HEADROOM, self._floor), self._ceiling)
        if wanted < self._rate and now - self._first < GRACE:
            return self.rate
        time = FALL_TIME if wanted < self._rate else RISE_TIME
        part = 1.0 - math.exp(-elapsed / time)
        self._rate *= (wanted / self._rate) ** part
        return self.rate
