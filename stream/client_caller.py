"""A call of one's own: pictures and sound of a program go out, and the server says what becomes of
them. See `stream.client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.mediastreams import MediaStreamTrack

from models.errors import VisavisError
from stream.client_camera import CameraTrack, Pictures
from stream.client_connection import (
    LOST,
    MEDIA_TIMEOUT,
    ClientConnection,
    ConnectionLost,
    retried,
)
from stream.client_http import Address, JoinError, quoted, read_room
from stream.client_news import News
from stream.client_sound import Sound, SoundTrack, sound_track
from stream.client_told import ENDED, Told
from stream.ice_servers import IceServer

FPS = 30.0

BITRATE = 1_500_000
"""Bits per second: 640 x 480 is then sharp to the eyelashes."""


class AvatarError(VisavisError):
    """No avatar came of the pictures."""

    default_code = "no_avatar"


@asynccontextmanager
async def call(
    url: str,
    pictures: Pictures,
    *,
    audio: Sound | None = None,
    fps: float = FPS,
    bitrate: int = BITRATE,
    wait: float = 0.0,
    ice_servers: Sequence[IceServer] = (),
) -> AsyncIterator[OwnCall]:
    """Open a call for the time of an `async with` block.

    Args:
        url: of the server, or the link of a room to sit down in.
        pictures: an async iterator, or a function without arguments, that gives RGB arrays
            [H, W, 3], uint8, or frames of PyAV; or a video track of aiortc. It is asked for a
            picture when one is due. A function is called in a thread; it may return None where
            there is nothing new, and raises StopIteration at the end. Of a track the newest frame
            is taken.
        audio: an async iterator that gives int16 samples at 48 kHz, mono [N] or stereo [N, 2]; or
            an audio track of aiortc.
        fps: pictures per second, up to 30. Fewer are asked for where the server has no use for as
            many.
        bitrate: bits per second of the pictures, at most.
        wait: seconds to go on trying where the server is full. Tries come when the server says
            (Retry-After).
        ice_servers: STUN and TURN servers to use in place of those that the server names.

    Iterators and tracks are closed at the end. What they raise comes out of the methods of
    `OwnCall` that wait, or at the end of the block.

    Raises:
        JoinError: the call cannot be opened.
        SourceError: what `pictures` or `audio` gives is no picture, or no sound.
    """
    address, room = read_room(url)
    news = News()
    async with AsyncExitStack() as stack:
        camera = CameraTrack(pictures, fps, bitrate, news)
        stack.push_async_callback(camera.close)
        sound = None
        if audio is not None:
            sound = sound_track(audio, news)
            # A track of the program's is only stopped.
            stack.push_async_callback(_close, sound)

        async def attempt() -> OwnCall:
            own = OwnCall(address, room, camera, sound, news, ice_servers)
            try:
                await own._open()
            except BaseException:
                await own.close()
                raise
            return own

        own = await retried(attempt, wait)
        stack.push_async_callback(own.close)
        yield own
        own._look_for_failure()


async def _close(track: MediaStreamTrack) -> None:
    if isinstance(track, SoundTrack):
        await track.close()
    else:
        track.stop()


class OwnCall:
    """A call of one's own; `call` makes it. Belongs to the event loop's thread.

    `call` is its name and `room` that of the room that it sits in, `told` what the server has said
    so far. `ended` is why the server has ended the call, None while it goes on.
    """

    def __init__(
        self,
        address: Address,
        room: str | None,
        camera: CameraTrack,
        sound: MediaStreamTrack | None,
        news: News,
        ice_servers: Sequence[IceServer],
    ) -> None:
        self.call = ""
        self.room = room or ""
        self.told = Told()
        self.ended: str | None = None
        self._address = address
        self._camera = camera
        self._sound = sound
        self._news = news
        self._fps = camera.rate
        self._is_lost = False
        self._closed = False
        self._connection = ClientConnection(address, ice_servers, self._said, news.tell, self._lost)

    @property
    def link(self) -> str:
        """Of the call: who opens it in a browser, or gives it to `join`, looks at the avatar."""
        return f"{self._address.url}/c/{quoted(self.call)}"

    @property
    def room_link(self) -> str:
        """The invitation to the room: who opens it in a browser may take part with a camera."""
        return f"{self._address.url}/r/{quoted(self.room)}"

    @property
    def round_trip(self) -> float | None:
        """Seconds of the last ping to the server and back; None before there is any."""
        return self._connection.round_trip

    async def changes(self) -> AsyncGenerator[Told, None]:
        """What the server has told, now and at each change. Whoever is slow misses some, and always
        gets the newest. Ends when the call does.

        Raises:
            ConnectionLost: the connection broke.
        """
        seen = None
        while True:
            self._look_for_trouble()
            if self.told != seen:
                seen = self.told
                yield seen
            elif self._over:
                return
            else:
                await self._news.wait()

    async def ready(self, timeout: float) -> None:
        """Wait until there is an avatar to look at.

        Args:
            timeout: seconds.

        Raises:
            AvatarError: there is none in time; the reason holds what the server says of the
                pictures.
            ConnectionLost: the connection broke, or the call ended.
        """
        try:
            async with asyncio.timeout(timeout) as limit:
                while not self.told.avatar:
                    self._look_for_trouble()
                    if self._over:
                        why = self.ended or "this program has closed it."
                        raise ConnectionLost(f"The call is over: {why}")
                    await self._news.wait()
        except TimeoutError:
            if not limit.expired():  # it is the program's own
                raise
            words = self.told.words or "The server has said nothing of the pictures."
            raise AvatarError(f"There is no avatar after {timeout:g} s. {words}") from None

    async def sent(self) -> None:
        """Wait until `pictures` has given its last one, or the call has ended.

        Raises:
            ConnectionLost: the connection broke.
        """
        while not self._camera.source.over and not self._over:
            self._look_for_trouble()
            await self._news.wait()
        self._look_for_trouble()

    async def close(self) -> None:
        """End the call for everybody and free everything; a second call does nothing."""
        self._closed = True
        self._news.tell()
        await self._connection.close(tell=self.ended is None)

    @property
    def _over(self) -> bool:
        return self._closed or self.ended is not None

    def _look_for_failure(self) -> None:
        """Raise what the program's pictures or sound have raised."""
        sources = [self._camera.source]
        if isinstance(self._sound, SoundTrack):
            sources.append(self._sound.source)
        for source in sources:
            if source.failure is not None:
                raise source.failure

    def _look_for_trouble(self) -> None:
        self._look_for_failure()
        if self._is_lost and not self._over:
            raise ConnectionLost(LOST)

    async def _open(self) -> None:
        """Open the call, and wait until the server can speak."""
        path = "/whip" + (f"?room={quoted(self.room)}" if self.room else "")
        try:
            headers = await self._connection.open(path, self._prepare)
        except JoinError as error:
            if error.code == "unknown_call":  # what an answer 404 is to who joins
                raise JoinError(error.reason, "unknown_room") from None
            raise
        if "visavis-call" not in headers or "visavis-room" not in headers:
            raise self._address.not_ours("its answer names no call")
        self.call, self.room = headers["visavis-call"], headers["visavis-room"]
        try:
            async with asyncio.timeout(MEDIA_TIMEOUT):
                while not self._connection.is_open and not self._is_lost and not self._over:
                    await self._news.wait()
        except TimeoutError:
            raise JoinError(
                f"The call was opened, but no connection came about within {MEDIA_TIMEOUT:.0f} s. "
                "Check that UDP passes between the server and here, or name a TURN server.",
                "no_connection",
            ) from None
        if self._is_lost or self._over:
            raise JoinError(f"The call could not be opened. {self.ended or LOST}")
        self._connection.keep_alive()

    def _prepare(self, peer: RTCPeerConnection) -> None:
        video = peer.addTransceiver(self._camera, direction="sendonly")
        # The server takes the first that it knows, and x264 needs less time than VP8.
        codecs = RTCRtpSender.getCapabilities("video").codecs
        codecs.sort(key=lambda codec: codec.mimeType != "video/H264")
        video.setCodecPreferences(codecs)
        if self._sound is not None:
            peer.addTransceiver(self._sound, direction="sendonly")

    def _said(self, message: dict[str, Any]) -> None:
        self.told = self.told.after(message)
        if self.told.state == ENDED:
            self.ended = self.ended or self.told.words
        if self.told.fps is not None:
            self._camera.rate = min(self._fps, max(1, self.told.fps))
        self._news.tell()

    def _lost(self) -> None:
        self._is_lost = True
        self._news.tell()
