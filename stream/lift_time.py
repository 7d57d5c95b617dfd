"""What one lift of a caller costs lately, and what came of a call's."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

MEMORY = 60
"""Lifts that are looked back on: some seconds of one caller."""

ENOUGH = 5
"""Lifts before which nothing is said."""

FORGOTTEN = 60.0
"""Seconds after which measurements say nothing any more: the device has had other work since."""

SMOOTHING = 0.1
"""Weight of the newest lift in a call's figures."""


class LiftTime:
    """Pure bookkeeping for all callers of a server; times are seconds of any monotonic clock.

    It is the median that counts: the first lift after the start takes as long as hundreds.
    """

    def __init__(self) -> None:
        self._lately: deque[float] = deque(maxlen=MEMORY)
        self._measured = -math.inf

    def add(self, now: float, seconds: float) -> None:
        """A frame was lifted, or found not to be fit.

        Args:
            now: when it was done.
            seconds: that a thread was busy with it.
        """
        self._lately.append(seconds)
        self._measured = now

    def seconds(self, now: float) -> float | None:
        """Of a thread for one lift; None while too little is known."""
        if len(self._lately) < ENOUGH or now - self._measured > FORGOTTEN:
            return None
        return statistics.median(self._lately)


@dataclass
class LiftFigures:
    """What a call's receivers are told.

    Args:
        lifts: avatars that followed the caller, since the start.
        seconds: from the arrival of a camera frame until its avatar was in use, lately.
    """

    lifts: int = 0
    seconds: float = 0.0

    def lifted(self, seconds: float) -> None:
        """An avatar came into use this long after its frame had arrived."""
        weight = SMOOTHING if self.lifts else 1.0
        self.seconds += weight * (seconds - self.seconds)
        self.lifts += 1
