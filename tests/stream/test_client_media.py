"""What a program gives to a call of its own: pictures and sound, as a server gets them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from fractions import Fraction

import numpy as np
import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from models.engine import FrameCheck
from stream.client import (
    SourceError,
    call,
)
from stream.client_camera import CameraTrack, sent_size
from stream.client_news import News
from stream.client_sound import BLOCK, RATE, SoundTrack
from tests.stream.bar_engine import BarEngine
from tests.stream.conftest import Start
from tests.stream.own_calls import FIT, opened, wall
from tests.stream.peers import PATIENCE, until


class Looking(BarEngine):
    """Keeps the newest picture [H, W, 3] that it is shown, and finds none fit."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = np.zeros((1, 1, 3), np.uint8)

    def check_frame(self, picture: np.ndarray) -> FrameCheck:
        self.seen = picture
        return FrameCheck(fit=False, code="dark", reason="More light.", yaw=0.0, pitch=0.0)

    def sees(self, colour: tuple[int, int, int]) -> bool:
        return bool(abs(self.seen.mean(axis=(0, 1)) - colour).max() < 8)


async def test_the_colours_are_those_that_were_given(start: Start) -> None:
    engine = Looking()
    server = await start(engine)
    colours = [(200, 60, 40), (30, 160, 220)]
    given: object = wall(colours[0])
    async with opened(server, lambda: given):
        for colour in colours:
            given = wall(colour)
            await until(lambda colour=colour: engine.sees(colour), f"the colour {colour}")
        # A movie may mean other colours by the same numbers.
        given = VideoReformatter().reformat(
            VideoFrame.from_ndarray(wall(colours[0]), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.JPEG,
        )
        await until(lambda: engine.sees(colours[0]), "the colour of a movie")


class FastTrack(MediaStreamTrack):
    """A track of 100 pictures a second, which get brighter until they stay as they are."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    async def recv(self) -> VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(0.01)
        self.number += 1
        frame = VideoFrame.from_ndarray(wall(min(self.number, 200)), format="rgb24")
        frame.pts, frame.time_base = self.number, Fraction(1, 100)
        return frame


async def test_of_a_track_the_newest_picture_is_sent(start: Start) -> None:
    engine = Looking()
    server = await start(engine)
    track = FastTrack()
    async with opened(server, track, fps=5) as own:
        await until(lambda: track.number > 200, "the end of getting brighter")
        sent = server.calls[own.call].camera.count
        # At one picture in twenty, a queue would take the server through all shades before this.
        await until(lambda: engine.sees((200, 200, 200)), "the newest picture")
        assert server.calls[own.call].camera.count - sent < 20
    assert track.readyState == "ended"


async def test_odd_and_large_pictures_are_made_to_fit(start: Start) -> None:
    engine = Looking()
    server = await start(engine)
    picture = wall(FIT, 121, 163)
    async with opened(server, lambda: picture):
        await until(lambda: engine.seen.shape == (120, 162, 3), "a picture")
        picture = wall((200, 60, 40), 1500, 2000)
        await until(lambda: engine.seen.shape == (830, 1108, 3), "the large picture")
        await until(lambda: engine.sees((200, 60, 40)), "its colour")


def test_sizes() -> None:
    assert sent_size(640, 480) == (640, 480)
    assert sent_size(641, 481) == (640, 480)
    assert sent_size(3840, 2160) == (1280, 720)
    assert sent_size(16, 100_000)[0] == 16


async def test_what_cannot_give_pictures_or_sound() -> None:
    server = "http://127.0.0.1:1"
    for pictures, options in (
        ([wall(FIT)], {}),
        (Voice(), {}),
        (lambda: wall(FIT), {"fps": 0}),
        (lambda: wall(FIT), {"fps": 31}),
        (lambda: wall(FIT), {"bitrate": 1}),
        (lambda: wall(FIT), {"audio": 7}),
        (lambda: wall(FIT), {"audio": FastTrack()}),
    ):
        with pytest.raises(SourceError) as caught:
            async with call(server, pictures, **options):
                pass
        assert "\n" not in caught.value.reason


# Sound.


class Voice(MediaStreamTrack):
    """A track of silence."""

    kind = "audio"

    async def recv(self) -> AudioFrame | Packet:
        await asyncio.sleep(0.02)
        raise MediaStreamError


def tone(seconds: float) -> np.ndarray:
    """440 Hz. [N]"""
    times = np.arange(round(seconds * RATE)) / RATE
    return (12_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)


async def test_sound_is_heard_by_receivers(start: Start) -> None:
    server = await start()

    async def sound() -> AsyncIterator[np.ndarray]:
        while True:
            yield tone(0.3)

    async with opened(server, lambda: wall(FIT), audio=sound()) as own:
        await own.ready(PATIENCE)
        receiver = await server.receiver(own.call)
        section = receiver.connection.addTransceiver("audio", direction="recvonly")
        receiver.connection.remove_all_listeners("track")  # which takes all tracks for video
        await receiver.connect()
        heard = np.zeros(0)
        async with asyncio.timeout(PATIENCE):
            while len(heard) < RATE // 2 or abs(heard).max() < 1000:
                frame = await section.receiver.track.recv()
                assert isinstance(frame, AudioFrame)
                heard = np.append(heard, frame.to_ndarray().reshape(-1, 2)[:, 0])[-RATE:]
        spectrum = abs(np.fft.rfft(heard))
        loudest = np.fft.rfftfreq(len(heard), 1 / RATE)[spectrum.argmax()]
        assert loudest == pytest.approx(440, abs=10)


async def blocks(*pieces: object) -> AsyncIterator[object]:
    for piece in pieces:
        yield piece


async def test_samples_are_sent_in_blocks_of_20_ms() -> None:
    samples = np.arange(2 * 2500, dtype=np.int16).reshape(-1, 2)
    track = SoundTrack(blocks(samples[:100], samples[100:2000], samples[2000:]), News())
    sent = []
    with contextlib.suppress(MediaStreamError):
        while True:
            frame = await track.recv()
            assert (frame.samples, frame.sample_rate) == (BLOCK, RATE)
            sent.append(frame.to_ndarray().reshape(-1, 2))
    whole = np.concatenate(sent)
    assert len(sent) == 3
    assert (whole[:2500] == samples).all() and not whole[2500:].any()
    assert track.source.over and track.source.failure is None


async def test_a_pause_of_the_sound_is_a_gap_and_no_burst() -> None:
    async def hesitant() -> AsyncIterator[np.ndarray]:
        yield np.zeros(BLOCK, np.int16)
        await asyncio.sleep(0.5)
        yield np.zeros(BLOCK, np.int16)

    track = SoundTrack(hesitant(), News())
    first, second = await track.recv(), await track.recv()
    assert first.pts == 0 and second.pts >= 0.45 * RATE


@pytest.mark.parametrize(
    "given", [np.zeros(960, np.float32), np.zeros((2, 960), np.int16), "la la la"]
)
async def test_what_is_no_sound_is_said_in_one_line(given: object) -> None:
    track = SoundTrack(blocks(given), News())
    with pytest.raises(MediaStreamError):
        await track.recv()
    assert isinstance(track.source.failure, SourceError)
    assert "int16 at 48 kHz" in track.source.failure.reason


async def test_a_server_without_sound_takes_the_pictures(start: Start) -> None:
    server = await start(audio=False)
    async with opened(server, lambda: wall(FIT), audio=blocks(tone(1))) as own:
        await own.ready(PATIENCE)


# The track by itself.


async def test_a_function_is_called_in_a_thread() -> None:
    threads = []

    def picture() -> np.ndarray | None:
        threads.append(threading.current_thread())
        return wall(FIT) if len(threads) == 3 else None  # None: there is none yet

    track = CameraTrack(picture, 30.0, 500_000, News())
    async with asyncio.timeout(PATIENCE):
        frame = await track.recv()
    await track.close()
    assert (frame.width, frame.height, frame.format.name) == (160, 120, "yuv420p")
    assert len(threads) == 3 and threading.main_thread() not in threads


async def test_h264_is_what_is_sent(start: Start) -> None:
    server = await start()
    async with opened(server, lambda: wall(FIT)) as own:
        await own.ready(PATIENCE)
        caller = server.calls[own.call].caller
        assert caller is not None
        connection: RTCPeerConnection = caller.connection
        video = connection.localDescription.sdp.partition("m=video")[2]
        first = video.split()[2]
        assert f"a=rtpmap:{first} H264/90000" in video
        assert own._camera.figures.codec == "H264"  # by the server's encoder, not by aiortc's
        await until(lambda: own._camera.figures.frames > 5, "frames")


async def test_the_programs_own_frame_is_left_as_it_is() -> None:
    frame = VideoFrame.from_ndarray(np.full((180, 160), FIT, np.uint8), format="yuv420p")
    frame.pts = 7
    frame.colorspace, frame.color_range = 6, ColorRange.MPEG  # BT.601: nothing is to be done
    track = CameraTrack(lambda: frame, 30.0, 500_000, News())
    async with asyncio.timeout(PATIENCE):
        sent = await track.recv()
    await track.close()
    assert sent is not frame and frame.pts == 7
    assert (sent.to_ndarray() == frame.to_ndarray()).all()
