"""An avatar that is closed when its call has let go of it and no frame is being made from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.engine import Avatar


class AvatarLease:
    """Shared by a call and the render threads. Any thread may call any method.

    Args:
        avatar: what to close at the end.
        arrived: when the camera frame came in that it was made from, in seconds of the monotonic
            clock; None if the avatar does not follow a caller.
    """

    def __init__(self, avatar: Avatar, arrived: float | None = None) -> None:
        self.arrived = arrived
        self._avatar = avatar
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the avatar's memory is free."""
        return self._closed

    @contextmanager
    def use(self) -> Iterator[Avatar | None]:
        """Keep the avatar open inside the `with` block; None if it is being given up already."""
        with self._lock:
            usable = not self._retired
            self._users += usable
        try:
            yield self._avatar if usable else None
        finally:
            if usable:
                with self._lock:
                    self._users -= 1
                self._close_if_unused()

    def retire(self) -> None:
        """Close the avatar now, or as soon as the frames being made from it are done."""
        with self._lock:
            self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        with self._lock:
            if not self._retired or self._users or self._closed:
                return
            self._closed = True
        self._avatar.close()
