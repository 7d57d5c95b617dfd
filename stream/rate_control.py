"""How many bits per second a receiver's encoder may use.

The receiver reports what it believes the path carries (REMB). Those reports start as low as 6,520
bit/s on a perfect path. Later a report that falls is true, and is followed at once: what is sent
above it waits in a queue somewhere, and every picture behind it comes late. To let that queue run
empty, still less is sent for a moment.

A report that rises says less. Once browsers have seen a path full they raise their reports by some
12 kbit/s each second, until more arrives than they thought the path could carry; then by 8 %. So
what is sent is a little above the reports when nothing has spoken against it for a while. If that
is too much, the receiver sees delay grow by some ten milliseconds and its report falls.

Where a queue is short and full, delay does not grow any more and packets are lost instead: see
`stream.loss_limit`.
"""

from __future__ import annotations

import math

from stream.loss_limit import LossLimit

START_PART = 0.7
"""Part of the ceiling that a call starts with."""

GRACE = 2.0
"""Seconds after the first report in which the receiver's estimate is still growing from nothing.
One that has been more than a little and falls does not grow any more."""

LITTLE = 0.6
"""Part of what is sent: estimates below that are still growing, and waver."""

FALL = 0.97
"""A report below this part of the one before says that the path is full."""

CAUTION = 0.9
"""Part of the reported rate to use after a fall; the rest is for headers, repairs and messages."""

PUSH = 1.25
"""The same when there was no fall for a while."""

CALM = 3.0
"""Seconds since the last fall after which more is tried."""

RISE_TIME = 1.0
"""Seconds in which the rate covers 63 % of the way up."""

STEEP = 0.6
"""A fall below this part of the rate leaves a queue that must run empty."""

DRAIN = 0.75
DRAIN_TIME = 1.0
"""Part of the reported rate to use until then, be it under the floor, and for how many seconds.
Less would pass for all that the path carries, and the reports would fall once more."""


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
        self._reported = 0.0
        self._fell = float("-inf")
        self._drained = float("-inf")
        self._losses = LossLimit()

    @property
    def rate(self) -> int:
        """Bits per second to encode with."""
        return round(min(self._rate, self._losses.limit))

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
        new = self._fell == float("-inf") and now - self._first < GRACE
        credible = not new or self._reported > LITTLE * self._rate
        fell = credible and bits_per_second < FALL * self._reported
        self._reported = bits_per_second
        cautious = self._bounded(bits_per_second * CAUTION, self._floor)
        if fell:
            self._fell = now
        elif new:
            if cautious > self._rate:
                self._rise(cautious, elapsed)
            return self.rate
        if cautious < STEEP * self._rate:
            self._drained = now + DRAIN_TIME
        if now < self._drained:
            self._rate = self._bounded(bits_per_second * DRAIN, self._floor / 2)
            return self.rate
        calm = now - self._fell > CALM
        wanted = self._bounded(bits_per_second * PUSH, self._floor) if calm else cautious
        if wanted < self._rate:
            self._rate = wanted
        else:
            self._rise(wanted, elapsed)
        return self.rate

    def lost(self, packets: int, received: int) -> int:
        """Take in how many packets the receiver missed, and got, since the beginning; return the
        new rate."""
        self._losses.reported(packets, received, self.rate, self._floor / 2)
        return self.rate

    def _bounded(self, rate: float, floor: float) -> float:
        return min(max(rate, floor), self._ceiling)

    def _rise(self, wanted: float, elapsed: float) -> None:
        self._rate *= (wanted / self._rate) ** (1.0 - math.exp(-elapsed / RISE_TIME))
