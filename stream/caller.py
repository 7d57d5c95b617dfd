"""A caller: the newest camera picture in, words about it out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from stream import control
from stream.mailbox import Mailbox
from stream.messages import Error
from stream.peer import Peer
from stream.settings import Settings


class CallerPeer(Peer):
    """The connection of a caller.

    Args:
        settings: ICE servers and times.
        ended: called once when the connection is lost, with a reason.
        ready: called when `control` can be used.
        retake: called when the caller wants a new portrait.
    """

    def __init__(
        self,
        settings: Settings,
        ended: Callable[[str], Awaitable[None]],
        ready: Callable[[], None],
        retake: Callable[[], None],
    ) -> None:
        super().__init__(settings, ended)
        self._ready = ready
        self._retake = retake
        self._camera: Mailbox[VideoFrame] = Mailbox()
        self._arrived = asyncio.Event()
        self.connection.on("track", self._track_opened)

    async def picture(self, timeout: float) -> VideoFrame | None:
        """The newest camera frame that was not taken yet; None if none comes in time."""
        try:
            async with asyncio.timeout(timeout):
                while (frame := self._camera.take()) is None:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return None
        return frame

    def _control_opened(self) -> None:
        self._ready()

    def _controlled(self, message: control.Control) -> None:
        if isinstance(message, control.Retake):
            self._retake()
        else:
            self.send(Error("bad_message", "Only receivers can turn refining on or off."))

    def _track_opened(self, track: MediaStreamTrack) -> None:
        self.start(self._watch_camera(track))

    async def _watch_camera(self, track: MediaStreamTrack) -> None:
        """Keep the newest frame. aiortc queues frames without end, so all must be taken."""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, VideoFrame):
                self._camera.put(frame)
                self._arrived.set()
