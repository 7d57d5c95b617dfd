"""A client's viewpoints: the newest one goes out over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from models.viewpoint import Viewpoint
from stream.client_frames import remember
from stream.client_http import TIMEOUT, Address
from stream.mailbox import Mailbox

WRITE_LIMIT = 512
"""Bytes that may wait in the WebSocket before the next viewpoint has to: about five viewpoints."""


class Steering:
    """Belongs to the event loop's thread.

    `viewpoints` has the last ones by their numbers; `ready` says that they can be sent.
    """

    def __init__(self) -> None:
        self.viewpoints: dict[int, Viewpoint] = {}
        self.ready = False
        self._sequence = 0
        self._newest: Mailbox[tuple[int, Viewpoint]] = Mailbox()
        self._aimed = asyncio.Event()

    def look(self, viewpoint: Viewpoint) -> int:
        """Have a viewpoint sent, in place of one that still waits; return its number."""
        self._sequence += 1
        remember(self.viewpoints, self._sequence, viewpoint)
        self._newest.put((self._sequence, viewpoint))
        self._aimed.set()
        return self._sequence

    async def run(
        self, address: Address, path: str, opened: Callable[[], None], said: Callable[[str], None]
    ) -> None:
        """Send until the socket is closed by the other side.

        Args:
            address: of the server.
            path: of the socket.
            opened: called when viewpoints can be sent.
            said: called with what the server says.
        """
        try:
            async with connect(
                address.socket(path),
                proxy=None if address.local else True,
                open_timeout=TIMEOUT,
                close_timeout=1.0,
                write_limit=WRITE_LIMIT,
                compression=None,  # nothing to gain from a hundred bytes
                logger=logging.getLogger(f"{__name__}.socket"),
            ) as socket:
                self.ready = True
                opened()
                sending = asyncio.ensure_future(self._send(socket))
                try:
                    async for text in socket:
                        said(text if isinstance(text, str) else text.decode(errors="replace"))
                finally:
                    sending.cancel()
                    await asyncio.wait((sending,))
        except (OSError, WebSocketException):  # a TimeoutError is an OSError
            return

    async def _send(self, socket: ClientConnection) -> None:
        try:
            while True:
                await self._aimed.wait()
                self._aimed.clear()
                aim = self._newest.take()
                if aim is not None:
                    sequence, viewpoint = aim
                    await socket.send(json.dumps({"seq": sequence, **asdict(viewpoint)}))
        except ConnectionClosed:
            return
