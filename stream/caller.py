"""A caller's connection: pictures of the camera and sound in, words about them out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from stream import audio_negotiation, control
from stream.audio_relay import AudioRelay
from stream.camera import Camera
from stream.messages import Error
from stream.peer import Peer
from stream.settings import Settings


class CallerPeer(Peer):
    """The connection of a caller.

    Args:
        settings: ICE servers and times.
        camera: is given each frame.
        ended: called once when the connection is lost, with a reason.
        connected: called when media can flow.
        ready: called when `control` can be used.
        retake: called when the caller wants a new portrait, with whether they still do.
        audio: is given the caller's voice; None leaves it out.
    """

    def __init__(
        self,
        settings: Settings,
        camera: Camera,
        ended: Callable[[str], Awaitable[None]],
        connected: Callable[[], None],
        ready: Callable[[], None],
        retake: Callable[[bool], None],
        audio: AudioRelay | None = None,
    ) -> None:
        super().__init__(settings, ended)
        self._camera = camera
        self._ready = ready
        self._has_connected = connected
        self._retake = retake
        self._audio = audio if settings.audio else None
        self._filming: MediaStreamTrack | None = None
        self.connection.on("track", self._track_opened)

    def _negotiate(self) -> None:
        audio_negotiation.hear(self.connection, self._audio.put if self._audio else None)

    def _connected(self) -> None:
        self._has_connected()

    def _control_opened(self) -> None:
        self._ready()

    def _controlled(self, message: control.Control) -> None:
        if isinstance(message, control.Retake | control.Keep):
            self._retake(isinstance(message, control.Retake))
        else:
            self.send(Error("bad_message", "Only receivers can turn refining on or off."))

    def _track_opened(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            self.start(self._watch_camera(track))

    async def _watch_camera(self, track: MediaStreamTrack) -> None:
        """Take each frame as soon as it is there: aiortc queues them without end.

        Of several tracks, such as a camera and a screen, the first that sends anything is the
        camera: an avatar cannot follow two pictures by turns.
        """
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                break
            self._filming = self._filming or track
            if isinstance(frame, VideoFrame) and track is self._filming:
                self._camera.put(frame, time.monotonic())
        if track is self._filming:
            self._filming = None
