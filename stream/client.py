"""A client in Python: join a call, say where to look from, receive the pictures; or open a call.

    async with join("http://127.0.0.1:8080", "demo") as view:
        view.look(Viewpoint(yaw=20))
        async for frame in view.frames():
            use(frame.rgb)

    async with call("http://127.0.0.1:8080", pictures) as own:
        await own.ready(30)
        print(own.link)

What goes wrong is one line:

* VisavisError
  + JoinError         the call cannot be joined or opened; its `code` says why
  + ConnectionLost    the call was joined, and its connection broke
  + AvatarError       a call of one's own was opened, and no avatar came of its pictures
  + SourceError       what a program gives to a call of its own is no picture, or no sound

Nothing is queued. Of viewpoints only the newest is sent, of frames only the newest is given out.
aiortc is changed for the whole process as `stream.patches` says: frames are given out when their
last packet is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from models.viewpoint import Viewpoint
from stream.client_caller import AvatarError, OwnCall, call
from stream.client_connection import (
    LOST,
    MEDIA_TIMEOUT,
    ClientConnection,
    ConnectionLost,
    retried,
)
from stream.client_frames import Pictures, ReceivedFrame
from stream.client_http import Address, JoinError, quoted, read_address
from stream.client_sources import SourceError
from stream.client_steering import Steering
from stream.client_told import Told
from stream.ice_servers import IceServer
from stream.messages import Ended, Error, Frame, GpuFigures, Statistics

__all__ = [
    "AvatarError",
    "ConnectionLost",
    "JoinError",
    "OwnCall",
    "ReceivedFrame",
    "SourceError",
    "Told",
    "View",
    "call",
    "join",
]

logger = logging.getLogger(__name__)


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

    async def attempt() -> View:
        view = View(address, name, ice_servers)
        try:
            await view._open()
        except BaseException:
            await view.close()
            raise
        return view

    view = await retried(attempt, wait)
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
        self.ended: str | None = None
        self._address = address
        self._steering = Steering()
        self._pictures = Pictures()
        self._connection = ClientConnection(
            address, ice_servers, self._said, self._pictures.notify, self._lost
        )
        self._receiver: RTCRtpReceiver | None = None

    @property
    def round_trip(self) -> float | None:
        return self._connection.round_trip

    def look(self, viewpoint: Viewpoint) -> int:
        """Look from here, from the next frame on; a viewpoint that was not sent yet is replaced.

        Returns:
            the viewpoint's number, which the frames that show it carry.
        """
        return self._steering.look(viewpoint)

    def refine(self, on: bool) -> None:
        """Ask for refined or for raw pictures; a new view asks for refined ones."""
        self._connection.tell(type="refine", on=on)

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
        self._pictures.end(lost=False)
        # A call that has ended has freed this receiver.
        await self._connection.close(tell=self.ended is None)

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
        await self._connection.open(f"/whep/{call}", self._prepare)
        assert self._connection.location is not None
        receiver = self._connection.location.rpartition("/")[2]
        self._connection.start(self._steer(f"/calls/{call}/viewpoint?receiver={receiver}"))
        pictures = self._pictures
        try:
            async with asyncio.timeout(MEDIA_TIMEOUT):
                while not pictures.over and (pictures.count == 0 or not self._steering.ready):
                    await pictures.news()
        except TimeoutError:
            raise JoinError(
                f"The call was joined, but no picture came within {MEDIA_TIMEOUT:.0f} s. Check that"
                " UDP passes between the server and here, or name a TURN server.",
                "no_picture",
            ) from None
        if pictures.over:
            raise JoinError(f"The call could not be joined. {self.ended or LOST}")
        self._connection.keep_alive()

    def _prepare(self, peer: RTCPeerConnection) -> None:
        peer.on("track", self._track)
        self._receiver = peer.addTransceiver("video", direction="recvonly").receiver

    def _lost(self) -> None:
        self._pictures.end(lost=True)

    # Messages.

    def _said(self, message: dict[str, Any]) -> None:
        """The server said something on `control` or on the WebSocket."""
        kind = message["type"]
        if kind == Frame.type:
            self._pictures.told(message["rtp"], message["seq"])
        elif kind == Statistics.type:
            self.statistics = _statistics(message)
        elif kind == Ended.type:
            self.ended = self.ended or str(message["reason"])
            self._pictures.end(lost=False)
        elif kind == Error.type:
            logger.warning("%s", message["reason"])

    async def _steer(self, path: str) -> None:
        said = self._connection.hear
        await self._steering.run(self._address, path, self._pictures.notify, said)
        self._lost()  # does nothing if it was the call's end that closed it

    # Frames.

    def _track(self, track: MediaStreamTrack) -> None:
        self._connection.start(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        """Take every frame out of aiortc's queue, which has no bound, as soon as it is there."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, VideoFrame)
                self._connection.sign_of_life()
                self._pictures.put(frame)
        self._lost()


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
