"""Packets such as OpenTrack sends steer a view."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from pathlib import Path

import av
import cv2
import pytest

from examples import opentrack
from examples.opentrack import Mapping, Pose, main, parse, steer, tracking
from models.errors import VisavisError
from models.viewpoint import Viewpoint
from tests.stream.bar_engine import bar_yaw
from tests.stream.conftest import Running, Start, start  # noqa: F401
from tests.stream.peers import PATIENCE, until


def packet(*values: float) -> bytes:
    return struct.pack("<6d", *values)


def test_packets() -> None:
    assert Pose.read(packet(1, 2, 3, 4, 5, 6)) == Pose(1, 2, 3, 4, 5, 6)
    for bad in (b"", b"hello", packet(1, 2, 3, 4, 5, 6) + b"\0", packet(1, 2, 3, 4, 5, 6)[:-1]):
        assert Pose.read(bad) is None
    for value in (math.nan, math.inf, -math.inf):
        assert Pose.read(packet(0, 0, 0, value, 0, 0)) is None


def test_a_head_that_moves_looks_through_a_window() -> None:
    mapping = Mapping(distance=0.6)
    assert mapping.viewpoint(Pose()) == Viewpoint(eye=(0.0, 0.0, -0.6))
    assert mapping.viewpoint(Pose(x=10, y=5, z=20)).eye == pytest.approx((0.1, -0.05, -0.8))
    flipped = Mapping(distance=0.6, flip="xz", gain=2.0).viewpoint(Pose(x=5, y=5, z=5))
    assert flipped.eye == pytest.approx((-0.1, -0.1, -0.5))
    assert mapping.viewpoint(Pose(z=-500)).eye == (0.0, 0.0, -0.3)
    assert mapping.viewpoint(Pose(x=1e300, y=-1e300, z=1e300)).eye is not None


def test_a_head_that_turns_goes_around() -> None:
    mapping = Mapping(by="rotation", gain=2.0)
    assert mapping.viewpoint(Pose(yaw=10, pitch=-5, roll=3)) == Viewpoint(20.0, -10.0, 1.0, 6.0)
    assert mapping.viewpoint(Pose(yaw=500)).yaw == 60.0


async def test_bad_packets_are_counted_and_passed_over() -> None:
    poses: list[Pose] = []
    async with tracking("127.0.0.1", 0, poses.append) as (tracker, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for data in (b"", b"nonsense", packet(*[math.nan] * 6), packet(1, 0, 0, 0, 0, 0)):
                sender.sendto(data, ("127.0.0.1", port))
        await until(lambda: tracker.poses == 1 and tracker.ignored == 3, "the packets")
        with pytest.raises(VisavisError, match=f"UDP port {port}: .*in use. Choose another"):
            async with tracking("127.0.0.1", port, poses.append):
                pass
    assert poses == [Pose(x=1)]


class Head:
    """OpenTrack, steering a view of a server in the background."""

    def __init__(self, server: Running, call: str, *words: str) -> None:
        options = parse([f"http://127.0.0.1:{server.port}", call, "--port", "0", *words])
        self.stop = asyncio.Event()
        self.port = 0
        self.task = asyncio.create_task(steer(options, self.stop, self._listening))

    def _listening(self, port: int) -> None:
        self.port = port

    async def move(self, *values: float) -> None:
        await until(lambda: self.port or self.task.done(), "the port")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(packet(*values), ("127.0.0.1", self.port))

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(PATIENCE):
            await self.task


def seen(server: Running) -> list[Viewpoint]:
    return [request.viewpoint for request in list(server.engine.rendered)]


async def test_a_head_steers_and_is_recorded(
    start: Start,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = await start()
    call = server.ready()
    output = tmp_path / "seen.mp4"
    head = Head(server, call, "--by", "rotation", "--record", str(output))
    for yaw in (30.0, -45.0):
        await head.move(0, 0, 0, yaw, 0, 0)
        await until(lambda yaw=yaw: Viewpoint(yaw=yaw) in seen(server), "the view")
        await asyncio.sleep(0.3)  # for the movie
    await until(lambda: "poses per second" in capsys.readouterr().out, "the figures")
    await head.end()
    assert not server.calls[call].receivers
    with av.open(str(output)) as movie:
        yaws = [bar_yaw(frame.to_ndarray(format="gray")) for frame in movie.decode(video=0)]
    assert any(abs(yaw - 30) < 2 for yaw in yaws)
    assert yaws[-1] == pytest.approx(-45, abs=2)


async def test_the_position_of_a_head_is_the_eye(start: Start) -> None:  # noqa: F811
    server = await start()
    head = Head(server, server.ready())
    await head.move(10, 5, 20, 0, 0, 0)
    wanted = Mapping().viewpoint(Pose(x=10, y=5, z=20))
    await until(lambda: wanted in seen(server), "the eye")
    await head.end()


async def test_the_end_of_the_call_is_said(
    start: Start,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = await start()
    call = server.ready()
    head = Head(server, call)
    await until(lambda: head.port, "the port")
    await server.calls[call].end("The caller has hung up.")
    async with asyncio.timeout(PATIENCE):
        await head.task
    assert "The call has ended. The caller has hung up." in capsys.readouterr().out


async def test_a_window_shows_the_frames(
    start: Start,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shapes.append(picture.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda _: opentrack.ESCAPE if len(shapes) > 2 else -1)
    server = await start()
    async with asyncio.timeout(2 * PATIENCE):
        await Head(server, server.ready(), "--show").task
    assert set(shapes) == {(256, 256, 3)}


def test_no_window_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("The function is not implemented.\nRebuild the library")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    assert main(["http://127.0.0.1:1", "demo", "--show"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "cannot open a window" in errors


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["http://x", "y", "--flip", "w"], ["http://x", "y", "--port", "70000"]):
        assert main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["nowhere", "demo"]) == 2
    assert "is no address of a server" in capsys.readouterr().err
