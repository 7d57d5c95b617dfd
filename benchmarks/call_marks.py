"""When what happened inside a server process, for both servers alike: nothing is changed but that
times are noted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiortc.rtcrtpsender
from aiortc.codecs.base import Encoder
from aiortc.rtcdtlstransport import RTCDtlsTransport
from fastapi import APIRouter

KEEP = 20_000
"""Entries of each list: the benchmark asks for them and empties them long before."""


class Marks:
    """Times are seconds of `time.monotonic()`; any thread may add.

    Args:
        viewpoints: for each viewpoint that a frame was made of: its number, when it came, when the
            rendering began and ended, and whether the frame was refined.
        encodes: begin, end, and processor seconds of the thread that asked for it.
        sent: RTP timestamp of a frame, and when its last packet was handed to the socket.
        avatars: number of the camera frame, when the follower was given it, when the avatar made
            of it was there, when it came into use, and when a rendering first used it.
    """

    def __init__(self) -> None:
        self.viewpoints: list[tuple[int, float, float, float, bool]] = []
        self.encodes: list[tuple[float, float, float]] = []
        self.sent: list[tuple[int, float]] = []
        self.avatars: dict[str, list[float | None]] = {}
        self._last_sent: int | None = None

    def clear(self) -> None:
        self.viewpoints.clear()
        self.encodes.clear()
        self.sent.clear()
        self.avatars.clear()

    def packet(self, data: bytes) -> None:
        """Note an RTP packet that ends a frame; what is sent again does not count."""
        if len(data) < 12 or not data[1] & 0x80 or 64 <= data[1] & 0x7F < 96:
            return
        timestamp = int.from_bytes(data[4:8], "big")
        if timestamp != self._last_sent and len(self.sent) < KEEP:
            self._last_sent = timestamp
            self.sent.append((timestamp, time.monotonic()))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `clock` is what must be added for the time of day."""
        return {
            "clock": time.time() - time.monotonic(),
            "now": time.monotonic(),
            "viewpoints": list(self.viewpoints),
            "encodes": list(self.encodes),
            "sent": list(self.sent),
            "avatars": list(self.avatars.values()),
        }


def install(marks: Marks) -> None:
    """Note what every connection of this process encodes and sends. After `patches.apply()`."""
    send, make = RTCDtlsTransport._send_rtp, aiortc.rtcrtpsender.get_encoder

    async def send_rtp(self: RTCDtlsTransport, data: bytes) -> None:
        marks.packet(data)  # before: the browser may have it before this task goes on
        await send(self, data)

    def get_encoder(codec: Any) -> Encoder:
        encoder = make(codec)
        encode = encoder.encode

        def noted(frame: Any, force_keyframe: bool = False) -> Any:
            begin, processor = time.monotonic(), time.thread_time()
            try:
                return encode(frame, force_keyframe)
            finally:
                if len(marks.encodes) < KEEP:
                    used = time.thread_time() - processor
                    marks.encodes.append((begin, time.monotonic(), used))

        encoder.encode = noted  # type: ignore[method-assign]
        return encoder

    RTCDtlsTransport._send_rtp = send_rtp  # type: ignore[method-assign]
    aiortc.rtcrtpsender.get_encoder = get_encoder


def router(marks: Marks) -> APIRouter:
    """`GET /bench`: all marks, and the state of the process. `DELETE /bench` forgets the marks."""
    routes = APIRouter()

    @routes.get("/bench")
    async def take() -> dict[str, Any]:
        return {
            **marks.as_dict(),
            "tasks": len(asyncio.all_tasks()),
            "threads": {thread.native_id: thread.name for thread in threading.enumerate()},
        }

    @routes.delete("/bench")
    async def forget() -> dict[str, Any]:
        marks.clear()
        return {}

    return routes


@contextmanager
def processor_times(pid: int) -> Iterator[dict[int, float]]:
    """Fills in, at the end of the block, the processor seconds of each of a process's threads that
    lives then, by its native id, and under 0 those of the whole process."""
    before, whole = _threads(pid), _seconds(Path(f"/proc/{pid}/stat"))
    found: dict[int, float] = {}
    yield found
    found[0] = _seconds(Path(f"/proc/{pid}/stat")) - whole
    for thread, seconds in _threads(pid).items():
        found[thread] = seconds - before.get(thread, 0.0)


def by_name(times: dict[int, float], names: dict[str, str]) -> dict[str, float]:
    """Times of threads by name, those of a pool together. Threads that Python does not know are a
    library's, such as an encoder's.

    Args:
        times: of `processor_times`.
        names: of the threads by native id, as `GET /bench` gives them.
    """
    found: dict[str, float] = {}
    for thread, seconds in times.items():
        if thread != 0 and seconds > 0:
            name = names.get(str(thread), "of libraries").rstrip("0123456789").rstrip("_-")
            found[name] = found.get(name, 0.0) + seconds
    return found


def resident_bytes(pid: int) -> int:
    """Main memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def _threads(pid: int) -> dict[int, float]:
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError, IndexError):
            # In nanoseconds; "stat" counts in ticks of 10 ms.
            found[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e9
    return found


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
