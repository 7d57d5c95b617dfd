"""A movie, or a still picture, that plays as it would on a screen."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Generator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.video.frame import VideoFrame

from models.errors import VisavisError
from stream.client_sound import RATE, Samples
from stream.client_sources import in_thread

LATE = 0.1
"""Seconds by which sound may lag behind the pictures; what lags more is left out."""


class ClipError(VisavisError):
    """The file cannot be played."""

    default_code = "bad_clip"


class Clip:
    """Plays from the moment that it is first asked for a picture, or for sound; once.

    `still` says that it has one picture only, which is given for ever; `audible` that it has sound.

    Args:
        path: of a movie or a picture.
        loop: begin again at the end.

    Raises:
        ClipError: it cannot be read, has no pictures, or does not tell its length, without which it
            cannot be played again.
    """

    def __init__(self, path: str | os.PathLike[str], loop: bool = False) -> None:
        self._path = path
        self._loop = loop
        self._started: float | None = None
        try:
            with self._open() as container:
                if not container.streams.video:
                    raise ClipError(f"{path} has no pictures. Give a movie or a picture.")
                frames = container.decode(container.streams.video[0])
                if next(frames, None) is None:
                    raise ClipError(f"{path} has no pictures. Give a movie or a picture.")
                self.still = next(frames, None) is None
                self.audible = bool(container.streams.audio) and not self.still
                self._first = (container.start_time or 0) / av.time_base
                self._seconds = (container.duration or 0) / av.time_base
        except av.FFmpegError as error:
            raise self._unreadable(error) from error
        if loop and not self.still and self._seconds <= 0:
            raise ClipError(f"{path} does not tell its length. Play it without --loop.")

    async def pictures(self) -> AsyncGenerator[VideoFrame, None]:
        """Each picture when it is due. Those that are overdue when asked for are left out.

        Raises:
            ClipError: the file is broken.
        """
        frames = self._frames()
        try:
            ahead = await in_thread(lambda: next(frames, None))
            while ahead is not None:
                await asyncio.sleep(ahead[0] - self._now())
                now, due = self._now(), ahead
                while (ahead := await in_thread(lambda: next(frames, None))) and ahead[0] <= now:
                    due = ahead
                yield due[1]
                while self.still:
                    yield due[1]
        finally:
            frames.close()

    async def sound(self) -> AsyncGenerator[Samples, None]:
        """The sound from now on, to be asked for in real time. Stereo [N, 2], 48 kHz.

        Raises:
            ClipError: the file is broken.
        """
        pieces = self._pieces()
        try:
            position = 0
            while (piece := await in_thread(lambda: next(pieces, None))) is not None:
                position += len(piece)
                if position / RATE > self._now() - LATE:
                    yield piece
        finally:
            pieces.close()

    def _open(self) -> InputContainer:
        return av.open(os.fspath(self._path))

    def _unreadable(self, error: av.FFmpegError) -> ClipError:
        why = (error.strerror or str(error)).lower()
        return ClipError(f"Cannot play {self._path}: {why}. Give a movie or a picture.")

    def _now(self) -> float:
        """Seconds since the beginning."""
        if self._started is None:
            self._started = time.monotonic()
        return time.monotonic() - self._started

    def _frames(self) -> Generator[tuple[float, VideoFrame], None, None]:
        """When each picture is due, and the picture."""
        begin = 0.0
        try:
            while True:
                with self._open() as container:
                    for frame in container.decode(container.streams.video[0]):
                        yield begin + (frame.time or self._first) - self._first, frame
                if not self._loop or self.still:
                    return
                begin += self._seconds
        except av.FFmpegError as error:
            raise self._unreadable(error) from error

    def _pieces(self) -> Generator[Samples, None, None]:
        """The sound, in each round as long as the clip."""
        length = round(self._seconds * RATE)
        try:
            while True:
                position = 0
                with self._open() as container:
                    for piece in self._resampled(container):
                        # In a round that is followed by another, sound must not outlast pictures.
                        kept = piece[: length - position] if self._loop else piece
                        position += len(kept)
                        yield kept
                if not self._loop:
                    return
                yield np.zeros((length - position, 2), np.int16)
        except av.FFmpegError as error:
            raise self._unreadable(error) from error

    def _resampled(self, container: InputContainer) -> Generator[Samples, None, None]:
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
        first = True
        for frame in container.decode(container.streams.audio[0]):
            if first:  # sound that begins later than the pictures
                silence = max(0.0, (frame.time or self._first) - self._first)
                yield np.zeros((round(silence * RATE), 2), np.int16)
                first = False
            for piece in resampler.resample(frame):
                yield _samples(piece)
        for piece in resampler.resample(None):
            yield _samples(piece)


def _samples(piece: AudioFrame) -> Samples:
    return np.asarray(piece.to_ndarray().reshape(-1, 2), np.int16)
