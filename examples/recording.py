"""Writing frames of a call to a movie while they come."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.movie import write_movie
from stream.output_file import OutputError, write_error

EXTENSIONS = (".mp4",)

MAX_WAITING = 120
"""Frames that may wait for the encoder. Those beyond are left out: the one before is repeated."""

I420 = NDArray[np.uint8]


class Movie:
    """A movie whose frames have places; a place that gets none repeats the one before.

    `repeated` counts such places.
    """

    def __init__(self) -> None:
        self.repeated = 0
        self._waiting: queue.Queue[tuple[int, I420 | None]] = queue.Queue()
        self._last = -1

    def put(self, place: int, picture: I420) -> None:
        """Give a place its picture. Places that are behind the last one are left alone."""
        if place > self._last and self._waiting.qsize() < MAX_WAITING:
            self._waiting.put((place, picture))
            self._last = place

    def end(self, places: int) -> None:
        """There are so many places in all."""
        self._waiting.put((places, None))

    def pictures(self) -> Iterator[I420]:
        """Picture after picture, for the thread that encodes."""
        done, last = 0, None
        while True:
            place, picture = self._waiting.get()
            # Nothing came before the first picture: it has to do.
            filling = last if last is not None else picture
            if filling is not None:
                for _ in range(done, place):
                    self.repeated += 1
                    yield filling
            if picture is None:
                return
            yield picture
            done, last = place + 1, picture


@asynccontextmanager
async def recording(path: Path, output: str, size: int, fps: int) -> AsyncIterator[Movie]:
    """A movie that is complete when the block ends; call its `end` last.

    Args:
        path: file to write.
        output: its name for the user.
        size: side of the pictures, pixels, even.
        fps: places per second.

    Raises:
        OutputError: it cannot be written.
    """
    movie = Movie()
    encoding = asyncio.ensure_future(
        asyncio.to_thread(write_movie, path, movie.pictures(), size, fps)
    )
    try:
        yield movie
    except BaseException:
        movie.end(0)
        await asyncio.wait((encoding,))  # the file must not be taken away below the thread
        encoding.exception()
        raise
    movie.end(0)  # for a block that has not said how many places there are
    try:
        await asyncio.shield(encoding)
    except OSError as error:
        raise write_error(output, error) from error


def refuse_existing(output: str | os.PathLike[str], force: bool) -> None:
    """Keep a file from being replaced by mistake.

    Raises:
        OutputError: it exists.
    """
    if not force and os.path.lexists(output):
        raise OutputError(f"{output} exists. Choose another name, or replace it with --force.")
