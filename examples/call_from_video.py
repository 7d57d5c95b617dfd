"""Open a call with a movie, or a still picture, in place of a camera.

    python -m examples.call_from_video http://127.0.0.1:8080 clip.mp4 --loop

Prints the links to open in a browser, and what the server says of the pictures whenever that
changes. Ctrl-C ends the call, as does the end of the movie.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from examples.clip import Clip
from examples.command import number_from, opening_parser_for, run, set_by_interrupts
from models.errors import VisavisError
from stream.client import OwnCall, Told, call


def line(told: Told) -> str:
    """What the server has told, in one line."""
    why = f" ({told.code})" if told.code not in ("", "ok", told.state) else ""
    words = f": {told.words}" if told.words else ""
    if not told.avatar:
        return told.state + why + words
    facts = [f"{told.receivers} looking", f"{len(told.members)} in the room"]
    if told.fps is not None:
        facts.append(f"up to {told.fps} pictures per second of use")
    return f"{told.state}{why} [{', '.join(facts)}]{words}"


async def present(
    options: argparse.Namespace, stop: asyncio.Event, opened: Callable[[OwnCall], None]
) -> None:
    """Open a call and play the clip in it.

    Args:
        options: of the command line.
        stop: ends it.
        opened: called when the call is open.

    Raises:
        VisavisError: what is wrong, in one line.
    """
    clip = await asyncio.to_thread(Clip, options.file, options.loop)
    sound = clip.sound() if clip.audible and options.audio else None
    async with call(
        options.url, clip.pictures(), audio=sound, fps=options.fps, wait=options.wait
    ) as own:
        print(f"Look at the avatar: {own.link}")
        print(f"Join with a camera: {own.room_link}", flush=True)
        opened(own)
        had_avatar = False

        async def every_change() -> None:
            nonlocal had_avatar
            last = line(Told())  # nothing yet
            async for told in own.changes():
                had_avatar = had_avatar or told.avatar
                if own.ended is None and (words := line(told)) != last:
                    print(words, flush=True)
                    last = words

        try:
            async with asyncio.timeout(options.seconds) as limit:
                await _first_of(every_change(), own.sent(), stop.wait())
        except TimeoutError:
            if not limit.expired():
                raise
        if own.ended is not None:
            print(f"The call has ended. {own.ended}")
        elif not stop.is_set() and not had_avatar:
            words = own.told.words or "The server has said nothing of the pictures."
            raise VisavisError(f"No avatar came of {options.file}. {words}", "no_avatar")


async def _first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of some coroutines, and break the others off."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run("call_from_video", lambda: _main(arguments))


async def _main(arguments: Sequence[str] | None) -> None:
    options = parse(arguments)
    stop = asyncio.Event()

    def opened(_: OwnCall) -> None:
        set_by_interrupts(stop)

    await present(options, stop, opened)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UsageError: it cannot be understood.
    """
    parser = opening_parser_for(
        "call_from_video", "Open a call with a movie, or a still picture, in place of a camera."
    )
    parser.add_argument("file", metavar="FILE", help="movie, or picture to send over and over")
    parser.add_argument("--loop", action="store_true", help="begin again at the movie's end")
    parser.add_argument(
        "--no-audio", dest="audio", action="store_false", help="leave the movie's sound out"
    )
    parser.add_argument(
        "--fps", type=number_from(1, 30), default=30.0, help="pictures per second (default: 30)"
    )
    parser.add_argument(
        "--seconds", type=number_from(0.1, 86400), default=None, help="end after so long"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
