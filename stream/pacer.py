"""When a receiver's next frame is due.

A plain 30 Hz tick shows viewpoints of a 60 Hz screen that are 8 ms old on average, and makes the
first one after a rest wait for 17 ms. So a frame may come a little before or after its tick: while
viewpoints flow it is made when one arrives within that window, and after a rest it comes as soon
as the first one is there. The rate stays at `fps` on average, and a late frame moves the ticks
instead of causing a burst.
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

LATENESS = 1.25
"""How many of their intervals to wait for the next viewpoint at most."""


@dataclass(frozen=True)
class Arrival:
    """A viewpoint that no frame has shown yet.

    Args:
        time: when it came.
        interval: seconds between viewpoints lately; infinite if there was only one.
    """

    time: float
    interval: float


@dataclass
class Pacer:
    """Pure timing of one receiver; times are seconds of any monotonic clock.

    Args:
        fps: frames per second on average, and when nothing moves.
        slowness: how many times as far apart frames are at present, for want of time.
    """

    fps: float
    slowness: float = 1.0
    _tick: float | None = None
    _last_frame: float = float("-inf")
    _last_fresh: float = float("-inf")

    @property
    def period(self) -> float:
        """Seconds between two frames."""
        return self.slowness / self.fps

    @property
    def resting(self) -> bool:
        """Whether no viewpoint has come for a while."""
        return self._last_frame - self._last_fresh > FLOW * self.period

    def due_at(self, waiting: Arrival | None) -> float:
        """Return when the next frame is due, which may lie in the past.

        Args:
            waiting: the newest viewpoint, if no frame has shown it.
        """
        if self._tick is None:
            return float("-inf")
        opens = self._tick - SLACK * self.period
        closes = self._tick + SLACK * self.period
        if waiting is None:
            return self._tick if self.resting else closes
        if self.resting:
            return min(opens, self._last_frame + FIRST_GAP * self.period)
        if waiting.time < opens:
            following = waiting.time + LATENESS * waiting.interval
            if opens < following <= closes:
                return following  # a newer one is about to come, and will be due at once
        return opens

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
