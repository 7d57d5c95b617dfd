"""Look around in a live call by moving your head before a camera, with OpenTrack.

    python -m examples.opentrack http://127.0.0.1:8080 demo --show

In OpenTrack choose the output "UDP over network" and give it this machine's address and the port.
Without --show, which needs an OpenCV that has windows, frames per second are printed;
`--record FILE` writes what is seen to a movie. Ctrl-C ends, and keeps the movie.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from examples.command import number_from, parser_for, run, set_by_interrupts, whole_from
from examples.recording import EXTENSIONS, Movie, recording, refuse_existing
from models.errors import VisavisError
from models.viewpoint import Viewpoint
from stream.client import ReceivedFrame, View, join
from stream.output_file import output_file

PACKET = struct.Struct("<6d")
"""x, y, z in centimetres, yaw, pitch, roll in degrees: OpenTrack's "UDP over network"."""

BY = ("position", "rotation")
AXES = "xyz"
FPS = 30
ESCAPE = 27
TITLE = "Visavis"


FARTHEST = 1e6
"""Centimetres or degrees that no head comes to; what is not finite is beyond it too."""


@dataclass(frozen=True)
class Pose:
    """A head as OpenTrack tells it: centimetres (x right, y up, z away from the screen) from where
    it was centred, and degrees. Trackers differ in signs, and OpenTrack can invert each axis."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    @classmethod
    def read(cls, packet: bytes) -> Pose | None:
        """The pose in a packet; None if it is none."""
        if len(packet) != PACKET.size:
            return None
        values = PACKET.unpack(packet)
        return cls(*values) if all(abs(value) < FARTHEST for value in values) else None


@dataclass(frozen=True)
class Mapping:
    """From a head to a viewpoint.

    Args:
        by: "position" makes the screen a window that the head looks through from where it is;
            "rotation" moves around the person as the head turns.
        distance: metres from the screen to the head's centred position.
        gain: how many times the head's movement.
        flip: axes that count the other way round, such as "xz".
    """

    by: str = BY[0]
    distance: float = 0.6
    gain: float = 1.0
    flip: str = ""

    def viewpoint(self, pose: Pose) -> Viewpoint:
        """Where to look from; beyond the limits the nearest place."""
        x, y, z = (-self.gain if axis in self.flip else self.gain for axis in AXES)
        if self.by == "rotation":
            return Viewpoint(yaw=x * pose.yaw, pitch=y * pose.pitch, roll=z * pose.roll)
        away = self.distance + z * pose.z / 100
        # The head cannot be behind the screen, whatever a tracker says.
        return Viewpoint(eye=(x * pose.x / 100, -y * pose.y / 100, -max(away, 0.01)))


class Tracker(asyncio.DatagramProtocol):
    """Takes packets in. `poses` counts those that were good, `ignored` the others."""

    def __init__(self, moved: Callable[[Pose], object]) -> None:
        self.poses = 0
        self.ignored = 0
        self._moved = moved

    def datagram_received(self, data: bytes, addr: object) -> None:
        pose = Pose.read(data)
        if pose is None:
            self.ignored += 1
        else:
            self.poses += 1
            self._moved(pose)


@asynccontextmanager
async def tracking(
    host: str, port: int, moved: Callable[[Pose], object]
) -> AsyncIterator[tuple[Tracker, int]]:
    """Listen for OpenTrack for the time of the block.

    Args:
        host: address to listen on.
        port: UDP port; 0 takes a free one.
        moved: called with every pose.

    Yields:
        the tracker and its port.

    Raises:
        VisavisError: the port is taken, or the address is not this machine's.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, tracker = await loop.create_datagram_endpoint(
            lambda: Tracker(moved), local_addr=(host, port)
        )
    except (OSError, UnicodeError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise VisavisError(
            f"Cannot listen on {host} UDP port {port}: {why}. "
            "Choose another with --port or --host.",
            "port",
        ) from error
    try:
        yield tracker, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def watch(
    view: View,
    stop: asyncio.Event,
    shown: Sequence[Callable[[ReceivedFrame], None]],
    told: Callable[[int], None],
) -> None:
    """Hand on frames until the call ends or `stop` is set.

    Args:
        view: of the call.
        stop: ends it.
        shown: each is called with each frame.
        told: called about once a second with how many frames came meanwhile.
    """
    count = 0

    async def every_frame() -> None:
        nonlocal count
        async for frame in view.frames():
            count += 1
            for show in shown:
                show(frame)

    async def every_second() -> None:
        nonlocal count
        while True:
            await asyncio.sleep(1.0)
            told(count)
            count = 0

    tasks = [asyncio.ensure_future(work) for work in (every_frame(), every_second(), stop.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def window(stop: asyncio.Event) -> Callable[[ReceivedFrame], None]:
    """A window that shows frames; Escape sets `stop`.

    Raises:
        VisavisError: this OpenCV has no windows, or there is no screen.
    """
    try:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise VisavisError(
            "This OpenCV cannot open a window. Leave --show out, or install opencv-python in place "
            "of opencv-python-headless.",
            "no_window",
        ) from error

    def show(frame: ReceivedFrame) -> None:
        cv2.imshow(TITLE, np.ascontiguousarray(frame.rgb[:, :, ::-1]))
        if cv2.waitKey(1) == ESCAPE:
            stop.set()

    return show


@asynccontextmanager
async def recorder(
    view: View, output: str | None, force: bool
) -> AsyncIterator[list[Callable[[ReceivedFrame], None]]]:
    """What has to be shown the frames so that they get into a movie; nothing without `output`.

    Raises:
        OutputError: the movie cannot be written.
    """
    if output is None:
        yield []
        return
    now = asyncio.get_running_loop().time
    refuse_existing(output, force)
    with output_file(output, EXTENSIONS) as file:
        size = (await view.snapshot(Viewpoint())).video.width
        async with recording(file, output, size, FPS) as movie:
            start = now()
            yield [lambda frame: _put(movie, int((now() - start) * FPS), frame, size)]
            movie.end(max(1, int((now() - start) * FPS)))


def _put(movie: Movie, place: int, frame: ReceivedFrame, size: int) -> None:
    movie.put(place, frame.i420(size))


async def steer(
    options: argparse.Namespace, stop: asyncio.Event, listening: Callable[[int], None] | None = None
) -> None:
    """Join the call and follow the head.

    Args:
        options: of the command line.
        stop: ends it.
        listening: called with the port when packets can come.

    Raises:
        VisavisError: what is wrong, in one line.
    """
    mapping = Mapping(options.by, options.distance, options.gain, options.flip)
    if options.record is not None:
        refuse_existing(options.record, options.force)
    shown = [window(stop)] if options.show else []
    async with (
        join(options.url, options.call, wait=options.wait) as view,
        tracking(options.host, options.port, lambda pose: view.look(mapping.viewpoint(pose))) as (
            tracker,
            port,
        ),
        recorder(view, options.record, options.force) as recorders,
    ):
        poses = 0

        def told(frames: int) -> None:
            nonlocal poses
            new, poses = tracker.poses - poses, tracker.poses
            words = f"{frames} frames and {new} poses per second"
            if not poses:
                words = f"{frames} frames per second, no pose yet on {options.host}:{port}"
            if tracker.ignored:
                words += f", {tracker.ignored} packets ignored"
            print(words, flush=True)

        if listening is not None:
            listening(port)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.seconds):
                await watch(view, stop, [*shown, *recorders], told)
        if view.ended is not None:
            print(f"The call has ended. {view.ended}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run("opentrack", lambda: _main(arguments))


async def _main(arguments: Sequence[str] | None) -> None:
    options = parse(arguments)
    stop = asyncio.Event()

    def listening(_: int) -> None:
        set_by_interrupts(stop)

    await steer(options, stop, listening)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UsageError: it cannot be understood.
    """
    parser = parser_for("opentrack", "Look around in a live call by moving your head.")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 where OpenTrack runs elsewhere (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port", type=whole_from(0, 65535), default=4242, help="UDP (default: 4242)"
    )
    parser.add_argument(
        "--by", choices=BY, default=BY[0], help="of the head, that steers (default: position)"
    )
    parser.add_argument(
        "--distance",
        type=number_from(0.3, 3),
        default=0.6,
        metavar="METRES",
        help="from the screen to the head (default: 0.6)",
    )
    parser.add_argument(
        "--gain", type=number_from(0.1, 10), default=1.0, help="of the movement (default: 1)"
    )
    parser.add_argument(
        "--flip",
        type=_axes,
        default="",
        metavar="AXES",
        help="that count the other way round, such as xz; of rotations yaw is x, pitch y, roll z",
    )
    parser.add_argument("--record", metavar="FILE", help="movie to write: .mp4")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--show", action="store_true", help="open a window; Escape ends")
    parser.add_argument(
        "--seconds", type=number_from(0.1, 86400), default=None, help="end after so long"
    )
    return parser.parse_args(arguments)


def _axes(text: str) -> str:
    if not set(text) <= set(AXES):
        raise argparse.ArgumentTypeError(f"{text!r} holds other axes than x, y and z")
    return text


if __name__ == "__main__":
    sys.exit(main())
