"""A progress bar for people: on standard error, on a terminal only, and only when it takes a
while."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

PATIENCE = 1.0
"""Seconds that pass before anything is shown."""
REDRAW = 0.1
"""Seconds between two drawings."""
WIDTH = 28
CLEAR = "\r\x1b[2K"


class Progress:
    """Shows how far a command is. Used in a `with` block; leaves nothing on the screen.

    Args:
        label: what is being done, such as "rendering".
        total: number of steps.
        stream: where to draw; standard error by default. Nothing is drawn unless it is a terminal.
        patience: seconds that pass before anything is drawn.
    """

    def __init__(
        self, label: str, total: int, stream: TextIO | None = None, patience: float = PATIENCE
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._label = label
        self._total = max(total, 1)
        self._done = 0
        self._patience = patience
        self._begin = time.monotonic()
        self._over = threading.Event()
        # A thread draws, because the longest steps (loading, lifting) report nothing meanwhile.
        self._painter: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            self._painter = threading.Thread(target=self._paint, name="progress", daemon=True)
            self._painter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._painter is not None:
            self._painter.join()

    def step(self, label: str | None = None, count: int = 1) -> None:
        """Count finished steps; `label` says what comes next."""
        self._done = min(self._done + count, self._total)
        self._label = label or self._label

    def line(self, now: float) -> str:
        """What is drawn at a time of `time.monotonic()`."""
        part = self._done / self._total
        full = int(part * WIDTH)
        line = f"{self._label:<20} [{'#' * full}{'.' * (WIDTH - full)}] {part:4.0%}"
        if 0 < self._done < self._total:
            left = (now - self._begin) * (self._total - self._done) / self._done
            line += f"  {left:.0f} s left"
        return line

    def _paint(self) -> None:
        if self._over.wait(self._patience):
            return
        while not self._over.wait(REDRAW):
            self._stream.write(CLEAR + self.line(time.monotonic()))
            self._stream.flush()
        self._stream.write(CLEAR)
        self._stream.flush()
