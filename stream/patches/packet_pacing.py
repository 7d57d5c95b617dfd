"""Spread the packets of a large frame over some milliseconds.

Reason: aiortc sends all packets of a frame back to back, so that a key frame is a burst (aiortc
issue 884), and has no interface between a frame and its packets.
Where: `aiortc.RTCDtlsTransport._send_rtp`, which the sender's task awaits packet by packet. Only
that task sees the pacer that its track's recv() sets: repairs, reports and sound are not held up.
Written for: aiortc 1.16.0. Remove when: aiortc paces packets.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar

from aiortc import RTCDtlsTransport

from stream.packet_pacer import PacketPacer

NAME = "_send_rtp"

packet_pacer: ContextVar[PacketPacer | None] = ContextVar("packet_pacer", default=None)

_original = RTCDtlsTransport._send_rtp


async def _send_rtp(self: RTCDtlsTransport, data: bytes) -> None:
    pacer = packet_pacer.get()
    if pacer is not None and (wait := pacer.wait(time.monotonic())) > 0:
        await asyncio.sleep(wait)
    await _original(self, data)


def apply() -> None:
    """Install the pacing."""
    setattr(RTCDtlsTransport, NAME, _send_rtp)
