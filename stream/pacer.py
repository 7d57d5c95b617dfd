"""When a receiver's next frame is due.

A plain 30 Hz tick shows viewpoints of a 60 Hz screen that are 8 ms old on average, and makes the
first one after a rest wait for 17 ms. So a frame may come a little before or after its tick: while
viewpoints flow it is made when one arrives within that window, and after a rest it comes as soon
as the first one is there. The rate stays at `fps` on average, and a late frame moves the ticks
instead of causing a burst.

At rest, a new state of the person is what a frame is made for: as soon as it is there. A view that
has nothing new to show is sent again at the full rate for a moment, in which the encoder sharpens
it, and then rarely.
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

SHARPENING = 1.0
"""Seconds since anything new for which the same view is still sent at the full rate."""

STILL = 3.0
"""How many times as far apart frames are that show nothing new."""

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
        fps: frames per second on average while the view moves.
        slowness: how many times as far apart frames are at present, for want of time.
        rest_slowness: the same for a view that rests, for want of bits: fewer but sharper frames.
    """

    fps: float
    slowness: float = 1.0
    rest_slowness: float = 1.0
    _tick: float | None = None
    _last_frame: float = float("-inf")
    _last_fresh: float = float("-inf")
    _last_news: float = float("-inf")

    @property
    def period(self) -> float:
        """Seconds between two frames of a view that moves."""
        return self.slowness / self.fps

    @property
    def resting(self) -> bool:
        """Whether no viewpoint has come for a while."""
        return self._last_frame - self._last_fresh > FLOW * self.period

    @property
    def still(self) -> bool:
        """Whether, besides, the person has not changed for a while."""
        return self._last_frame - self._last_news > FLOW * self.period

    def due_at(self, waiting: Arrival | None, news: bool = False) -> float:
        """Return when the next frame is due, which may lie in the past.

        Args:
            waiting: the newest viewpoint, if no frame has shown it.
            news: whether the person has changed since the last frame.
        """
        if self._tick is None:
            return float("-inf")
        opens = self._tick - SLACK * self.period
        closes = self._tick + SLACK * self.period
        if waiting is None:
            return self._rest_due(opens, news) if self.resting else closes
        if self.resting:
            return min(opens, self._last_frame + FIRST_GAP * self.period)
        if waiting.time < opens:
            following = waiting.time + LATENESS * waiting.interval
            if opens < following <= closes:
                return following  # a newer one is about to come, and will be due at once
        return opens

    def _rest_due(self, opens: float, news: bool) -> float:
        assert self._tick is not None
        apart = self.rest_slowness * self.period
        if news:
            return max(opens, self._last_frame + apart - SLACK * self.period)
        if self._last_frame - self._last_news > SHARPENING:
            return self._last_frame + max(apart, STILL * self.period)
        return max(self._tick, self._last_frame + apart)

    def may_join(self, now: float) -> bool:
        """Whether a resting view may share a frame that is made at `now` for another one."""
        return self.resting and now - self._last_frame >= FIRST_GAP * self.period

    def framed(self, now: float, fresh: bool, news: bool = False) -> None:
        """Note that a frame is being made at `now`.

        Args:
            now: seconds.
            fresh: it shows a new viewpoint.
            news: it shows a new state of the person.
        """
        period = self.period
        if self._tick is None or not (
            self._tick - SLACK * period <= now <= self._tick + SLACK * period
        ):
            self._tick = now  # re-anchor: neither make up for lost frames nor punish an early one
        self._tick += period
        self._last_frame = now
        if fresh:
            self._last_fresh = now
        if fresh or news:
            self._last_news = now

    def joined(self, other: Pacer, news: bool) -> None:
        """Note that this view shares the frame that `other` has just been told of; from now on
        both fall due together."""
        self._tick = other._tick
        self._last_frame = other._last_frame
        if news:
            self._last_news = other._last_frame
