"""A caller's sound: samples in, 20 ms of them out when they are due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable
from fractions import Fraction

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from stream.client_news import News
from stream.client_sources import Source, SourceError, as_source_error

Samples = NDArray[np.int16]
"""At 48 kHz, mono [N] or stereo [N, 2]."""

Sound = AsyncIterable[Samples] | MediaStreamTrack

RATE = 48_000
BLOCK = 960
"""Samples in 20 ms, what a packet holds."""

LATE = 0.1
"""Seconds by which samples may come late and still be sent one after the other. After more they
are sent as if there had been silence before them: caught up in a burst they would be no use."""


class SoundTrack(MediaStreamTrack):
    """A caller's audio. Belongs to the event loop's thread.

    Args:
        sound: is asked for samples when they are due.
        news: is told when there are no more.
    """

    kind = "audio"

    def __init__(self, sound: AsyncIterable[Samples], news: News) -> None:
        super().__init__()
        self.source = Source(sound, news)
        self._rest = np.zeros((0, 2), np.int16)
        self._position = 0
        self._start: float | None = None

    async def recv(self) -> AudioFrame:
        """The next 20 ms when they are due; called by aiortc.

        Raises:
            MediaStreamError: there is no more, or the track has been stopped.
        """
        if self.readyState != "live":
            raise MediaStreamError
        if self._start is None:
            self._start = time.monotonic()
        await asyncio.sleep(max(0.0, self._start + self._position / RATE - time.monotonic()))
        block = await self._block()
        late = time.monotonic() - self._start - self._position / RATE
        if late > LATE:
            self._position += round(late * RATE)
        frame = AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="stereo")
        frame.pts, frame.sample_rate, frame.time_base = self._position, RATE, Fraction(1, RATE)
        self._position += BLOCK
        return frame

    async def close(self) -> None:
        """Free what makes the samples."""
        self.stop()
        await self.source.close()

    async def _block(self) -> Samples:
        while len(self._rest) < BLOCK:
            try:
                more = _stereo(await self.source.next())
            except MediaStreamError:
                if not len(self._rest):
                    raise
                more = np.zeros((BLOCK - len(self._rest), 2), np.int16)
            except Exception as error:
                self.source.end(as_source_error(error, "sound"))
                raise MediaStreamError from None
            self._rest = np.concatenate((self._rest, more))
        block, self._rest = self._rest[:BLOCK], self._rest[BLOCK:]
        return np.ascontiguousarray(block)


def _stereo(samples: object) -> Samples:
    if isinstance(samples, np.ndarray) and samples.dtype == np.int16:
        if samples.ndim == 1:
            return np.stack((samples, samples), axis=1)
        if samples.ndim == 2 and samples.shape[1] == 2:
            return samples
    found = f"{samples.dtype}, {list(samples.shape)}" if isinstance(samples, np.ndarray) else ""
    raise SourceError(
        "Sound is int16 at 48 kHz, mono [N] or stereo [N, 2], not "
        f"{found or f'a value of type {type(samples).__name__}'}."
    )


def sound_track(sound: Sound, news: News) -> MediaStreamTrack:
    """A track of sound, which is left as it is if it is one.

    Raises:
        SourceError: it is nothing that gives sound.
    """
    if isinstance(sound, MediaStreamTrack):
        if sound.kind != "audio":
            raise SourceError("The track that is to give sound is none of audio.")
        return sound
    if isinstance(sound, AsyncIterable):
        return SoundTrack(sound, news)
    raise SourceError(
        "Sound comes from an async iterator or a track of aiortc, not from a value of type "
        f"{type(sound).__name__}."
    )
