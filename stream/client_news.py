"""Waking all who wait for something new."""

from __future__ import annotations

import asyncio


class News:
    """Belongs to the event loop's thread. Who waits looks for themselves at what is new."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the next `tell`."""
        await self._event.wait()
