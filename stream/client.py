"""A client in Python: join a call, say where to look from, receive the pictures.

    async with join("http://127.0.0.1:8080", "demo") as view:
        view.look(Viewpoint(yaw=20))
        async for frame in view.frames():
            use(frame.rgb)

What goes wrong is one line:

* VisavisError
  + JoinError         the call cannot be joined; its `code` says why
  + ConnectionLost    the call was joined, and its connection broke

Nothing is queued. Of viewpoints only the newest is sent, of frames only the newest is given out.
aiortc is changed for the whole process as `stream.patches` says: frames are given out when their
last packet is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

from aiortc import RTCDataChannel, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from models.errors import VisavisError
from models.viewpoint import Viewpoint
from stream import patches
from stream.client_frames import Pictures, ReceivedFrame
from stream.client_http import Address, JoinError, quoted, read_address
from stream.client_ice import configuration, servers_from
from stream.client_steering import Steering
from stream.ice_servers import IceServer
from stream.messages import Frame, GpuFigures, Statistics
from stream.patches import host_addresses, turn_servers

__all__ = ["ConnectionLost", "JoinError", "ReceivedFrame", "View", "join"]

logger = logging.getLogger(__name__)

FIRST_PICTURE = 15.0
"""Seconds between the server's answer and the first picture after which media is given up."""

PING_INTERVAL = 1.5
SILENT_PINGS = 3
"""Pings in a row during which nothing was heard, after which the connection counts as lost: 6 s
after the last sign of life."""

FAREWELL = 3.0
"""Seconds that the server may take to hear that this client leaves."""

LOST = "The connection to the server was lost. Check the network, and join again."


class ConnectionLost(VisavisError):
    """The connection broke while the call went on."""

    default_code = "connection_lost"


@asynccontextmanager
async def join(
    url: str,
    call: str | None = None,
    *,
    wait: float = 0.0,
    ice_servers: Sequence[IceServer] = (),
) -> AsyncIterator[View]:
    """Join a call for the time of an `async with` block.

    Args:
        url: of the server, or the link of an invitation.
        call: name of the call; not needed with a link.
        wait: seconds to go on trying where the caller is not ready or the server is full. Tries
            come when the server says (Retry-After).
        ice_servers: STUN and TURN servers to use in place of those that the server names.

    Raises:
        JoinError: the call cannot be joined.
    """
    address, name = read_address(url, call)
    until = time.monotonic() + wait
    while True:
        view = View(address, name, ice_servers)
        try:
            await view._open()
            break
        except JoinError as error:
            await view.close()
            if error.retry_after is None:
                raise
            # All who were turned away at the same moment must not come back at the same moment.
            pause = max(0.5, error.retry_after) * (1 + random.random() / 5)
            if time.monotonic() + pause > until:
                raise
        except BaseException:
            await view.close()
            raise
        await asyncio.sleep(pause)
    try:
        yield view
    finally:
        await view.close()


class View:
    """A receiver's place in a call; `join` makes it. Belongs to the event loop's thread.

    `statistics` are the server's newest figures, `round_trip` the seconds of the last ping to the
    server and back, `ended` why the call has ended; each None before there is any.
    """

    def __init__(self, address: Address, call: str, ice_servers: Sequence[IceServer]) -> None:
        self.call = call
        self.statistics: Statistics | None = None
        self.round_trip: float | None = None
        self.ended: str | None = None
        self._address = address
        self._location: str | None = None
        self._closed = False
        self._heard = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._steering = Steering()
        self._pictures = Pictures()
        self._ice_servers = ice_servers
        self._connection: RTCPeerConnection | None = None
        self._control: RTCDataChannel | None = None
        self._receiver: RTCRtpReceiver | None = None

    def look(self, viewpoint: Viewpoint) -> int:
        """Look from here, from the next frame on; a viewpoint that was not sent yet is replaced.

        Returns:
            the viewpoint's number, which the frames that show it carry.
        """
        return self._steering.look(viewpoint)

    def refine(self, on: bool) -> None:
        """Ask for refined or for raw pictures; a new view asks for refined ones."""
        self._tell(type="refine", on=on)

    async def frames(self) -> AsyncGenerator[ReceivedFrame, None]:
        """The pictures as they come. Whoever is slow misses some, and always gets the newest one.

        Ends when the call does; `ended` then says why.

        Raises:
            ConnectionLost: the connection broke.
        """
        pictures = self._pictures
        seen = 0
        while True:
            while pictures.count == seen and not pictures.over:
                await pictures.news()
            if pictures.lost:
                raise ConnectionLost(LOST)
            if pictures.over:
                return
            seen = pictures.count
            assert self._receiver is not None
            yield pictures.newest(self._receiver, self._steering.viewpoints)

    async def snapshot(self, viewpoint: Viewpoint) -> ReceivedFrame:
        """Look from here, and wait for a frame that shows it, or a newer viewpoint.

        Raises:
            ConnectionLost: the connection broke, or the call ended.
        """
        wanted = self.look(viewpoint)
        async with contextlib.aclosing(self.frames()) as frames:
            async for frame in frames:
                if frame.sequence is not None and frame.sequence >= wanted:
                    return frame
        raise ConnectionLost(f"The call is over: {self.ended or 'this view was closed.'}")

    async def close(self) -> None:
        """Leave the call and free everything; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        known = self.ended is not None  # then the server has freed its side
        self._pictures.end(lost=False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._location is not None and not known:
            with contextlib.suppress(JoinError):  # it may be gone
                await self._address.ask("DELETE", self._location, timeout=FAREWELL)
        if self._connection is not None:
            self._connection.remove_all_listeners()
            await self._connection.close()

    # The connection.

    async def _open(self) -> None:
        """Join, and wait until pictures come and viewpoints can be sent."""
        call = quoted(self.call)
        # Asked first: a wrong name or a caller who is not ready must not cost a connection.
        description = (await self._address.ask("GET", f"/calls/{call}")).body
        try:
            state = json.loads(description)["state"]
        except (ValueError, KeyError, TypeError):
            raise self._address.not_ours("it does not describe its calls") from None
        if state != "live":
            reason = "The caller is not ready yet. Try again in a few seconds."
            raise JoinError(reason, "not_ready", 2.0)
        connection = await self._connect(f"/whep/{call}")
        sdp = connection.localDescription.sdp
        # Not to be cut off between the server's answer and our knowing of it: a place would stay
        # taken.
        posting = asyncio.ensure_future(self._address.ask("POST", f"/whep/{call}", sdp))
        try:
            answer = await asyncio.shield(posting)
        except asyncio.CancelledError:
            with contextlib.suppress(JoinError):
                self._location = self._located((await posting).headers)
            raise
        self._location = self._located(answer.headers)
        await connection.setRemoteDescription(RTCSessionDescription(answer.body, "answer"))
        receiver = self._location.rpartition("/")[2]
        self._start(self._steer(f"/calls/{call}/viewpoint?receiver={receiver}"))
        pictures = self._pictures
        try:
            async with asyncio.timeout(FIRST_PICTURE):
                while not pictures.over and (pictures.count == 0 or not self._steering.ready):
                    await pictures.news()
        except TimeoutError:
            raise JoinError(
                f"The call was joined, but no picture came within {FIRST_PICTURE:.0f} s. Check that"
                " UDP passes between the server and here, or name a TURN server.",
                "no_picture",
            ) from None
        if pictures.over:
            raise JoinError(f"The call could not be joined. {self.ended or LOST}")
        self._start(self._ping())

    async def _connect(self, path: str) -> RTCPeerConnection:
        """A connection with an offer to post, and all of its candidates in that."""
        patches.apply()
        servers, relay_only = tuple(self._ice_servers), False
        with contextlib.suppress(JoinError):  # not every proxy lets such a question pass
            headers = (await self._address.ask("OPTIONS", path)).headers
            servers = servers or servers_from(headers.get("link", ""))
            relay_only = headers.get("visavis-ice-policy") == "relay"
        settings = configuration(servers, relay_only)
        connection = self._connection = RTCPeerConnection(settings)
        connection.on("track", self._track)
        connection.on("connectionstatechange", self._state_changed)
        self._control = connection.createDataChannel("control")
        self._control.on("message", self._said)
        self._receiver = connection.addTransceiver("video", direction="recvonly").receiver
        if self._address.local:
            choice = host_addresses.with_loopback
        else:
            choice = host_addresses.loopback_if_alone
        attempt = turn_servers.Attempt(settings.iceServers or [])
        with host_addresses.chosen_by(choice), turn_servers.tried(attempt):
            await connection.setLocalDescription(await connection.createOffer())
        if relay_only and "a=candidate:" not in connection.localDescription.sdp:
            why = " ".join(attempt.failures) or "None is named that works here."
            raise JoinError(f"Media may only go through a TURN server here. {why}", "no_relay")
        return connection

    def _located(self, headers: dict[str, str]) -> str:
        if "location" not in headers:
            raise self._address.not_ours("its answer names no connection")
        return self._address.resolve(headers["location"])

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of a view failed.", exc_info=error)
            self._pictures.end(lost=True)

    def _state_changed(self) -> None:
        assert self._connection is not None
        if self._connection.connectionState in ("failed", "closed"):
            self._pictures.end(lost=True)

    async def _ping(self) -> None:
        """Keep the connection known to be alive, at both ends.

        Pings are counted, and not seconds: a program that held the loop for long has heard nothing
        meanwhile, which says nothing.
        """
        silent = 0
        while silent < SILENT_PINGS:
            self._tell(type="ping", t=time.monotonic())
            await asyncio.sleep(PING_INTERVAL)
            silent = 0 if self._heard else silent + 1
            self._heard = False
        self._pictures.end(lost=True)

    # Messages.

    def _tell(self, **message: Any) -> None:
        if self._control is not None and self._control.readyState == "open":
            with contextlib.suppress(InvalidStateError, ConnectionError):
                self._control.send(json.dumps(message))

    def _said(self, text: str | bytes) -> None:
        """The server said something on `control` or on the WebSocket."""
        self._heard = True
        try:
            message = json.loads(text)
            kind = message["type"]
            if kind == Frame.type:
                self._pictures.told(message["rtp"], message["seq"])
            elif kind == Statistics.type:
                self.statistics = _statistics(message)
            elif kind == "pong":
                self.round_trip = time.monotonic() - message["t"]
            elif kind == "ended":
                self.ended = self.ended or str(message["reason"])
                self._pictures.end(lost=False)
            elif kind == "error":
                logger.warning("%s", message["reason"])
        except (ValueError, KeyError, TypeError):
            return  # not ours; a newer server may speak of more than this client knows

    async def _steer(self, path: str) -> None:
        await self._steering.run(self._address, path, self._pictures.notify, self._said)
        self._pictures.end(lost=True)  # does nothing if it was the call's end that closed it

    # Frames.

    def _track(self, track: MediaStreamTrack) -> None:
        self._start(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        """Take every frame out of aiortc's queue, which has no bound, as soon as it is there."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, VideoFrame)
                self._heard = True
                self._pictures.put(frame)
        self._pictures.end(lost=True)


def _statistics(message: dict[str, Any]) -> Statistics:
    """A message as the class that this version knows; what a newer server adds is left out."""
    known = {
        field.name: message[field.name] for field in fields(Statistics) if field.name in message
    }
    names = {field.name for field in fields(GpuFigures)}
    known["gpus"] = tuple(
        GpuFigures(**{name: value for name, value in gpu.items() if name in names})
        for gpu in message.get("gpus", ())
    )
    return Statistics(**known)
