"""When a receiver's next frame is due.

A plain 30 Hz tick makes a fresh viewpoint wait for half a period on average. So a frame may come a
little before its tick when a fresh viewpoint is there, and may wait a little past it when
viewpoints are flowing and the next one is about to arrive: with viewpoints at 60 per second every
frame then shows one that has just come in. The rate stays at `fps` on average, and a late frame
moves the ticks instead of causing a burst.
"""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 0.3
"""Part of the period by which a frame may be early or late to meet a fresh viewpoint. Twice this,
20 ms at 30 frames per second, is more than the 16.7 ms between two viewpoints of a 60 Hz screen."""

FIRST_GAP = 0.5
"""Part of the period that must have passed since the last frame when a viewpoint ends a rest."""

FLOW = 3.0
"""Periods since the last fresh viewpoint after which the view counts as resting."""


@dataclass
class Pacer:
    """Pure timing of one receiver; times are seconds of any monotonic clock.

    Args:
        fps: frames per second on average, and when nothing moves.
    """

    fps: float
    _tick: float | None = None
    _last_frame: float = float("-inf")
    _last_fresh: float = float("-inf")

    @property
    def period(self) -> float:
        """Seconds between two frames."""
        return 1.0 / self.fps

    def due_at(self, now: float, fresh: bool) -> float:
        """Return when the next frame is due, which may lie in the past.

        Args:
            now: the present time.
            fresh: whether a viewpoint waits that no frame has shown.
        """
        if self._tick is None:
            return now
        resting = self._last_frame - self._last_fresh > FLOW * self.period
        if fresh:
            early = self._tick - SLACK * self.period
            if resting:
                early = min(early, self._last_frame + FIRST_GAP * self.period)
            return early
        if resting:
            return self._tick
        return self._tick + SLACK * self.period

    def framed(self, now: float, fresh: bool) -> None:
        """Note that a frame is being made at `now`, with a fresh viewpoint or without one."""
        period = self.period
        if self._tick is None or not (
            self._tick - SLACK * period <= now <= self._tick + SLACK * period
        ):
            self._tick = now  # re-anchor: neither make up for lost frames nor punish an early one
        self._tick += period
        self._last_frame = now
        if fresh:
            self._last_fresh = now
