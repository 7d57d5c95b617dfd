"""The commands that need no server: one view, an orbit, and the avatar as a file."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import SetupError
from models.viewpoint import Viewpoint
from stream.movie import write_movie
from stream.output_file import OutputError, output_file, write_error
from stream.progress import Progress

if TYPE_CHECKING:
    from models.engine import Avatar, Engine

PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
MOVIE_EXTENSIONS = (".mp4",)
SPLAT_EXTENSIONS = (".ply",)

DEMO = Path(__file__).resolve().parent.parent / "models" / "assets" / "demo_portrait.png"
"""The built-in person: synthetic, so that the project ships nobody's face."""

NOD = 4.0
"""Degrees of pitch in an orbit: the eye draws a flat figure of eight, which shows depth better than
a line does."""

BATCH = 2
THREADS = 2
"""Batches in flight: while one is refined, the next is rasterised."""

Result = dict[str, object]
"""What `--json` prints."""


@dataclass(frozen=True)
class EngineChoice:
    """Which engine a command runs on.

    Args:
        device: "auto", "cpu" or "cuda".
        size: side of the pictures, pixels.
        threads: for each kernel; None lets the engine measure.
    """

    device: str = "auto"
    size: int = 256
    threads: int | None = None

    def load(self) -> Engine:
        from models.engine import load_engine  # brings torch, which takes seconds

        return load_engine(self.device, self.size, self.threads)


def read_portrait(name: str) -> NDArray[np.uint8]:
    """The picture of a person: a file's, or the built-in one for the name "demo".

    Returns:
        sRGB. [H, W, 3]

    Raises:
        PortraitError: the file cannot be read as a picture.
    """
    from models.picture import load_picture

    if name != "demo":
        return load_picture(name)
    if not DEMO.is_file():
        raise SetupError("The built-in portrait is not installed. Run: make clean install")
    return load_picture(DEMO)


def render(
    portrait: str, output: str, viewpoint: Viewpoint, refine: bool, choice: EngineChoice
) -> Result:
    """Write one view of a person as a picture file.

    Raises:
        PortraitError: the picture cannot become an avatar.
        OutputError: the file cannot be written.
    """
    times = Stopwatch()
    with output_file(output, PICTURE_EXTENSIONS, never=portrait) as path:
        with Progress("reading the portrait", 4) as progress:
            with _avatar(portrait, choice, progress, times) as (engine, avatar):
                progress.step("rendering")
                (frame,) = _frames(engine, avatar, [viewpoint], refine)
                times.lap("render")
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420))
        if not done:
            raise OutputError(f"Cannot write {output}: the picture could not be encoded.")
        _write(path, data.tobytes(), output)
    return {
        "output": output,
        "size": choice.size,
        "viewpoint": asdict(viewpoint),
        "refined": refine,
        "engine": engine.name,
        "milliseconds": times.laps,
    }


def orbit_path(frames: int, yaw_range: float, pitch: float = 0.0) -> list[Viewpoint]:
    """Viewpoints of one turn from the front to both sides and back, without a seam.

    Args:
        frames: in the whole turn.
        yaw_range: degrees to either side.
        pitch: degrees, in the middle.
    """
    angles = [2 * math.pi * index / frames for index in range(frames)]
    nod = NOD if yaw_range else 0.0
    return [
        Viewpoint(yaw=yaw_range * math.sin(angle), pitch=pitch + nod * math.sin(2 * angle))
        for angle in angles
    ]


def orbit(
    portrait: str,
    output: str,
    seconds: float,
    fps: int,
    yaw_range: float,
    pitch: float,
    refine: bool,
    choice: EngineChoice,
) -> Result:
    """Write a movie that loops around a person.

    Raises:
        PortraitError: the picture cannot become an avatar.
        OutputError: the file cannot be written.
    """
    times = Stopwatch()
    viewpoints = orbit_path(max(2, round(seconds * fps)), yaw_range, pitch)
    with output_file(output, MOVIE_EXTENSIONS, never=portrait) as path:
        with Progress("reading the portrait", 4) as progress:
            with _avatar(portrait, choice, progress, times) as (engine, avatar):
                progress.step("rendering", len(viewpoints))
                frames = _frames(engine, avatar, viewpoints, refine)
                try:
                    write_movie(path, _counted(frames, progress), choice.size, fps)
                except OSError as error:
                    raise write_error(output, error) from error
                times.lap("render")
    return {
        "output": output,
        "size": choice.size,
        "frames": len(viewpoints),
        "fps": fps,
        "yaw_range": yaw_range,
        "refined": refine,
        "engine": engine.name,
        "milliseconds": times.laps,
    }


def export(portrait: str, output: str, choice: EngineChoice) -> Result:
    """Write a person's avatar as a 3D Gaussian splatting PLY file.

    Raises:
        PortraitError: the picture cannot become an avatar.
        OutputError: the file cannot be written.
    """
    times = Stopwatch()
    with output_file(output, SPLAT_EXTENSIONS, never=portrait) as path:
        with Progress("reading the portrait", 4) as progress:
            with _avatar(portrait, choice, progress, times) as (engine, avatar):
                progress.step("writing")
                try:
                    count = engine.save_ply(avatar, path)
                except OSError as error:
                    raise write_error(output, error) from error
                times.lap("write")
        written = path.stat().st_size
    return {
        "output": output,
        "gaussians": count,
        "bytes": written,
        "engine": engine.name,
        "milliseconds": times.laps,
    }


@contextmanager
def _avatar(
    portrait: str, choice: EngineChoice, progress: Progress, times: Stopwatch
) -> Iterator[tuple[Engine, Avatar]]:
    """An engine, and in it the avatar of a portrait; the engine is closed at the end."""
    picture = read_portrait(portrait)
    progress.step("loading")
    engine = choice.load()
    times.lap("load")
    try:
        progress.step("building the avatar")
        avatar = engine.build_avatar(picture)
        times.lap("avatar")
        yield engine, avatar
    finally:
        engine.close()


class Stopwatch:
    """Milliseconds of one part after another."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round((now - self._last) * 1e3, 1)
        self._last = now


def _frames(
    engine: Engine, avatar: Avatar, viewpoints: Sequence[Viewpoint], refine: bool
) -> Iterator[NDArray[np.uint8]]:
    """Render in order, with as many batches in flight as overlap; never more are held in memory."""
    from models.engine import RenderRequest

    requests = [RenderRequest(avatar, viewpoint, refine) for viewpoint in viewpoints]
    flying: deque[Future[list[NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="render") as pool:
        try:
            for start in range(0, len(requests), BATCH):
                flying.append(pool.submit(engine.render, requests[start : start + BATCH]))
                if len(flying) > THREADS:
                    yield from flying.popleft().result()
            while flying:
                yield from flying.popleft().result()
        finally:
            for future in flying:
                future.cancel()


def _counted(
    frames: Iterator[NDArray[np.uint8]], progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        yield frame
        progress.advance()


def _write(path: Path, data: bytes, output: str) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise write_error(output, error) from error
