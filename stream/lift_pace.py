"""How often a caller is lifted anew: as often as the device allows, and not at the cost of frames.

Lifting and rendering share the processor. The rate starts where speech still moves the mouth, and
climbs while frames are ready in time. When something is given up in them, it falls at once: first
to where it started, then below, the fewer the more is given up. So both find their level, and it
is the receivers' frames that come first.
"""

from __future__ import annotations

from dataclasses import dataclass

from stream.effort_policy import Effort

START = 18.0
"""Avatars per second to begin with, and at least while frames are late but all are sent."""

LEAST = {Effort.REFINED: START, Effort.RAW: START, Effort.SLOW: 8.0, Effort.COARSE: 5.0}
"""Avatars per second of a caller to which the rate falls by what is given up in frames."""

REST = {Effort.REFINED: 0.0, Effort.RAW: 0.0, Effort.SLOW: 0.5, Effort.COARSE: 1.0}
"""Pause after a lift as part of the time it took, by what is given up in frames: a device on which
lifts take long is not to do nothing else."""

LONGEST_REST = 0.5
"""Seconds; a single lift may take very long, as the first one does for which code is compiled."""

CLIMB = 2.0
"""Avatars per second that are added in each second in which all is well."""

CAMERA = ((19.0, 30), (6.0, 20), (0.0, 10))
"""From which rate of lifts on how many camera pictures per second are of use: some more than are
lifted, since the newest one counts and must not be old."""

BEHIND = 0.9
"""Part of `START` below which frames are to give way to lifts. They do so as long as they are raw:
at their full rate lifts would fall behind again."""

UNWATCHED = 5.0
"""Avatars per second when nobody watches: enough to tell the caller whether all is well."""


@dataclass(frozen=True)
class Load:
    """What else the device has to do.

    Args:
        effort: what goes into frames while views move.
        callers: who are lifted, of the whole server; under load they share what one would get.
        watched: whether anybody sees this caller.
    """

    effort: Effort = Effort.REFINED
    callers: int = 1
    watched: bool = True


class LiftPace:
    """Pure timing of one caller; times are seconds of any monotonic clock.

    Args:
        most: avatars per second at most.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._rate = min(START, most)
        self._last: float | None = None
        self._interval = 0.0
        self._behind = False

    @property
    def rate(self) -> float:
        """Avatars per second aimed at while somebody watches."""
        return self._rate

    def camera_fps(self, load: Load) -> int:
        """How many camera pictures per second are of use."""
        rate = self._aim(load)
        return next(fps for least, fps in CAMERA if rate >= least)

    def behind(self, load: Load) -> bool:
        """Whether raw frames leave too little time for lifting: speech is seen in the avatar, and
        a few frames less are not."""
        if load.effort is not Effort.RAW or not load.watched or self._interval == 0.0:
            self._behind = False
            return False
        self._behind |= 1 / self._interval < BEHIND * min(START, self._most)
        return self._behind

    def _aim(self, load: Load) -> float:
        return self._rate if load.watched else min(self._rate, UNWATCHED)

    def next_start(self, started: float, finished: float, load: Load) -> float:
        """Return when the next lift may start.

        Args:
            started: when the last one did.
            finished: when it was done.
            load: at present.
        """
        elapsed = 0.0 if self._last is None else min(finished - self._last, 1.0)
        if self._last is not None:
            interval = min(finished - self._last, LONGEST_REST)
            self._interval += 0.1 * (interval - self._interval) if self._interval else interval
        self._last = finished
        if load.effort is Effort.REFINED:
            self._rate = min(self._most, self._rate + CLIMB * elapsed)
        else:
            least = LEAST[load.effort] / (load.callers if load.effort > Effort.RAW else 1)
            self._rate = min(self._most, least)
        rate = self._aim(load)
        rest = min(LONGEST_REST, REST[load.effort] * (finished - started))
        return max(started + 1 / rate, finished + rest)
