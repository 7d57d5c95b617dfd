"""A caller's camera over a bad network: what the server decodes is what was sent, or nothing."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from stream import patches
from stream.patches import host_addresses, lost_packets
from tests.stream.peers import until
from tests.stream.udp_relay import BLACK, CLEAR, UdpRelay, Way, without_candidates

patches.apply()

HEIGHT, WIDTH = 240, 320
FPS = 20
BITS = 12
"""Digits of the frame's number, as light and dark blocks along the upper edge."""

BLOCK = 16
SECONDS = 6.0

Luma = NDArray[np.uint8]


def drawn(number: int) -> Luma:
    """The camera's picture with a number: blocks of the number over a texture that moves. [H, W]"""
    random = np.random.default_rng(7)
    texture = random.integers(70, 180, (HEIGHT // 8, WIDTH // 8)).repeat(8, 0).repeat(8, 1)
    picture = np.roll(texture, (number * 3, number * 5), (0, 1)).astype(np.uint8)
    for bit in range(BITS):
        picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 230 if number >> bit & 1 else 20
    return picture


def number_of(picture: Luma) -> int:
    means = [picture[4:12, bit * BLOCK + 4 : bit * BLOCK + 12].mean() for bit in range(BITS)]
    return sum((mean > 125) << bit for bit, mean in enumerate(means))


class Numbered(MediaStreamTrack):
    """A camera whose pictures can be told apart."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / FPS)
        self.number += 1
        frame = VideoFrame.from_ndarray(drawn(self.number), format="gray").reformat(
            format="yuv420p"
        )
        frame.pts, frame.time_base = self.number * 90_000 // FPS, Fraction(1, 90_000)
        return frame


class Path:
    """A camera, a bad network, and what comes out of the decoder behind it."""

    def __init__(self) -> None:
        self.relay = UdpRelay(seed=3)
        self.camera = Numbered()
        self.sender = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.receiver = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures: list[tuple[float, Luma]] = []
        self._reading: asyncio.Task[None] | None = None

    async def open(self, codec: str) -> None:
        transceiver = self.sender.addTransceiver(self.camera, direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences(
            [c for c in known if c.mimeType.lower() in (f"video/{codec}", "video/rtx")]
        )
        self.receiver.on("track", self._begin)
        with host_addresses.chosen_by(host_addresses.loopback_only):
            await self.sender.setLocalDescription(await self.sender.createOffer())
            offer = without_candidates(self.sender.localDescription.sdp)
            await self.receiver.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await self.receiver.setLocalDescription(await self.receiver.createAnswer())
        answer = await self.relay.rewrite(self.receiver.localDescription.sdp)
        await self.sender.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await until(lambda: len(self.pictures) > 5, "pictures")

    @property
    def buffer(self) -> Any:
        (transceiver,) = self.receiver.getTransceivers()
        return getattr(transceiver.receiver, lost_packets.BUFFER).buffer

    def _begin(self, track: MediaStreamTrack) -> None:
        self._reading = asyncio.ensure_future(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, VideoFrame)
            self.pictures.append((time.monotonic(), frame.to_ndarray(format="gray")))

    async def close(self) -> None:
        await self.sender.close()
        await self.receiver.close()
        self.relay.close()
        if self._reading is not None:
            await self._reading


@pytest.fixture
async def path() -> Any:
    asyncio.get_running_loop().set_debug(False)
    path = Path()
    yield path
    await path.close()


def errors(pictures: list[tuple[float, Luma]]) -> list[float]:
    """Mean difference of each picture from the one that was sent, in steps of 255."""
    return [
        float(np.abs(picture[BLOCK:].astype(int) - drawn(number_of(picture))[BLOCK:]).mean())
        for _, picture in pictures
    ]


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_no_garbage_comes_out_of_a_lossy_path(
    path: Path, codec: str, record_property: pytest.RecordProperty
) -> None:
    await path.open(codec)
    await asyncio.sleep(2)  # the encoder has settled
    path.relay.set(Way(loss=0.10, delay=0.02, jitter=0.005))
    begun, sent = len(path.pictures), path.camera.number
    await asyncio.sleep(SECONDS)
    seen, sent = path.pictures[begun:], path.camera.number - sent
    numbers = [number_of(picture) for _, picture in seen]
    assert numbers == sorted(set(numbers)), "a picture came twice, or too late"
    assert max(errors(seen)) < 25, "a picture is not the one that was sent"
    assert len(seen) > 0.7 * sent
    assert path.relay.up.counts.lost > 10 and path.buffer.asked > 10
    gaps = np.diff([when for when, _ in seen])
    record_property("longest gap, ms", round(float(gaps.max()) * 1e3))


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_a_blackout_ends_with_a_key_frame(
    path: Path, codec: str, record_property: pytest.RecordProperty
) -> None:
    await path.open(codec)
    await asyncio.sleep(2)
    path.relay.set(BLACK)
    await asyncio.sleep(2)
    before = len(path.pictures)
    path.relay.set(CLEAR)
    ended = time.monotonic()
    await until(lambda: len(path.pictures) > before, "a picture after the blackout")
    first = path.pictures[before][0] - ended
    await asyncio.sleep(1)
    assert max(errors(path.pictures[before:])) < 25
    newest = number_of(path.pictures[-1][1])
    assert path.camera.number - newest < FPS, "what comes is not new"
    record_property("first picture after the blackout, ms", round(first * 1e3))
    assert first < 3.0
