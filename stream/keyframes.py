"""When a key frame may be sent: on demand only, and not too often.

A key frame is several times as large as another frame. A lossy path asks for many; answering each
makes the loss worse.
"""

from __future__ import annotations


class KeyframeGate:
    """Pure timing; a demand that comes too early is kept, not lost.

    Args:
        interval: least seconds between two key frames.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._wanted = False
        self._last: float | None = None

    def ask(self) -> None:
        """The receiver needs a key frame."""
        self._wanted = True

    def take(self, now: float) -> bool:
        """Whether the frame that is encoded now shall be a key frame; the demand is then met."""
        if not self._wanted:
            return False
        if self._last is not None and now - self._last < self._interval:
            return False
        self.sent(now)
        return True

    def sent(self, now: float) -> None:
        """A key frame went out, on demand or because the encoder was opened."""
        self._wanted = False
        self._last = now
