"""Acknowledge every second packet of a data channel, or one after 40 ms, instead of each.

Reason: aiortc answers each packet at once. A viewpoint comes with every picture of a screen, 60
times a second, and each answer costs as much as a packet of video. RFC 9260 section 6.2 asks for an
answer to every second packet, within 200 ms at most, and at once only when packets are missing or
came twice.
Where: `RTCSctpTransport._send_sack`, with its `_sack_needed`, `_sack_duplicates`,
`_sack_misordered` and `_association_state`.
Written for: aiortc 1.16.0. Remove when: aiortc delays its acknowledgements.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiortc.rtcsctptransport import RTCSctpTransport

NAME = "_send_sack"

DELAY = 0.04
"""Seconds; what is sent reliably has its next retransmission a second later at the earliest."""

WAITING = "_visavis_sack"
"""The attribute that holds the timer of an answer that waits."""

_original = RTCSctpTransport._send_sack


async def _send_sack(self: Any) -> None:
    waiting: asyncio.TimerHandle | None = getattr(self, WAITING, None)
    if waiting is not None or self._sack_duplicates or self._sack_misordered:
        if waiting is not None:
            waiting.cancel()
            setattr(self, WAITING, None)
        await _original(self)
        return
    self._sack_needed = False
    setattr(self, WAITING, asyncio.get_running_loop().call_later(DELAY, _due, self))


def _due(transport: Any) -> None:
    setattr(transport, WAITING, None)
    if transport._association_state == RTCSctpTransport.State.ESTABLISHED:
        answering = asyncio.ensure_future(_answer(transport))
        _answering.add(answering)
        answering.add_done_callback(_answering.discard)


async def _answer(transport: Any) -> None:
    with contextlib.suppress(ConnectionError):  # it has been closed meanwhile
        await _original(transport)


_answering: set[asyncio.Future[None]] = set()
"""The loop itself keeps no hold of tasks."""


def apply() -> None:
    """Install the delay."""
    setattr(RTCSctpTransport, NAME, _send_sack)
