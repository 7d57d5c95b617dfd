"""One WebRTC connection: its negotiation, its `control` channel, its signs of life and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.sdp import candidate_from_sdp

from stream import control, offer, problems
from stream.messages import Error, Message, Pong
from stream.patches import consent, host_addresses, turn_servers
from stream.settings import Settings

logger = logging.getLogger(__name__)

WATCH_PART = 1 / 12
"""Part of the silence after which a peer is given up that passes between two looks."""

ASK_PART = 1 / 4
"""Part of that silence after which the peer is asked whether it is there."""

CLOSE_TIMEOUT = 5.0
"""Seconds after which a connection that does not close is left to the garbage collector."""

MAX_BUFFERED = 64 * 1024
"""Bytes waiting on `control` above which messages that will be outdated are not sent."""


def new_id() -> str:
    """An identifier that cannot be guessed: 96 random bits."""
    return secrets.token_urlsafe(12)


def _addresses(settings: Settings) -> host_addresses.Choice:
    if settings.media_addresses == "loopback":
        return host_addresses.loopback_only
    if settings.listens_on_loopback:
        return host_addresses.with_loopback
    return host_addresses.loopback_if_alone


async def _stop_parts(connection: RTCPeerConnection) -> None:
    """Stop each part of a connection for itself, whatever becomes of the others."""
    transports = [transceiver.receiver.transport for transceiver in connection.getTransceivers()]
    if connection.sctp is not None:
        transports.append(connection.sctp.transport)
    for transport in filter(None, transports):
        for part in (transport, transport.transport):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(part.stop(), CLOSE_TIMEOUT)


class Peer:
    """What callers and receivers have in common. Belongs to the event loop's thread.

    Args:
        settings: ICE servers and times.
        ended: called once, when the connection is lost or given up by this side, with a reason.
    """

    def __init__(self, settings: Settings, ended: Callable[[str], Awaitable[None]]) -> None:
        self.id = new_id()
        self._settings = settings
        self._ended = ended
        self._closing = False
        self.gone = asyncio.Event()
        """Set when the connection is about to be closed, with `farewell` saying why."""
        self.farewell = "The connection has ended."
        self._control: RTCDataChannel | None = None
        self._username: str | None = None
        self._media_ids: list[str] = []
        self._trickled = 0
        self._tasks: set[asyncio.Future[None]] = set()
        self._ending: asyncio.Future[None] | None = None
        servers = [
            RTCIceServer(server.url, server.username, server.credential)
            for server in settings.fresh_ice_servers()
            if server.works_here
        ]
        self._turn = turn_servers.Attempt(servers)
        # An explicit list, even if empty: with None aiortc asks a public STUN server.
        self.connection = RTCPeerConnection(
            RTCConfiguration(
                iceServers=servers,
                iceTransportPolicy=RTCIceTransportPolicy(settings.ice_policy),
            )
        )
        self.connection.on("connectionstatechange", self._state_changed)
        self.connection.on("datachannel", self._channel_opened)

    async def answer(self, sdp: str, wants: offer.Video) -> str:
        """Answer an offer.

        Args:
            sdp: the offer.
            wants: what the other side must do with video.

        Raises:
            Problem: the offer cannot be used, or there is no relay where there must be one.
        """
        try:
            prepared = offer.prepare(sdp, wants, self._settings.relay_only)
            self._username = offer.ice_username(sdp)
            self._media_ids = offer.media_ids(sdp)
            await self.connection.setRemoteDescription(RTCSessionDescription(prepared, "offer"))
            self._negotiate()
            addresses = host_addresses.chosen_by(_addresses(self._settings))
            with addresses, turn_servers.tried(self._turn):
                await self.connection.setLocalDescription(await self.connection.createAnswer())
        except offer.BadSdp as error:
            raise problems.bad_offer(str(error)) from None
        except OperationError:
            raise problems.bad_offer("It has no codec that this server knows.") from None
        except (
            # aiortc's parser meets malformed text with whatever its parts raise.
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            AssertionError,
            RuntimeError,  # what asyncio makes of a StopIteration
            InternalError,
            InvalidAccessError,
            InvalidStateError,
        ) as error:
            logger.info("An SDP offer could not be used: %r", error)
            raise problems.bad_offer("It is malformed or incomplete.") from None
        answer = self.connection.localDescription.sdp
        self._look_for_relay(answer)
        self.start(self._watch())
        return answer

    def _look_for_relay(self, answer: str) -> None:
        for failure in self._turn.failures:
            logger.warning(failure)
        if self._settings.relay_only and "a=candidate:" not in answer:
            raise problems.no_relay(" ".join(self._turn.failures))

    async def add_candidates(self, text: str) -> None:
        """Take in trickled candidates.

        Raises:
            Problem: they cannot be read, or belong to another negotiation.
        """
        try:
            fragment = offer.parse_fragment(text, self._settings.relay_only)
            if fragment.username is not None and fragment.username != self._username:
                raise problems.no_restart()
            self._trickled += fragment.count
            if self._trickled > offer.MAX_CANDIDATES:
                raise offer.BadSdp(f"More than {offer.MAX_CANDIDATES} candidates have been given.")
            for mid, value in fragment.candidates:
                candidate = candidate_from_sdp(value)
                candidate.sdpMid = self._media_id(mid)
                await self.connection.addIceCandidate(candidate)
        except (offer.BadSdp, ValueError, AssertionError) as error:
            why = str(error) if isinstance(error, offer.BadSdp) else "A candidate is malformed."
            raise problems.bad_fragment(why) from None

    def _media_id(self, given: str | None) -> str:
        if given is None:
            return self._media_ids[0] if self._media_ids else ""
        if given not in self._media_ids:
            raise offer.BadSdp("A candidate is for a media section that the offer has not.")
        return given

    def send(self, message: Message, *, may_drop: bool = False) -> None:
        """Send on `control` if it is open.

        Args:
            message: what to send.
            may_drop: leave it out when much is waiting already.
        """
        channel = self._control
        if channel is None or channel.readyState != "open":
            return
        if may_drop and channel.bufferedAmount > MAX_BUFFERED:
            return
        with contextlib.suppress(InvalidStateError, ConnectionError):
            channel.send(message.to_json())

    @property
    def control_protocol(self) -> str:
        """The subprotocol that the other side gave its `control` channel."""
        return self._control.protocol if self._control is not None else ""

    async def close(self) -> None:
        """Free everything; a second call does nothing."""
        if self._closing:
            return
        self._closing = True
        self.gone.set()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._release()
        self.connection.remove_all_listeners()
        try:
            await asyncio.wait_for(self.connection.close(), CLOSE_TIMEOUT)
        except TimeoutError:
            logger.warning("A connection did not close within %.0f s.", CLOSE_TIMEOUT)
        except Exception as error:
            # aiortc stops one part after the other, and at a part that fails it leaves the rest.
            logger.warning("A connection did not close properly: %r", error)
            await _stop_parts(self.connection)
        self._control = None

    async def flush(self, timeout: float = 0.5) -> None:
        """Wait until what was sent on `control` has arrived, but not long."""
        until = time.monotonic() + timeout
        channel = self._control
        while channel is not None and channel.readyState == "open" and time.monotonic() < until:
            if channel.bufferedAmount == 0:
                break
            await asyncio.sleep(0.02)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until it ends or the connection is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of a connection failed.", exc_info=error)

    # For callers and receivers to fill in.

    def _negotiate(self) -> None:
        """The offer is known; prepare the answer."""

    def _connected(self) -> None:
        """Media can flow."""

    def _opened(self, channel: RTCDataChannel) -> None:
        """A data channel other than `control` was opened."""

    def _control_opened(self) -> None:
        """`control` can be used."""

    def _controlled(self, message: control.Control) -> None:
        """A message came in on `control`."""

    def _release(self) -> None:
        """The connection is about to be closed."""

    # Events of the connection.

    def _state_changed(self) -> None:
        state = self.connection.connectionState
        if state == "connected":
            self._connected()
        elif state in ("failed", "closed") and not self._closing:
            self._give_up("The connection was lost.")

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if channel.label == "control":
            self._control = channel
            channel.on("message", self._control_message)
            self._control_opened()
        else:
            self._opened(channel)

    def _control_message(self, text: str | bytes) -> None:
        try:
            message = control.parse(text)
        except control.BadControl as error:
            self.send(Error("bad_message", str(error)), may_drop=True)
            return
        if isinstance(message, control.Ping):
            self.send(Pong(message.t), may_drop=True)
        else:
            self._controlled(message)

    def _give_up(self, reason: str) -> None:
        # Not one of the tasks that close() cancels and waits for: this one waits for close().
        if not self._closing and self._ending is None:
            self._ending = asyncio.ensure_future(self._ended(reason))
            self._ending.add_done_callback(self._finished)

    async def _watch(self) -> None:
        """Give up a peer that does not connect, or that has fallen silent.

        Everything counts that it sends: media, reports, messages, and answers when it is asked.
        """
        born = time.monotonic()
        heard, packets = born, -1
        timeout = self._settings.silence_timeout
        while True:
            await asyncio.sleep(timeout * WATCH_PART)
            now = time.monotonic()
            if self.connection.connectionState in ("new", "connecting"):
                if now - born > self._settings.connect_timeout:
                    self._give_up("The connection could not be made.")
                    return
                continue
            received = await self._packets_received()
            if received != packets:
                heard, packets = now, received
            elif now - heard <= timeout * ASK_PART:
                continue
            elif await consent.answers(self.connection):
                heard = time.monotonic()
            # It was last heard up to one look before `heard`, and the next look may be too late.
            elif time.monotonic() - heard > timeout * (1 - 2 * WATCH_PART):
                self._give_up("The connection was lost.")
                return

    async def _packets_received(self) -> int:
        report = await self.connection.getStats()
        return sum(s.packetsReceived for s in report.values() if s.type == "transport")
