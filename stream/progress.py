"""What people see while they wait: on standard error, on a terminal only, and only when it takes a
while."""

from __future__ import annotations

import os
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
SPINNER = "|/-\\"
CLEAR = "\r\x1b[2K"


class Progress:
    """Shows how far a command is. Used in a `with` block; leaves nothing on the screen.

    Its stages (loading, lifting) take times that nobody can foretell, so a stage is a label and a
    sign of life. Only a stage of equal steps has a bar and a time that is left.

    Args:
        label: what is being done first, such as "loading".
        stages: in all.
        stream: where to draw; standard error by default. Nothing is drawn unless it is a terminal.
        patience: seconds that pass before anything is drawn.
    """

    def __init__(
        self, label: str, stages: int, stream: TextIO | None = None, patience: float = PATIENCE
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._label = label
        self._stage = 1
        self._stages = stages
        self._count: _Count | None = None
        self._patience = patience
        self._begin = time.monotonic()
        self._over = threading.Event()
        # A thread draws, because the longest stages (loading, lifting) report nothing meanwhile.
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

    def step(self, label: str, steps: int | None = None) -> None:
        """Begin the next stage.

        Args:
            label: what is being done now, such as "rendering".
            steps: that the stage consists of, when they take equal times.
        """
        self._stage = min(self._stage + 1, self._stages)
        self._count = None if steps is None else _Count(steps, time.monotonic())
        self._label = label

    def advance(self) -> None:
        """Count a finished step of a stage of equal steps."""
        if self._count is not None:
            self._count.advance(time.monotonic())

    def line(self, now: float, columns: int = 80) -> str:
        """What is drawn at a time of `time.monotonic()`, on a terminal of so many columns."""
        if self._count is not None:
            line = f"{self._label:<20} {self._count.line(now)}"
        else:
            turn = SPINNER[int(max(0.0, now - self._begin) / REDRAW) % len(SPINNER)]
            part = f" ({self._stage} of {self._stages})" if self._stages > 1 else ""
            line = f"{turn} {self._label}{part}"
        return line[: max(0, columns - 1)]  # some terminals wrap when the last column is written

    def _paint(self) -> None:
        if self._over.wait(self._patience):
            return
        try:
            while not self._over.wait(REDRAW):
                self._stream.write(CLEAR + self.line(time.monotonic(), self._columns()))
                self._stream.flush()
            self._stream.write(CLEAR)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the work goes on
            pass

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):  # no terminal that the system knows
            return 80


class _Count:
    """How far a stage of equal steps is.

    Args:
        steps: in all.
        now: when it begins.
    """

    def __init__(self, steps: int, now: float) -> None:
        self._steps = max(steps, 1)
        self._done = 0
        self._begin = self._last = now

    def advance(self, now: float) -> None:
        self._done = min(self._done + 1, self._steps)
        self._last = now

    def line(self, now: float) -> str:
        part = self._done / self._steps
        full = int(part * WIDTH)
        line = f"[{'#' * full}{'.' * (WIDTH - full)}] {part:4.0%}"
        if 0 < self._done < self._steps:
            each = (self._last - self._begin) / self._done
            # Counts down between two steps too.
            left = max(0.0, each * (self._steps - self._done) - (now - self._last))
            line += f"  {left:.0f} s left"
        return line
