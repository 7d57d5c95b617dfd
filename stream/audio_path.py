"""How long video takes through this server: from a camera frame to what a receiver is sent of it.

Pure: times are seconds of any monotonic clock and are given as arguments.
"""

from __future__ import annotations

import statistics

SMOOTHING = 0.03
"""Weight of a new measurement: at 15 to 30 in a second, the mean is that of the last seconds."""

ENOUGH = 8
"""Measurements to begin with, whose middle is taken: the first ones tell of the joining, not of the
path."""

MAX_AGE = 2.0
"""Seconds above which a measurement tells of a caller who was away, not of the path."""

CAMERA_INTERVAL = 1 / 30
"""Seconds between two frames of most cameras."""

ELSEWHERE = 0.020
"""Seconds by which pictures are later than sound in browsers, beside the path and the buffers that
they tell of: encoding a camera frame, decoding and showing one. Measured in Chromium with the real
engine: without it sound was 14 to 43 ms early, in medians of three runs."""


class VideoPath:
    """Measured on the first frame that shows each avatar. One thread at a time calls it."""

    def __init__(self) -> None:
        self._pictured: float | None = None
        self._first: list[float] = []
        self._age = 0.0
        self._interval = CAMERA_INTERVAL

    def sent(self, pictured: float | None, now: float) -> None:
        """A frame was sent.

        Args:
            pictured: when the camera frame came in that the shown avatar was made from; None if it
                was not made from one that just came in.
            now: the time.
        """
        if pictured is None or pictured == self._pictured:
            return
        interval = pictured - self._pictured if self._pictured is not None else 0.0
        self._pictured = pictured
        age = now - pictured
        if age > MAX_AGE:
            return
        if 0 < interval < MAX_AGE:
            self._interval += SMOOTHING * (interval - self._interval)
        if len(self._first) < ENOUGH:
            self._first.append(age)
            self._age = statistics.median(self._first)
        else:
            self._age += SMOOTHING * (age - self._age)

    @property
    def seconds(self) -> float | None:
        """The mean over all moments before the camera; None before enough was measured.

        Of a moment between two camera frames that avatars were made from, only the second tells:
        what camera frames were left out adds half of the time between those that were not.
        """
        if len(self._first) < ENOUGH:
            return None
        return self._age + max(0.0, self._interval - CAMERA_INTERVAL) / 2
