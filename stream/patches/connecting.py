"""What goes wrong while a connection is made ends that connection, with one line in the log.

Reason: aiortc starts the work in a task that nobody waits for. What it raises, for instance for an
offer that contradicts itself, reaches nobody: asyncio prints "Task exception was never retrieved",
and the connection stays half made until the clock gives it up.
Where: `aiortc.RTCPeerConnection.__connect`.
Written for: aiortc 1.16.0. Remove when: aiortc handles errors of its own task.
"""

from __future__ import annotations

import logging

from aiortc import RTCPeerConnection

NAME = "_RTCPeerConnection__connect"

logger = logging.getLogger(__name__)

_original = getattr(RTCPeerConnection, NAME)


async def _connect(self: RTCPeerConnection) -> None:
    try:
        await _original(self)
    except Exception as error:
        if self.signalingState == "closed":
            return  # closed while it was being made
        logger.info("A connection could not be made: %r", error)
        await self.close()


def apply() -> None:
    """Install the handling of errors."""
    setattr(RTCPeerConnection, NAME, _connect)
