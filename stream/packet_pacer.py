"""When the packets of one frame leave: a frame of the usual size at once, a large one spread.

A key frame is ten to twenty packets. Sent back to back they meet the shortest queue on their way,
often that of a home router, which drops what does not fit: of a key frame, the worst that can be
dropped. Spread over a few milliseconds they pass. Frames of the usual size are never held up, since
their time is what a receiver notices.
"""

from __future__ import annotations

import math

PACKET = 1300
"""Bytes; aiortc fills packets up to this."""

AT_ONCE = 4
"""Packets that always leave at once."""

USUAL = 1.5
"""Times the mean size of a frame that still count as usual."""

FASTER = 2.5
"""Times the target rate at which the rest of a large frame leaves."""

MOST = 0.5
"""Part of the time between two frames within which the last packet must have left."""

FINEST = 0.0005
"""Seconds below which waiting is not worth a timer: those of event loops have 1 ms."""


class PacketPacer:
    """Pure timing of one sender; times are seconds of any monotonic clock.

    Args:
        fps: frames per second at most.
    """

    def __init__(self, fps: float) -> None:
        self._most = MOST / fps
        self._fps = fps
        self._free = 0
        self._gap = 0.0
        self._sent = 0
        self._begun = 0.0

    def frame(self, packets: int, octets: int, rate: float) -> None:
        """The packets of another frame come now.

        Args:
            packets: how many.
            octets: of all of them.
            rate: bits per second that the encoder aims at.
        """
        usual = math.ceil(USUAL * rate / self._fps / 8 / PACKET)
        self._free = max(AT_ONCE, usual)
        self._sent = 0
        paced = max(packets - self._free, 1)
        share = octets * paced / max(packets, 1)
        self._gap = min(8 * share / (FASTER * max(rate, 1.0)), self._most) / paced

    def wait(self, now: float) -> float:
        """Seconds to wait before the next packet is sent; 0 if it shall leave at once."""
        if self._sent == 0:
            self._begun = now
        late = self._sent - self._free + 1
        self._sent += 1
        if late <= 0:
            return 0.0
        wait = self._begun + late * self._gap - now
        return wait if wait >= FINEST else 0.0
