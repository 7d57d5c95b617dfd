"""A client's connection to a server: one offer by WHIP or WHEP with all of its candidates, the
`control` channel, the signs of life, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError

from models.errors import VisavisError
from stream import patches
from stream.client_http import Address, JoinError
from stream.client_ice import configuration, servers_from
from stream.ice_servers import IceServer
from stream.patches import host_addresses, turn_servers

logger = logging.getLogger(__name__)

MEDIA_TIMEOUT = 15.0
"""Seconds between the server's answer and the first sign of media after which it is given up."""

PING_INTERVAL = 1.5
SILENT_PINGS = 3
"""Pings in a row during which nothing was heard, after which the connection counts as lost: 6 s
after the last sign of life."""

FAREWELL = 3.0
"""Seconds that the server may take to hear that this client leaves."""

LOST = "The connection to the server was lost. Check the network, and try again."

T = TypeVar("T")


class ConnectionLost(VisavisError):
    """The connection broke while the call went on."""

    default_code = "connection_lost"


async def retried(attempt: Callable[[], Awaitable[T]], wait: float) -> T:
    """What an attempt returns, tried anew when the server says (Retry-After).

    Args:
        attempt: leaves nothing open when it fails.
        wait: seconds to go on trying.

    Raises:
        JoinError: of the last attempt.
    """
    until = time.monotonic() + wait
    while True:
        try:
            return await attempt()
        except JoinError as error:
            if error.retry_after is None:
                raise
            # All who were turned away at the same moment must not come back at the same moment.
            pause = max(0.5, error.retry_after) * (1 + random.random() / 5)
            if time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)


class ClientConnection:
    """Belongs to the event loop's thread.

    `location` is the path of the server's side of it, `round_trip` the seconds of the last ping to
    the server and back; each None before there is any.

    Args:
        address: of the server.
        ice_servers: STUN and TURN servers to use in place of those that the server names.
        said: called with each message of the server but the answers to pings. It may raise
            KeyError, TypeError or ValueError for what it does not understand.
        opened: called when `control` can be used.
        lost: called when the connection breaks; perhaps more than once.
    """

    def __init__(
        self,
        address: Address,
        ice_servers: Sequence[IceServer],
        said: Callable[[dict[str, Any]], None],
        opened: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self.location: str | None = None
        self.round_trip: float | None = None
        self._address = address
        self._ice_servers = ice_servers
        self._said = said
        self._opened = opened
        self._lost = lost
        self._closed = False
        self._heard = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._peer: RTCPeerConnection | None = None
        self._control: RTCDataChannel | None = None

    async def open(self, path: str, prepare: Callable[[RTCPeerConnection], None]) -> dict[str, str]:
        """Post an offer and take the answer; return the answer's headers.

        Args:
            path: where the offer is posted.
            prepare: called before the offer is made: adds tracks.

        Raises:
            JoinError: the server refuses, or there is no relay where there must be one.
        """
        peer = await self._prepared(path, prepare)
        sdp = peer.localDescription.sdp
        # Not to be cut off between the server's answer and our knowing of it: a place would stay
        # taken.
        posting = asyncio.ensure_future(self._address.ask("POST", path, sdp))
        try:
            answer = await asyncio.shield(posting)
        except asyncio.CancelledError:
            with contextlib.suppress(JoinError):
                self.location = self._located((await posting).headers)
            raise
        self.location = self._located(answer.headers)
        await peer.setRemoteDescription(RTCSessionDescription(answer.body, "answer"))
        return answer.headers

    async def _prepared(
        self, path: str, prepare: Callable[[RTCPeerConnection], None]
    ) -> RTCPeerConnection:
        """A peer with an offer to post, and all of its candidates in that."""
        patches.apply()
        servers, relay_only = tuple(self._ice_servers), False
        with contextlib.suppress(JoinError):  # not every proxy lets such a question pass
            headers = (await self._address.ask("OPTIONS", path)).headers
            servers = servers or servers_from(headers.get("link", ""))
            relay_only = headers.get("visavis-ice-policy") == "relay"
        settings = configuration(servers, relay_only)
        peer = self._peer = RTCPeerConnection(settings)
        peer.on("connectionstatechange", self._state_changed)
        self._control = peer.createDataChannel("control")
        self._control.on("open", self._opened)
        self._control.on("message", self.hear)
        prepare(peer)
        if self._address.local:
            choice = host_addresses.with_loopback
        else:
            choice = host_addresses.loopback_if_alone
        attempt = turn_servers.Attempt(settings.iceServers or [])
        with host_addresses.chosen_by(choice), turn_servers.tried(attempt):
            await peer.setLocalDescription(await peer.createOffer())
        if relay_only and "a=candidate:" not in peer.localDescription.sdp:
            why = " ".join(attempt.failures) or "None is named that works here."
            raise JoinError(f"Media may only go through a TURN server here. {why}", "no_relay")
        return peer

    def _located(self, headers: dict[str, str]) -> str:
        if "location" not in headers:
            raise self._address.not_ours("its answer names no connection")
        return self._address.resolve(headers["location"])

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until it ends or the connection is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of a client failed.", exc_info=error)
            self._lost()

    def _state_changed(self) -> None:
        assert self._peer is not None
        if self._peer.connectionState in ("failed", "closed"):
            self._lost()

    def keep_alive(self) -> None:
        """From now on keep the connection known to be alive, at both ends."""
        self.start(self._ping())

    async def _ping(self) -> None:
        """Pings are counted, and not seconds: a program that held the loop for long has heard
        nothing meanwhile, which says nothing."""
        silent = 0
        while silent < SILENT_PINGS:
            self.tell(type="ping", t=time.monotonic())
            await asyncio.sleep(PING_INTERVAL)
            silent = 0 if self._heard else silent + 1
            self._heard = False
        self._lost()

    @property
    def is_open(self) -> bool:
        """Whether `control` can be used."""
        return self._control is not None and self._control.readyState == "open"

    def tell(self, **message: Any) -> None:
        """Send a message on `control` if it is open."""
        if self._control is not None and self.is_open:
            with contextlib.suppress(InvalidStateError, ConnectionError):
                self._control.send(json.dumps(message))

    def sign_of_life(self) -> None:
        """Something came from the server."""
        self._heard = True

    def hear(self, text: str | bytes) -> None:
        """The server said something, on `control` or on another way."""
        self.sign_of_life()
        try:
            message = json.loads(text)
            if message["type"] == "pong":
                self.round_trip = time.monotonic() - message["t"]
            else:
                self._said(message)
        except (ValueError, KeyError, TypeError):
            return  # not ours; a newer server may speak of more than this client knows

    async def close(self, *, tell: bool) -> None:
        """Free everything; a second call does nothing.

        Args:
            tell: end the server's side too; left out where the server has done so.
        """
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.location is not None and tell:
            with contextlib.suppress(JoinError):  # it may be gone
                await self._address.ask("DELETE", self.location, timeout=FAREWELL)
        if self._peer is not None:
            self._peer.remove_all_listeners()
            await self._peer.close()
