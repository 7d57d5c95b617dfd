"""What a program gives to a call piece by piece: pictures, or sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from models.errors import VisavisError
from stream.client_news import News
from stream.mailbox import Mailbox

T = TypeVar("T")


class SourceError(VisavisError):
    """What a program gives is no picture, or no sound."""

    default_code = "bad_source"


def as_source_error(error: Exception, what: str) -> SourceError:
    """What went wrong when something given was to be sent."""
    if isinstance(error, SourceError):
        return error
    return SourceError(f"A {what} cannot be sent: {type(error).__name__}: {error}")


class Source(Generic[T]):
    """Gives one piece after the other. Belongs to the event loop's thread.

    `over` says that no more come, `failure` what went wrong with them, if anything did.

    Args:
        pieces: is asked for each piece when it is wanted, and closed at the end where it can be.
        news: is told of the end.
    """

    def __init__(self, pieces: AsyncIterable[T], news: News) -> None:
        self.over = False
        self.failure: Exception | None = None
        self._pieces: AsyncIterator[T] = aiter(pieces)
        self._news = news

    async def next(self) -> T:
        """The next piece.

        Raises:
            MediaStreamError: there are no more.
        """
        if not self.over:
            try:
                return await anext(self._pieces)
            except StopAsyncIteration:
                self.end()
            except Exception as error:
                self.end(error)
        raise MediaStreamError

    def end(self, failure: Exception | None = None) -> None:
        """No more are wanted. What is said first holds."""
        if not self.over:
            self.over, self.failure = True, failure
            self._news.tell()

    async def close(self) -> None:
        """Free what makes the pieces."""
        self.end()
        if isinstance(self._pieces, AsyncGenerator):
            await self._pieces.aclose()


async def called(function: Callable[[], T]) -> AsyncGenerator[T, None]:
    """What a function returns, called in a thread, until it raises StopIteration."""

    def call() -> tuple[T] | None:
        try:
            return (function(),)
        except StopIteration:  # which cannot come out of a thread
            return None

    while (returned := await in_thread(call)) is not None:
        yield returned[0]


async def in_thread(work: Callable[[], T]) -> T:
    """As `asyncio.to_thread`, but what is begun is waited for: a camera or a file must not be
    closed below the thread."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        raise


async def newest_of(track: MediaStreamTrack) -> AsyncGenerator[Any, None]:
    """The newest frame of a track, which is read all the time: tracks keep what is not read."""
    newest: Mailbox[Any] = Mailbox()
    arrived = asyncio.Event()

    async def read() -> None:
        while True:
            newest.put(await track.recv())
            arrived.set()

    reading = asyncio.ensure_future(read())
    reading.add_done_callback(lambda _: arrived.set())
    try:
        while True:
            frame = newest.take()
            if frame is not None:
                yield frame
            elif reading.done():
                reading.result()  # raises: why it has ended
            else:
                arrived.clear()
                await arrived.wait()
    except MediaStreamError:
        return  # the track's way to end
    finally:
        reading.cancel()
        await asyncio.wait((reading,))
