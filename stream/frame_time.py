"""What one picture costs the engine, averaged over the last seconds.

Render threads overlap, and a batch holds several pictures, so no single time tells. What counts is
the time in which any thread renders, divided by the pictures that come out of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

MEMORY = 5.0
"""Seconds after which a measurement counts for a third: shorter, and one slow batch turns people
away; longer, and a crowd that left still does."""

COARSE = 0.25
"""Work of a coarse picture as part of a raw one: that of its pixels. It is a little more in truth,
so nobody is let in because others see coarse pictures."""

ENOUGH_SECONDS = 0.33
ENOUGH_PICTURES = 3.0
"""What must have been rendered lately for the average to mean anything. An engine that worked less
than this in the last five seconds has room in any case, also if all the views that rest now, and
are rendered at a third of their rate, were to move."""


class FrameTime:
    """Pure bookkeeping; times are seconds of any monotonic clock. The caller guards it by a lock.

    Refining may be left out when time is short, so pictures are counted in raw ones: a refined
    picture is as much work as 1 / (1 - s) raw ones, where s is the refiner's share of its time, and
    a coarse one as much as `COARSE` raw ones.
    """

    def __init__(self) -> None:
        self._rendering = 0
        self._since = 0.0
        self._measured = -math.inf
        self._busy = 0.0
        self._raw_pictures = 0.0
        self._share = 0.0

    def begin(self, now: float) -> None:
        """A thread begins to render a batch."""
        if self._rendering == 0:
            self._since = now
        self._rendering += 1

    def end(
        self,
        now: float,
        pictures: int,
        refined: int,
        stages: Mapping[str, float],
        coarse: int = 0,
    ) -> None:
        """A thread has rendered a batch.

        Args:
            now: seconds.
            pictures: that came out; 0 if the engine failed.
            refined: how many of these were refined.
            stages: the engine's milliseconds of `rasterise`, `refine` and `i420`.
            coarse: how many of the pictures were drawn at half the width and height.
        """
        self._rendering -= 1
        busy, self._since = now - self._since, now
        if pictures == 0:
            return
        whole = sum(stages.get(name, 0.0) for name in ("rasterise", "refine", "i420"))
        if refined and whole > 0:
            # Raw batches leave the refiner's time of the last refined one behind: not looked at.
            self._share = min(stages.get("refine", 0.0) / whole, 0.99)
        fading = math.exp((self._measured - now) / MEMORY)
        raw_pictures = pictures + refined * self._share / (1 - self._share)
        raw_pictures -= coarse * (1 - COARSE)
        self._busy = fading * self._busy + busy
        self._raw_pictures = fading * self._raw_pictures + raw_pictures
        self._measured = now

    def seconds(self, refined: bool, now: float | None = None) -> float | None:
        """Of the engine for one picture; None while too little has been rendered to tell.

        Args:
            refined: with the diffusion step, or without.
            now: seconds; what was measured before a long idle time no longer counts then.
        """
        busy = self._busy
        if now is not None and not self._rendering:
            busy *= math.exp((self._measured - now) / MEMORY)
        if busy < ENOUGH_SECONDS or self._raw_pictures < ENOUGH_PICTURES:
            return None
        raw = self._busy / self._raw_pictures
        return raw / (1 - self._share) if refined else raw
