"""The browser's side of a call, in Python: aiortc peers that speak WHIP and WHEP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from stream.patches import host_addresses

SDP = {"Content-Type": "application/sdp"}
PATIENCE = 20.0
"""Seconds after which something that was waited for counts as missing; loaded machines are slow."""


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what or condition}") from None


def unplug(client: Client) -> None:
    """From now on nothing that a peer sends arrives, as when its network is gone."""
    ice = client.control.transport.transport.transport._connection
    for pair in ice._nominated.values():
        pair.protocol.transport.sendto = lambda data, addr=None: None


class Camera(MediaStreamTrack):
    """A camera in front of a wall of settable brightness."""

    kind = "video"

    def __init__(self, brightness: int = 0) -> None:
        super().__init__()
        self.brightness = brightness
        self._pts = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / 15)
        picture = np.full((120, 160, 3), self.brightness, np.uint8)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        self._pts += 6000
        frame.pts, frame.time_base = self._pts, Fraction(1, 90000)
        return frame


class Client:
    """What both kinds of peers share.

    Args:
        http: speaks to the server.
        path: where the offer is posted.
        connection: an unused one; without ICE servers if not given.
    """

    protocol = ""
    """Of `control`."""

    def __init__(
        self, http: httpx.AsyncClient, path: str, connection: RTCPeerConnection | None = None
    ) -> None:
        self.http = http
        self.path = path
        self.connection = connection or RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.control = self.connection.createDataChannel("control", protocol=self.protocol)
        self.control.on("message", self._received)
        self.messages: list[dict[str, Any]] = []
        self.location = ""
        self.response: httpx.Response | None = None

    async def offer(self) -> str:
        offer = await self.connection.createOffer()
        with host_addresses.chosen_by(host_addresses.loopback_only):
            await self.connection.setLocalDescription(offer)
        return self.connection.localDescription.sdp

    async def connect(self) -> httpx.Response:
        """Post the offer and take the answer; wait for `control`."""
        response = await self.http.post(self.path, content=await self.offer(), headers=SDP)
        assert response.status_code == 201, response.text
        self.response = response
        self.location = response.headers["Location"]
        await self.connection.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        await until(lambda: self.control.readyState == "open", "the control channel")
        return response

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The messages of one type that came in so far."""
        return [message for message in self.messages if message["type"] == kind]

    def send(self, **message: Any) -> None:
        """Send on `control`."""
        self.control.send(json.dumps(message))

    async def hang_up(self) -> httpx.Response:
        response = await self.http.delete(self.location)
        await self.close()
        return response

    async def close(self) -> None:
        await self.connection.close()

    def _received(self, text: str) -> None:
        self.messages.append(json.loads(text))


class Caller(Client):
    """A caller with a camera."""

    def __init__(self, http: httpx.AsyncClient, brightness: int = 180, path: str = "/whip") -> None:
        super().__init__(http, path)
        self.camera = Camera(brightness)
        self.connection.addTrack(self.camera)

    async def go_live(self) -> str:
        """Connect and wait for the avatar; return the call's name."""
        await self.connect()
        await until(lambda: self.of_type("live"), "the avatar")
        call = self.of_type("live")[0]["call"]
        assert isinstance(call, str)
        return call

    def back(self) -> Caller:
        """The same caller once more, to come back with a new connection; not connected yet."""
        call, key = self.location.removeprefix("/whip/").split("?key=")
        path = f"/whip?resume={call}&key={key}"
        return Caller(self.http, self.camera.brightness, path)


class Receiver(Client):
    """A receiver that keeps the newest picture and the RTP timestamps of all.

    Args:
        http: speaks to the server.
        call: which call to join.
        codec: the only codec to offer, such as "video/VP8"; all if not given.
        connection: an unused one; without ICE servers if not given.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        call: str,
        codec: str | None = None,
        connection: RTCPeerConnection | None = None,
    ) -> None:
        super().__init__(http, f"/whep/{call}", connection)
        self.viewpoint: RTCDataChannel = self.connection.createDataChannel(
            "viewpoint", ordered=False, maxRetransmits=0
        )
        self.viewpoint.on("message", self._received)
        transceiver = self.connection.addTransceiver("video", direction="recvonly")
        if codec is not None:
            capabilities = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences(
                [c for c in capabilities if c.mimeType in (codec, "video/rtx")]
            )
        self.receiver = transceiver.receiver
        self.frames: list[tuple[int, np.ndarray[Any, np.dtype[np.uint8]]]] = []
        self.count = 0
        self.sequence = 0
        self._task: asyncio.Task[None] | None = None
        self.connection.on("track", self._track)

    async def watch(self) -> None:
        """Connect and wait for the first picture."""
        await self.connect()
        await until(lambda: self.count and self.viewpoint.readyState == "open", "the first picture")

    def aim(self, **viewpoint: Any) -> int:
        """Send a viewpoint; return its number."""
        self.sequence += 1
        self.viewpoint.send(json.dumps({"seq": self.sequence, **viewpoint}))
        return self.sequence

    @property
    def luma(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The newest picture [H, W]."""
        return self.frames[-1][1]

    async def close(self) -> None:
        await super().close()
        if self._task is not None:
            await self._task

    def _track(self, track: MediaStreamTrack) -> None:
        self._task = asyncio.ensure_future(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, VideoFrame) and frame.pts is not None
            picture = frame.to_ndarray(format="gray")
            self.frames.append((frame.pts, picture))
            self.count += 1
            del self.frames[:-200]
