"""Several TURN servers, one after the other, and the reason why one gave no address.

Reason: aioice asks the first TURN server only, and whatever goes wrong with it is lost: a wrong
password, a server that is down, and a name that does not exist all look like no server at all.
Where: `aioice.ice.relayed_candidate`.
Written for: aioice 0.13.0. Remove when: aioice takes several servers and tells their errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import aioice.ice
from aioice.candidate import Candidate
from aioice.ice import StunProtocol, relayed_candidate
from aioice.stun import TransactionFailed, TransactionTimeout
from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs

NAME = "relayed_candidate"

PATIENCE = 4.5
"""Seconds for all servers together: after 5 aioice gives up gathering."""

REFUSALS = {
    401: "it refuses the credentials; check the secret or the password, and both clocks",
    403: "it forbids a relay",
    437: "it holds another relay for this port",
    486: "it grants this user no more relays",
    508: "it has no port left",
}
"""Error codes of RFC 8656 section 19 in words."""


class Attempt:
    """The TURN servers of one connection, and what came of them.

    Args:
        servers: tried in this order until one gives an address; others than TURN servers are
            passed over.
    """

    def __init__(self, servers: Sequence[RTCIceServer]) -> None:
        wanted = [connection_kwargs([server]) for server in servers]
        self.servers = [each for each in wanted if "turn_server" in each]
        self.failures: list[str] = []
        """A line for each server that gave no address. It names the server and no password."""


_attempt: ContextVar[Attempt | None] = ContextVar("attempt_at_turn_servers", default=None)

_original = relayed_candidate


async def _relayed_candidate(**wanted: Any) -> tuple[Candidate, StunProtocol]:
    attempt = _attempt.get()
    if attempt is None or not attempt.servers:
        return await _original(**wanted)
    for server in attempt.servers:
        try:
            async with asyncio.timeout(PATIENCE / len(attempt.servers)):
                return await _original(**{**wanted, **server})
        except Exception as error:
            host, port = server["turn_server"]
            attempt.failures.append(
                f"The TURN server {host}:{port} cannot be used: {in_words(error)}."
            )
    raise ConnectionError("no TURN server gave an address")


def in_words(error: Exception) -> str:
    """Why a TURN server gave no address."""
    if isinstance(error, TransactionFailed):
        code = error.response.error_code or 0
        return REFUSALS.get(code, f"it answers with error {code}")
    if isinstance(error, TimeoutError | TransactionTimeout):
        return "it does not answer"
    if isinstance(error, OSError):
        return " ".join((error.strerror or str(error) or type(error).__name__).lower().split())
    return type(error).__name__


@contextmanager
def tried(attempt: Attempt) -> Iterator[None]:
    """Connections that gather their candidates in this block, or in a task started in it, try these
    servers."""
    token = _attempt.set(attempt)
    try:
        yield
    finally:
        _attempt.reset(token)


def apply() -> None:
    """Install the trying."""
    setattr(aioice.ice, NAME, _relayed_candidate)
