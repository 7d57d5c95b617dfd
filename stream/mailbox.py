"""A slot between two stages that holds only the newest value.

A queue here would let a slow stage fall behind the live picture without end; a slot makes it skip.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One value at most; a newer one replaces it. Any thread may call any method.

    `replaced` counts the values that nobody took.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None
        self.replaced = 0

    def put(self, value: T) -> bool:
        """Leave a value; return whether it replaced one that nobody had taken."""
        with self._lock:
            replaced = self._value is not None
            self._value = value
            self.replaced += replaced
        return replaced

    def take(self) -> T | None:
        """Return the value and empty the slot; None when it is empty."""
        with self._lock:
            value, self._value = self._value, None
        return value

    def peek(self) -> T | None:
        """Return the value and leave it."""
        return self._value

    @property
    def full(self) -> bool:
        """Whether a value waits."""
        return self._value is not None
