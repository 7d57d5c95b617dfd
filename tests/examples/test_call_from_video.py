"""A movie in place of a camera: it plays in time, and a call is made of it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from examples.call_from_video import line, main, parse, present
from examples.clip import RATE, Clip, ClipError
from models.errors import VisavisError
from stream.audio_relay import AudioRelay
from stream.client import OwnCall, Told
from stream.client_camera import CameraTrack
from stream.client_news import News
from stream.messages import Member
from stream.patches.encoded_audio import EncodedAudio
from tests.stream.conftest import Running, Start, start  # noqa: F401
from tests.stream.peers import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
FIT, UNFIT = 180, 20


def url(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


def movie(
    path: Path, brightness: Callable[[int], int], frames: int, fps: int = 20, sound: bool = False
) -> str:
    """Write a movie of a wall, 160 x 120; the sound is a tone of 440 Hz at half the loudness."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for index in range(frames):
            picture = np.full((120, 160, 3), brightness(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            times = np.arange(frames * RATE // fps) / RATE
            tone = (16_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.pts, frame.sample_rate, frame.time_base = 0, RATE, Fraction(1, RATE)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return str(path)


def shade(frame: av.VideoFrame) -> float:
    return float(frame.to_ndarray(format="rgb24").mean())


async def test_the_pictures_come_in_time(tmp_path: Path) -> None:
    clip = Clip(movie(tmp_path / "a.mp4", lambda index: 20 + 10 * index, 10))
    assert not clip.still and not clip.audible
    shades, begun = [], time.monotonic()
    async for frame in clip.pictures():
        shades.append(shade(frame))
    assert time.monotonic() - begun >= 9 / 20
    assert shades == sorted(shades) and shades[-1] == pytest.approx(110, abs=4)


async def test_who_asks_late_gets_the_picture_of_that_moment(tmp_path: Path) -> None:
    clip = Clip(movie(tmp_path / "a.mp4", lambda index: 20 + 4 * index, 40))
    pictures = clip.pictures()
    await anext(pictures)
    await asyncio.sleep(0.6)  # of 2 s
    await anext(pictures)  # what was decoded ahead
    assert shade(await anext(pictures)) > 20 + 4 * 10
    await pictures.aclose()


async def test_a_looped_movie_goes_on_in_time(tmp_path: Path) -> None:
    clip = Clip(movie(tmp_path / "a.mp4", lambda index: 40 if index < 5 else 200, 10), loop=True)
    shades, begun = [], time.monotonic()
    async with asyncio.timeout(PATIENCE):
        async for frame in clip.pictures():
            shades.append(shade(frame) > 120)
            if time.monotonic() - begun > 1.8:
                break
    changes = sum(a != b for a, b in zip(shades, shades[1:], strict=False))
    assert 5 <= changes <= 8  # one each quarter of a second
    assert len(shades) <= 1.8 * 20 + 3


async def listen(clip: Clip, seconds: float) -> np.ndarray:
    """The sound, asked for in real time. [N]"""
    heard, begun = np.zeros(0), time.monotonic()
    async for samples in clip.sound():
        assert samples.dtype == np.int16 and samples.shape[1] == 2
        heard = np.append(heard, samples[:, 0])
        await asyncio.sleep(begun + len(heard) / RATE - time.monotonic())
        if len(heard) > seconds * RATE:
            break
    return heard


async def test_the_sound_of_a_movie(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.mp4", lambda _: FIT, 10, sound=True)
    heard = await listen(Clip(path), 5)
    assert len(heard) == pytest.approx(RATE / 2, abs=0.1 * RATE)
    spectrum = abs(np.fft.rfft(heard))
    assert np.fft.rfftfreq(len(heard), 1 / RATE)[spectrum.argmax()] == pytest.approx(440, abs=10)
    again = await listen(Clip(path, loop=True), 1.2)
    assert len(again) > 1.2 * RATE and abs(again[-RATE // 10 :]).max() > 10_000


async def test_sound_that_is_asked_for_late_is_that_of_the_moment(tmp_path: Path) -> None:
    clip = Clip(movie(tmp_path / "a.mp4", lambda _: FIT, 20, sound=True))
    pictures, sound = clip.pictures(), clip.sound()
    await anext(pictures)
    await asyncio.sleep(0.6)  # of 1 s
    rest = sum([len(samples) async for samples in sound])
    assert 0 < rest <= 0.6 * RATE
    await pictures.aclose()


async def test_a_still_picture_never_ends(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.full((120, 160, 3), FIT, np.uint8))
        clip = Clip(tmp_path / name)
        assert clip.still and not clip.audible
        pictures = clip.pictures()
        assert {round(shade(await anext(pictures))) for _ in range(5)} == {FIT}
        await pictures.aclose()


async def test_a_movie_that_lies_on_its_side_is_sent_upright(tmp_path: Path) -> None:
    # The left half is light; turned by the movie's own word, that is the lower half.
    picture = np.full((120, 160, 3), 40, np.uint8)
    picture[:, :80] = 200
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    turned(path, 90)
    track = CameraTrack(Clip(path).pictures(), 30.0, 500_000, News())
    async with asyncio.timeout(PATIENCE):
        frame = await track.recv()
    await track.close()
    grey = frame.to_ndarray(format="gray")
    assert grey.shape == (160, 120)
    assert grey[:80].mean() < 80 and grey[80:].mean() > 160


def turned(path: Path, degrees: int) -> None:
    """Have a movie of MP4 say that it is to be shown turned to the left."""
    assert degrees == 90
    data = path.read_bytes()
    # The matrix of the track's header, 16.16 fixed point but for the last column (ISO 14496-12).
    unit = bytes.fromhex(
        "00010000000000000000000000000000000100000000000000000000000000004000 0000"
    )
    left = bytes.fromhex("00000000ffff000000000000000100000000000000000000000000000000000040000000")
    header = data.index(b"tkhd")
    place = data.index(unit, header)
    path.write_bytes(data[:place] + left + data[place + len(unit) :])


def test_files_that_cannot_be_played(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("This is no movie. " * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), "s16", "mono")
        frame.sample_rate = RATE
        container.mux(audio.encode(frame))
    for name, why in (
        ("text.mp4", "invalid data"),
        ("empty.mp4", "Cannot play"),
        ("nothing.mp4", "no such file"),
        (".", "Cannot play"),
        ("sound.wav", "has no pictures"),
    ):
        with pytest.raises(ClipError, match=why) as caught:
            Clip(tmp_path / name)
        assert caught.value.reason.endswith(".")


class Program:
    """The example, in the background."""

    def __init__(self, server: Running, *words: str) -> None:
        self.stop = asyncio.Event()
        self.own: OwnCall | None = None
        self.task = asyncio.create_task(
            present(parse([url(server), *words]), self.stop, self._opened)
        )

    def _opened(self, own: OwnCall) -> None:
        self.own = own

    async def live(self) -> OwnCall:
        await until(lambda: self.own or self.task.done(), "the call")
        if self.own is None:
            await self.task
        assert self.own is not None
        await self.own.ready(PATIENCE)
        return self.own

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.task


@pytest.fixture
def voices(monkeypatch: pytest.MonkeyPatch) -> list[EncodedAudio]:
    """The packets of sound that servers get."""
    packets: list[EncodedAudio] = []
    monkeypatch.setattr(AudioRelay, "put", lambda _, packet: packets.append(packet))
    return packets


async def test_a_movie_makes_a_call(
    start: Start,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    voices: list[EncodedAudio],
) -> None:
    server = await start()
    path = movie(tmp_path / "a.mp4", lambda index: FIT if index < 25 else UNFIT, 50, sound=True)
    program = Program(server, path, "--loop")
    own = await program.live()
    for state in ("held", "live", "held"):
        await until(lambda state=state: own.told.state == state, f"the state {state}")
    assert len(voices) > 50
    program.stop.set()
    await program.end()
    assert not server.calls
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"Look at the avatar: {own.link}",
        f"Join with a camera: {own.room_link}",
    ]
    said = "\n".join(lines[2:])
    order = [r"^framing: Hold still\.$", r"^live \[0 looking, 1 in the room"]
    order += [r"^held \(no_face\) \[.*\]: Please face the camera\.$", r"^live"]
    assert re.search(r"(.|\n)*".join(order), said, re.MULTILINE), said
    assert all(a != b for a, b in zip(lines, lines[1:], strict=False))


async def test_the_end_of_the_movie_ends_the_call(
    start: Start,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    voices: list[EncodedAudio],
) -> None:
    server = await start()
    path = movie(tmp_path / "a.mp4", lambda _: FIT, 40, sound=True)
    await Program(server, path, "--no-audio").end()
    assert not server.calls and "\nlive [" in capsys.readouterr().out
    assert voices == []
    dark = movie(tmp_path / "dark.mp4", lambda _: UNFIT, 30)
    with pytest.raises(VisavisError, match=r"No avatar came of .*dark.mp4. More light, please.$"):
        await Program(server, dark).end()


async def test_the_servers_end_of_the_call_is_said(
    start: Start,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = await start()
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.full((120, 160, 3), FIT, np.uint8))
    program = Program(server, str(picture))
    own = await program.live()
    await server.calls[own.call].end("The server is shutting down.")
    await program.end()
    assert capsys.readouterr().out.endswith("The call has ended. The server is shutting down.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_the_call_and_is_no_error(
    start: Start,  # noqa: F811
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    server = await start()
    path = movie(tmp_path / "a.mp4", lambda _: FIT, 20, sound=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.call_from_video", url(server), path, "--loop"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(3 * PATIENCE):
        while not (await process.stdout.readline()).startswith(b"live"):
            assert not process.stdout.at_eof()
        assert len(server.calls) == 1
        process.send_signal(number)
        _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert not server.calls


def test_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in ([], ["http://x"], ["http://x", "a.mp4", "--fps", "0"], ["http://x", "a", "b"]):
        assert main(words) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1 and "See: python -m examples.call_from_video" in errors
    assert main(["http://127.0.0.1:1", "nothing.mp4"]) == 2
    assert "no such file" in capsys.readouterr().err
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.full((120, 160, 3), FIT, np.uint8))
    for address, why in (("nowhere", "is no address"), ("http://127.0.0.1:1", "does not answer")):
        assert main([address, str(picture)]) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1 and why in errors


def test_what_the_server_has_told_in_one_line() -> None:
    assert line(Told()) == "framing"
    assert line(Told("framing", "dark", "More light, please.")) == (
        "framing (dark): More light, please."
    )
    live = Told("live", "ok", "", 2, (Member("a", "live"),), 15)
    assert line(live) == "live [2 looking, 1 in the room, up to 15 pictures per second of use]"
    assert line(Told("ended", "ended", "Goodbye.")) == "ended: Goodbye."
