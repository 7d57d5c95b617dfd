"""`visavis bench`: how fast this machine is, stage by stage and as a whole.

The server's own parts are measured (the engine, the render threads, the encoder) with moving
viewpoints, not copies of them. Left out are the network and the browser.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from aiortc.mediastreams import VIDEO_CLOCK_RATE, VIDEO_TIME_BASE
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from models.viewpoint import Viewpoint
from stream.avatar_lease import AvatarLease
from stream.coders import EncoderSettings, X264Coder
from stream.command_line import version
from stream.doctor import instruction_sets, processor
from stream.encoder import EncoderFigures, ViewEncoder
from stream.mailbox import Mailbox
from stream.metrics import Metrics
from stream.offline import EngineChoice, read_portrait
from stream.pacer import Pacer
from stream.progress import Progress
from stream.render_loop import Picture, RenderLoop, View
from stream.settings import Settings
from stream.view import Company
from stream.viewpoint_inbox import Aim

if TYPE_CHECKING:
    from models.engine import Avatar, Engine

WARM_UP = 10
REPEATS = 100
PORTRAITS = 7
"""Avatars built; each takes as long as many frames."""
STAGE_SECONDS = 20.0
"""A slow machine stops repeating after this long."""
WARM_UP_SECONDS = 0.5
APART = 7
"""Viewpoints between one receiver's and the next one's."""
UNPACED = 10_000.0
"""Frames per second asked for when the question is how many there can be."""
ENCODING_THREADS = 4
"""As many as the server has."""
YARDSTICK_SIDE = 768


@dataclass(frozen=True)
class Times:
    """Milliseconds of one stage, over several runs."""

    median: float
    p95: float
    runs: int

    @classmethod
    def of(cls, milliseconds: Iterable[float]) -> Times:
        values = np.fromiter(milliseconds, np.float64)
        median, p95 = np.percentile(values, [50, 95])
        return cls(round(float(median), 3), round(float(p95), 3), len(values))


@dataclass(frozen=True)
class Rate:
    """Frames per second.

    Args:
        total: of all receivers together.
        per_receiver: of the average receiver.
    """

    total: float
    per_receiver: float


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Args:
        engine: its name.
        size: side of the pictures, pixels.
        receivers: at once.
        stages: milliseconds of each stage, one picture at a time.
        rendering: frames that are rasterised, refined and converted, as fast as it goes.
        end_to_end: frames that are encoded for their receiver too, ready to be sent.
        yardstick: milliseconds of a fixed matrix product before and after, in the same process:
            what other programs leave of this machine.
        load: the load average before and after.
        machine: processor and instruction sets.
    """

    engine: str
    size: int
    receivers: int
    stages: dict[str, Times]
    rendering: Rate
    end_to_end: Rate
    yardstick: tuple[Times, Times]
    load: tuple[float, float]
    machine: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        before, after = self.yardstick
        return {
            "visavis": version(),
            "engine": self.engine,
            "size": self.size,
            "receivers": self.receivers,
            "stages_ms": {name: vars(times) for name, times in self.stages.items()},
            "fps": {"rendering": vars(self.rendering), "end_to_end": vars(self.end_to_end)},
            "yardstick": {
                "what": f"numpy float32 product of {YARDSTICK_SIDE} x {YARDSTICK_SIDE} matrices",
                "before_ms": vars(before),
                "after_ms": vars(after),
            },
            "load_average": {"before": self.load[0], "after": self.load[1]},
            "machine": self.machine,
        }

    def in_words(self) -> str:
        """For people."""
        lines = [f"{self.engine}, {self.size} x {self.size}, {self.receivers} receiver(s)", ""]
        lines.append(f"{'stage':<14}{'median ms':>12}{'p95 ms':>10}{'runs':>7}")
        for name, times in self.stages.items():
            lines.append(f"{name:<14}{times.median:12.2f}{times.p95:10.2f}{times.runs:7d}")
        before, after = self.yardstick
        lines += [
            "",
            f"rendering     {self.rendering.total:8.1f} frames per second,"
            f" {self.rendering.per_receiver:.1f} for each receiver",
            f"end to end    {self.end_to_end.total:8.1f} frames per second,"
            f" {self.end_to_end.per_receiver:.1f} for each receiver",
            "",
            f"load average {self.load[0]:.1f} before, {self.load[1]:.1f} after; yardstick"
            f" {before.median:.1f} ms before, {after.median:.1f} ms after",
        ]
        return "\n".join(lines)


def measure(choice: EngineChoice, receivers: int, seconds: float) -> Bench:
    """Measure the built-in person.

    Args:
        choice: which engine.
        receivers: at once, in the measurements of frames per second.
        seconds: that each of those takes.
    """
    load, yardstick = os.getloadavg()[0], measure_yardstick()
    with Progress("loading", 6) as progress:
        picture = read_portrait("demo")
        engine = choice.load()
        try:
            progress.step("portrait, lifter")
            stages = measure_portrait(engine, picture)
            avatar = engine.build_avatar(picture)
            progress.step("one picture")
            drawn, frames = measure_pictures(engine, avatar)
            stages |= drawn
            progress.step("encoder")
            stages["encode"] = measure_encoder(frames, choice.size)
            progress.step("rendering")
            rendering, _ = measure_rates(engine, avatar, receivers, seconds, encode=False)
            progress.step("end to end")
            _, end_to_end = measure_rates(engine, avatar, receivers, seconds, encode=True)
            avatar.close()
        finally:
            engine.close()
    return Bench(
        engine=engine.name,
        size=choice.size,
        receivers=receivers,
        stages=stages,
        rendering=rendering,
        end_to_end=end_to_end,
        yardstick=(yardstick, measure_yardstick()),
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
        machine={**processor().facts, "instruction_sets": instruction_sets().facts},
    )


def measure_yardstick() -> Times:
    """A fixed piece of work, so that runs on a busy machine can be told from slow code."""
    matrix = np.full((YARDSTICK_SIDE, YARDSTICK_SIDE), 1e-3, np.float32)
    out = np.empty_like(matrix)
    return _repeat(lambda: np.matmul(matrix, matrix, out=out), 20)


def measure_portrait(engine: Engine, picture: NDArray[np.uint8]) -> dict[str, Times]:
    """What is done once for a caller: finding and cutting out the portrait, and lifting it."""
    parts: dict[str, list[float]] = {"portrait": [], "lift": []}

    def build() -> None:
        engine.build_avatar(picture).close()
        times = engine.stage_times()
        for name, values in parts.items():
            values.append(times[name])

    build()
    for values in parts.values():
        values.clear()
    _repeat(build, PORTRAITS, warm_up=0)
    return {name: Times.of(values) for name, values in parts.items()}


def measure_pictures(
    engine: Engine, avatar: Avatar
) -> tuple[dict[str, Times], list[NDArray[np.uint8]]]:
    """One picture after another, by one thread: each stage alone on the machine."""
    from models.engine import RenderRequest

    parts: dict[str, list[float]] = {"rasterise": [], "refine": [], "i420": [], "render": []}
    frames = []
    begin = time.perf_counter()
    for index in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        frames += engine.render([RenderRequest(avatar, moving_viewpoint(index))])
        wall = (time.perf_counter() - start) * 1e3
        if index >= WARM_UP:
            for name, value in {**engine.stage_times(), "render": wall}.items():
                if name in parts:
                    parts[name].append(value)
        if index > 2 * WARM_UP and time.perf_counter() - begin > STAGE_SECONDS:
            break
    return {name: Times.of(values) for name, values in parts.items()}, frames[WARM_UP:]


def measure_encoder(frames: list[NDArray[np.uint8]], size: int) -> Times:
    """H.264 of a moving view, cut into packets; the opening and its key frame are left out."""
    encoder = _encoder(Settings(size=size))
    milliseconds = []
    for index, picture in enumerate(frames):
        frame = _video_frame(picture, index / 30)
        start = time.perf_counter()
        encoder.encode(frame)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return Times.of(milliseconds[1:])


def measure_rates(
    engine: Engine, avatar: Avatar, receivers: int, seconds: float, encode: bool
) -> tuple[Rate, Rate]:
    """Let the server's render threads run as fast as they can for a while.

    Returns:
        frames rendered and frames encoded. Every frame is refined. A frame that is overtaken by the
        receiver's next one before it could be encoded is not counted as encoded, as in a call.
    """
    settings = Settings(size=engine.size, frame_budget=math.inf, refine_budget=math.inf)
    loop = RenderLoop(engine, settings, Metrics())
    lease = AvatarLease(avatar)
    with ThreadPoolExecutor(ENCODING_THREADS, thread_name_prefix="encode") as pool:
        sinks = [
            Sink(lease, settings, pool if encode else None, APART * number)
            for number in range(receivers)
        ]
        for sink in sinks:
            loop.add(sink.view)
        loop.start()
        try:
            time.sleep(WARM_UP_SECONDS)
            before = [(sink.rendered, sink.encoded) for sink in sinks]
            start = time.perf_counter()
            time.sleep(seconds)
            elapsed = time.perf_counter() - start
            after = [(sink.rendered, sink.encoded) for sink in sinks]
            if not loop.alive:
                raise RuntimeError("the render threads have ended; see the error above")
        finally:
            for sink in sinks:
                loop.remove(sink.view)
            loop.stop()
    rates = []
    for which in range(2):
        total = sum(b[which] - a[which] for a, b in zip(before, after, strict=True)) / elapsed
        rates.append(Rate(round(total, 1), round(total / receivers, 1)))
    return rates[0], rates[1]


class Viewpoints(Mailbox[Aim]):
    """A mailbox that is never empty, as that of a receiver who moves faster than frames come.

    Args:
        begin: number of the first viewpoint; receivers who begin apart share no pictures.
    """

    def __init__(self, begin: int = 0) -> None:
        super().__init__()
        self._sent = begin
        self._move()

    def take(self) -> Aim | None:
        """Return the newest viewpoint and put the next."""
        aim = super().take()
        self._move()
        return aim

    def _move(self) -> None:
        self.put(Aim(moving_viewpoint(self._sent), self._sent, time.monotonic()))
        self._sent += 1


class Sink:
    """A receiver without a network: it moves its viewpoint and encodes what it is given.

    Args:
        lease: of the avatar.
        settings: of the server.
        pool: encodes; None to throw the pictures away.
        begin: number of the first viewpoint.
    """

    def __init__(
        self,
        lease: AvatarLease,
        settings: Settings,
        pool: ThreadPoolExecutor | None,
        begin: int = 0,
    ) -> None:
        self.view = View(lambda: lease, self._deliver, Pacer(UNPACED), Viewpoints(begin))
        self.rendered = 0
        self.encoded = 0
        self._pool = pool
        self._encoder = _encoder(settings)
        self._waiting: Mailbox[VideoFrame] = Mailbox()
        self._busy = threading.Lock()

    def _deliver(
        self,
        picture: Picture,
        aim: Aim | None,
        refined: bool,
        taken: float,
        company: Company | None = None,
    ) -> None:
        self.rendered += 1
        if self._pool is not None:
            self._waiting.put(_video_frame(picture, taken))
            self._pool.submit(self._encode)

    def _encode(self) -> None:
        # One frame at a time; whoever finds the encoder busy leaves its frame to the one at work.
        while self._waiting.full and self._busy.acquire(blocking=False):
            try:
                frame = self._waiting.take()
                if frame is not None:
                    self._encoder.encode(frame)
                    self.encoded += 1
            finally:
                self._busy.release()


def moving_viewpoint(index: int) -> Viewpoint:
    """A view that swings to both sides within 120 frames."""
    angle = index * 2 * math.pi / 120
    return Viewpoint(yaw=30 * math.sin(angle), pitch=5 * math.sin(2 * angle))


def _encoder(settings: Settings) -> ViewEncoder:
    how = EncoderSettings(
        fps=settings.fps,
        floor=settings.min_bitrate,
        ceiling=settings.bitrate_ceiling,
        keyframe_interval=settings.keyframe_interval,
        adapt=False,
    )
    return ViewEncoder(lambda: X264Coder(how), how, EncoderFigures())


def _video_frame(picture: NDArray[np.uint8], seconds: float) -> VideoFrame:
    frame = VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.pts = round(seconds * VIDEO_CLOCK_RATE)
    frame.time_base = VIDEO_TIME_BASE
    return frame


def _repeat(work: Callable[[], object], runs: int, warm_up: int = 2) -> Times:
    for _ in range(warm_up):
        work()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return Times.of(milliseconds)
