"""How large and how often pictures are sent, for the bits that there are.

A view that moves shall be fast: when the bits do not do for the full size, it is sent smaller, at
the full rate, and the page enlarges it. A view that rests shall be sharp: it is sent at the full
size, less often. What moves is the viewpoint; a face that speaks before a resting view counts as
rest, for it is then that people look closely.

Each change of the size costs a key frame, so sizes change seldom: small only after some movement,
large only after some rest or after the bits have been enough for a while.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PARTS = (1.0, 0.75, 0.5, 0.375)
"""Sizes, as parts of the full one."""

LEAST = 128
"""Pixels; a smaller picture saves hardly anything."""

BLOCK = 16
"""Sizes are multiples of an H.264 macroblock."""

POOR = 29.0
"""Quantiser from which a smaller picture, enlarged, is nearer to what was rendered. Measured with a
moving head: 512 pixels at 0.1 Mbit/s have quantiser 35 and 37.9 dB, 384 have 29 and 40.3 dB, 256
have 24 and 41.3 dB; at 0.2 Mbit/s, quantisers 27, 23 and 19, all three have the same, 43.5 dB."""

GOOD = 25.0
"""Quantiser that a larger picture must be expected to keep."""

SHARP = 24.0
"""Quantiser that a resting view shall have; the rate is lowered for it."""

REFERENCE = 26.0
"""Quantiser at which the complexity is counted."""

PER_HALVING = 6.0
"""Steps of the quantiser that halve the bits (H.264 doubles the step size in 6)."""

LEAST_REST_FPS = 10.0

SETTLE = 1.0
"""Seconds of rest after which the view becomes large, and of movement after which it may become
small."""

PATIENCE = 3.0
"""Least seconds between two changes of a moving view's size."""

MEMORY = 15.0
"""Frames over which the complexity is averaged."""


@dataclass(frozen=True)
class Quality:
    """How to send the next frames.

    Args:
        size: width and height, pixels.
        fps: frames per second.
    """

    size: int
    fps: float


class QualityPolicy:
    """Pure decision for one receiver; times are seconds of any monotonic clock.

    Args:
        size: full width and height, pixels.
        fps: full frame rate.
    """

    def __init__(self, size: int, fps: float) -> None:
        sizes = [round(size * part / BLOCK) * BLOCK for part in PARTS]
        self._sizes = [size] + [each for each in sizes[1:] if LEAST <= each < size]
        self._fps = fps
        self._at = 0
        self._moving = False
        self._since = -math.inf
        self._changed = -math.inf
        self._content: float | None = None  # bits per pixel at the quantiser `REFERENCE`
        self.changes = 0

    @property
    def size(self) -> int:
        """Present width and height, pixels."""
        return self._sizes[self._at]

    def encoded(self, bits: int, quantiser: float, key: bool) -> None:
        """Take in what a frame of the present size took.

        Args:
            bits: of the frame.
            quantiser: mean of the frame, 0 to 51.
            key: whether it was a key frame: these tell nothing of the others.
        """
        if key:
            return
        content = bits / self.size**2 * 2 ** ((quantiser - REFERENCE) / PER_HALVING)
        if self._content is None:
            self._content = content
        self._content += (content - self._content) / MEMORY

    def quantiser(self, size: int, fps: float, rate: float) -> float:
        """What the quantiser is expected to be. The complexity of one pixel is taken to be the same
        at all sizes; it is a little more in small pictures, which makes changes fewer."""
        if self._content is None or self._content <= 0:
            return 0.0
        bits = rate / fps / size**2
        return REFERENCE + PER_HALVING * math.log2(self._content / bits)

    def decide(self, now: float, rate: float, moving: bool) -> Quality:
        """How to send the next frame.

        Args:
            now: seconds.
            rate: bits per second that there are.
            moving: whether viewpoints are coming.
        """
        if moving != self._moving:
            self._moving, self._since = moving, now
        if now - self._since >= SETTLE:
            if not moving:
                self._become(0, now)
            elif now - self._changed >= PATIENCE:
                self._become(self._fitting(rate), now)
        if moving:
            return Quality(self.size, self._fps)
        return Quality(self.size, self._rest_fps(rate))

    def _fitting(self, rate: float) -> int:
        """One step to the size that suits a moving view, or none."""
        at = self._at
        if self.quantiser(self._sizes[at], self._fps, rate) > POOR:
            return min(at + 1, len(self._sizes) - 1)
        if at > 0 and self.quantiser(self._sizes[at - 1], self._fps, rate) < GOOD:
            return at - 1
        return at

    def _rest_fps(self, rate: float) -> float:
        over = self.quantiser(self.size, self._fps, rate) - SHARP
        fps = self._fps * 2 ** (-max(0.0, over) / PER_HALVING)
        return max(fps, min(LEAST_REST_FPS, self._fps))

    def _become(self, at: int, now: float) -> None:
        if at != self._at:
            self._at = at
            self._changed = now
            self.changes += 1
