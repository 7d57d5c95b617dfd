"""How much may be sent to a receiver who misses packets.

Pure: what is known of a path comes as arguments. Delay tells most of it (`stream.rate_control`).
But a queue that is short and full delays no more: it drops. So much loss is a limit of its own,
whatever the receiver believes, and the only one for receivers who say nothing else (GStreamer).
"""

from __future__ import annotations

import math

LOSSY = 0.2
"""Part of the packets that, if lost, says that a queue is full. Radio links lose a tenth at times.
"""

ENOUGH = 40
"""Packets that are judged together: of so many a link that loses a tenth seldom loses a fifth."""

CUT = 0.75
"""What is left of the rate after that."""

RISE = 1.08
"""What the limit grows by with each judgement of less loss."""


class LossLimit:
    """Of one receiver."""

    def __init__(self) -> None:
        self._lost = self._received = 0
        self._limit = math.inf

    @property
    def limit(self) -> float:
        """Bits per second; infinite where nothing speaks against it."""
        return self._limit

    def reported(self, lost: int, received: int, rate: float, least: float) -> None:
        """Take in what a receiver has counted since the beginning.

        Args:
            lost: packets that are missing; fewer than before when late ones have come.
            received: packets that came.
            rate: that is sent, bits per second.
            least: that is sent in any case.
        """
        missed, came = max(0, lost - self._lost), received - self._received
        if missed + came < ENOUGH:
            return
        self._lost, self._received = lost, received
        if missed > LOSSY * (missed + came):
            self._limit = max(min(self._limit, rate) * CUT, least)
        elif self._limit < math.inf:
            self._limit *= RISE
