"""Record a turn around a person in a live call.

    python -m examples.record_orbit http://127.0.0.1:8080 demo -o orbit.mp4

The viewpoint moves in real time, and each frame of the movie is the one that shows the viewpoint of
its moment, however long that took to come: the movement is as even as if it had been rendered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from examples.command import number_from, parser_for, run, whole_from
from examples.recording import EXTENSIONS, Movie, recording, refuse_existing
from models.errors import VisavisError
from models.viewpoint import PITCH_LIMIT, YAW_LIMIT, Viewpoint
from stream.client import View, join
from stream.offline import orbit_path
from stream.output_file import output_file
from stream.progress import Progress

LATE = 5.0
"""Seconds that the last frame may take to come."""


@dataclass(frozen=True)
class Orbit:
    """How to turn.

    Args:
        seconds: of the turn.
        fps: frames per second of the movie.
        yaw_range: degrees to either side.
        pitch: degrees upwards.
    """

    seconds: float = 8.0
    fps: int = 30
    yaw_range: float = 30.0
    pitch: float = 0.0

    def path(self) -> list[Viewpoint]:
        """A viewpoint for each frame."""
        return orbit_path(max(2, round(self.seconds * self.fps)), self.yaw_range, self.pitch)


async def record(
    url: str, call: str | None, output: str, orbit: Orbit, *, wait: float = 0.0, force: bool = False
) -> dict[str, object]:
    """Record a call; return what was written.

    Args:
        url: of the server, or the link of an invitation.
        call: its name; not needed with a link.
        output: movie to write.
        orbit: how to turn.
        wait: seconds to go on trying to join.
        force: replace an existing file.

    Raises:
        JoinError: the call cannot be joined.
        OutputError: the movie cannot be written.
        VisavisError: the call ended too early.
    """
    path = orbit.path()
    refuse_existing(output, force)
    with output_file(output, EXTENSIONS) as file, Progress("joining the call", 2) as progress:
        async with join(url, call, wait=wait) as view:
            first = await view.snapshot(path[0])
            size = first.video.width
            progress.step("recording", len(path))
            async with recording(file, output, size, orbit.fps) as movie:
                movie.put(0, first.i420(size))
                await _turn(view, path, size, orbit.fps, movie, progress)
                movie.end(len(path))
    return {
        "output": output,
        "size": size,
        "frames": len(path),
        "repeated": movie.repeated,
        "fps": orbit.fps,
    }


async def _turn(
    view: View, path: Sequence[Viewpoint], size: int, fps: int, movie: Movie, progress: Progress
) -> None:
    """Move along the path, and put each frame where its viewpoint stands in it."""
    places: dict[int, int] = {}
    moving = asyncio.create_task(_move(view, path, fps, places))
    done = -1
    try:
        async with asyncio.timeout(len(path) / fps + LATE):
            async for frame in view.frames():
                place = places.get(frame.sequence) if frame.sequence is not None else None
                if place is None or place <= done:
                    continue
                movie.put(place, frame.i420(size))
                for _ in range(done, place):
                    progress.advance()
                done = place
                if place == len(path) - 1:
                    return
    except TimeoutError:
        if done >= 0:
            return  # the last frames never came: the one before them is repeated
        raise VisavisError("The server does not say which viewpoint its frames show.") from None
    finally:
        moving.cancel()
        await asyncio.wait((moving,))
    why = view.ended or "Join it again."
    raise VisavisError(f"The call ended after {done + 1} of {len(path)} frames. {why}")


async def _move(view: View, path: Sequence[Viewpoint], fps: int, places: dict[int, int]) -> None:
    now = asyncio.get_running_loop().time
    start = now()
    for place, viewpoint in enumerate(path):
        await asyncio.sleep(start + place / fps - now())
        places[view.look(viewpoint)] = place


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run("record_orbit", lambda: _main(arguments))


async def _main(arguments: Sequence[str] | None) -> None:
    options = _options(arguments)
    orbit = Orbit(options.seconds, options.fps, options.yaw_range, options.pitch)
    result = await record(
        options.url, options.call, options.output, orbit, wait=options.wait, force=options.force
    )
    print(json.dumps(result) if options.json else result["output"])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_for("record_orbit", "Record a turn around a person in a live call.")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="movie: .mp4")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--seconds", type=number_from(0.1, 120), default=8.0, help="of the turn (default: 8)"
    )
    parser.add_argument("--fps", type=whole_from(1, 60), default=30, help="(default: 30)")
    parser.add_argument(
        "--yaw-range",
        type=number_from(0, YAW_LIMIT),
        default=30.0,
        metavar="DEGREES",
        help=f"to either side, 0..{YAW_LIMIT:.0f} (default: 30)",
    )
    parser.add_argument(
        "--pitch",
        type=number_from(-PITCH_LIMIT, PITCH_LIMIT),
        default=0.0,
        metavar="DEGREES",
        help=f"upwards, +-{PITCH_LIMIT:.0f} (default: 0)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
