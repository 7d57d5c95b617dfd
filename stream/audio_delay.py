"""When a packet of sound is to leave, so that it is heard when the mouth is seen to speak.

Pure: times are seconds of any monotonic clock and are given as arguments. Packets are not changed,
only sent later; receivers stretch the sound by the little that the delay changes.
"""

from __future__ import annotations

import math

CLOCK_RATE = 48_000
"""Of RTP timestamps of Opus, whatever the sound was sampled with (RFC 7587 section 4.1)."""

MAX_HOLD = 0.4
"""Seconds. Who speaks over each other because of a longer delay is worse off than with lips that
are late."""

SLOWER, FASTER = 0.010, 0.020
"""Seconds per second by which the hold grows and shrinks. A receiver's time stretching hides both;
but it takes packets that come later and later for jitter, and would buffer the more."""

PATIENCE = 1.5
"""Seconds for which the first packets wait until it is known how long to hold them back: sound that
begins late is better than a jump, for which a receiver would go on buffering."""

PLAYOUT = 0.090
"""Seconds that a browser plays sound later than it shows a picture that came with it, as long as it
has not said so itself: it buffers packets against jitter, then the sound device takes its part, but
it shows pictures at once. Measured in Chromium."""

WINDOW = 1.0
"""Seconds; the earliest packet of the present and the last window tells how long the network takes
without jitter. A longer way is followed after two windows at most."""

MAX_JUMP = 1.0
"""Seconds by which timestamps and arrivals may disagree. More is another origin of the timestamps:
the caller has come back with a new connection."""


class AudioTimeline:
    """Makes one time of a caller's packets, over wraps and new origins of the RTP timestamps."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._time = 0
        self._arrived = -math.inf
        self._earliest = math.inf
        self._earliest_before = math.inf
        self._window_ends = -math.inf

    def place(self, timestamp: int, arrived: float) -> tuple[int, float]:
        """Where a packet belongs.

        Args:
            timestamp: of RTP, modulo 2**32.
            arrived: when it came in.

        Returns:
            its time in units of 1/48000 s, and when it would have come in without jitter, which is
            not later than it did.
        """
        if self._last is None:
            time = 0
        else:
            step = (timestamp - self._last + 2**31) % 2**32 - 2**31
            passed = arrived - self._arrived
            if abs(step / CLOCK_RATE - passed) > MAX_JUMP:
                step = round(passed * CLOCK_RATE)
                self._earliest = self._earliest_before = math.inf
            time = self._time + step
        if self._last is None or time > self._time:
            self._last, self._time = timestamp, time
        self._arrived = max(arrived, self._arrived)
        if arrived >= self._window_ends:
            self._window_ends = arrived + WINDOW
            self._earliest, self._earliest_before = math.inf, self._earliest
        self._earliest = min(self._earliest, arrived - time / CLOCK_RATE)
        return time, min(self._earliest, self._earliest_before) + time / CLOCK_RATE


class HoldBack:
    """How long one receiver's sound is held back; follows a changing aim slowly."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._seconds: float | None = None
        self._at = 0.0

    def follow(self, aim: float | None, now: float) -> float | None:
        """Return the seconds to hold back now; None: until more is known.

        Args:
            aim: seconds to hold back in the end, None as long as that is not known. The first that
                is known is taken at once, the next ones are approached.
            now: the time.
        """
        if self._began is None:
            self._began = now
        if aim is not None:
            aim = min(max(aim, 0.0), MAX_HOLD)
        if self._seconds is None:
            if aim is None and now - self._began < PATIENCE:
                return None
            self._seconds = aim or 0.0
        elif aim is not None:
            passed = max(0.0, now - self._at)
            grown, shrunk = self._seconds + SLOWER * passed, self._seconds - FASTER * passed
            self._seconds = min(max(aim, shrunk), grown)
        self._at = now
        return self._seconds
