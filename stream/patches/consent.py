"""Asking a peer whether it is still there, as ICE does (RFC 7675), when we want to know.

Reason: aioice asks every 5 s and gives a peer up after six questions, some 30 s, and what peers
send of their own accord differs: browsers report on video each second, others each five seconds,
and nothing at all on a paused track. This question every ICE agent must answer.
Where: the `aioice.Connection` of a transport (`_connection`), its `_nominated` pairs.
Written for: aiortc 1.16.0, aioice 0.13.0. Remove when: aiortc lets its users ask, or choose how
often it does.
"""

from __future__ import annotations

from typing import Any

from aioice.stun import TransactionError
from aiortc import RTCPeerConnection

NAMES = ("_nominated", "build_request", "remote_password")
"""Of `aioice.Connection`."""

TRANSPORT = "_connection"
"""Of `aiortc.RTCIceTransport`."""


async def answers(connection: RTCPeerConnection) -> bool:
    """Whether the peer answers within 1.5 s; the question is sent twice."""
    transports = {transceiver.receiver.transport for transceiver in connection.getTransceivers()}
    if connection.sctp is not None:
        transports.add(connection.sctp.transport)
    for transport in filter(None, transports):
        if await _asked(getattr(transport.transport, TRANSPORT)):
            return True
    return False


async def _asked(ice: Any) -> bool:
    for pair in list(ice._nominated.values()):
        try:
            await pair.protocol.request(
                ice.build_request(pair, nominate=False),
                pair.remote_addr,
                integrity_key=ice.remote_password.encode(),
                retransmissions=1,
            )
        except (TransactionError, OSError):  # no answer, or the socket is gone
            continue
        return True
    return False
