"""The thread that asks what the GPUs are doing, once a second."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from stream.gpu_load import UNHEARD, GpuLoad, GpuReader

logger = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks."""

RETRY = 15.0
"""Seconds between two tries to find a GPU that is not there: looking for a driver costs more than
asking one, and most machines without a GPU never get one."""

STALE = 5.0
"""Seconds after which what was read last counts for nothing: a driver can hang."""

STOP_TIMEOUT = 2.0
"""Seconds that the end of the thread is waited for; it is a daemon, so a driver that hangs does not
keep the process."""


class GpuWatch:
    """Holds the newest load of the GPUs. A thread of its own asks the driver, so that nobody else
    ever waits for one.

    Args:
        interval: seconds between two looks.
        retry: seconds between two tries while a GPU is not available.
    """

    def __init__(self, interval: float = INTERVAL, retry: float = RETRY) -> None:
        self._interval = interval
        self._retry = retry
        self._stale = max(STALE, 3 * interval)
        self._reader = GpuReader()
        self._newest = (time.monotonic(), GpuLoad(reason=UNHEARD))
        self._said: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gpu-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT)

    def load(self) -> GpuLoad:
        """What was read last; never waits and never raises. Any thread may ask."""
        at, load = self._newest
        age = time.monotonic() - at
        if load.available and age > self._stale:
            return GpuLoad(reason=f"the driver has not answered for {age:.0f} s")
        return load

    def _work(self) -> None:
        again = time.monotonic() + self._retry
        with contextlib.closing(self._reader):
            while not self._stopping.is_set():
                load = self._reader.read()
                now = time.monotonic()
                self._newest = (now, load)
                self._say(load)
                if load.available and load.reason is not None and now >= again:
                    self._reader.close()  # one of several is gone: look whether it came back
                    again = now + self._retry
                self._stopping.wait(self._interval if load.available else self._retry)

    def _say(self, load: GpuLoad) -> None:
        """Log what has changed. That there is no GPU at the start is no news."""
        words = load.in_words()
        if words == self._said:
            return
        if self._said is not None:
            level = logging.INFO if load.available and load.reason is None else logging.WARNING
            logger.log(level, "GPU load: %s.", words)
        self._said = words
