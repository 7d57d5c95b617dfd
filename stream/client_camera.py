"""A caller's pictures: asked for at an even rate, made fit to be sent, and encoded as the server's
own are."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterable, Callable
from typing import Any

import numpy as np
from aiortc.mediastreams import (
    VIDEO_CLOCK_RATE,
    VIDEO_TIME_BASE,
    MediaStreamError,
    MediaStreamTrack,
)
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from stream.client_news import News
from stream.client_sources import Source, SourceError, as_source_error, called, newest_of
from stream.coders import EncoderSettings
from stream.encoder import EncoderFigures, ViewEncoder, make_encoder
from stream.patches.encoder_seam import encoder_maker

Picture = NDArray[np.uint8] | VideoFrame
"""sRGB [H, W, 3], or a frame of PyAV."""

Pictures = AsyncIterable[Picture] | Callable[[], Picture | None] | MediaStreamTrack

MOST_PIXELS = 1280 * 720
"""What H.264 allows at the level that is sent, 3.1. Larger pictures are made smaller."""

LEAST_SIDE = 16
"""Pixels; of fewer no encoder makes anything."""

MOST_FPS = 30.0
"""What that level allows of such pictures, and the most that a server has use for."""

FLOOR = 300_000
"""Bits per second that are sent even where the server says that fewer arrive."""

KEYFRAME_INTERVAL = 0.5
"""Least seconds between two key frames."""


class CameraTrack(MediaStreamTrack):
    """A caller's video. Belongs to the event loop's thread.

    `rate` is how many pictures per second are sent at most, and may be changed; `figures` are those
    of the encoder.

    Args:
        pictures: are asked for one when it is due; a track is read all the time, and its newest one
            taken.
        fps: pictures per second.
        bitrate: most bits per second.
        news: is told when there are no more pictures.

    Raises:
        SourceError: there is no such rate, or `pictures` is nothing that gives pictures.
    """

    kind = "video"

    def __init__(self, pictures: Pictures, fps: float, bitrate: int, news: News) -> None:
        super().__init__()
        if not 0 < fps <= MOST_FPS:
            raise SourceError(f"fps must be above 0 and at most {MOST_FPS:.0f}, not {fps}.")
        if bitrate < FLOOR:
            raise SourceError(f"bitrate must be at least {FLOOR}, not {bitrate}.")
        self.rate = fps
        self.figures = EncoderFigures()
        self.source = Source(_pieces(pictures), news)
        self._track = pictures if isinstance(pictures, MediaStreamTrack) else None
        self._settings = EncoderSettings(fps, FLOOR, bitrate, KEYFRAME_INTERVAL, adapt=False)
        self._due = time.monotonic()
        # One for all pictures: one each has made programs grow.
        self._reformatter = VideoReformatter()

    async def recv(self) -> VideoFrame:
        """The next picture when it is due; called by aiortc, again as soon as the last one is sent.

        Raises:
            MediaStreamError: there are no more, or the track has been stopped.
        """
        encoder_maker.set(self._make_encoder)
        while self.readyState == "live":
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))
            picture = await self.source.next()
            now, step = time.monotonic(), 1 / self.rate
            # A picture that came late is not followed by others in haste.
            self._due = (self._due if now - self._due < step else now) + step
            if picture is None:
                continue
            try:
                frame = await asyncio.to_thread(self._fit_to_send, picture)
            except Exception as error:
                self.source.end(as_source_error(error, "picture"))
                break
            frame.pts, frame.time_base = round(now * VIDEO_CLOCK_RATE), VIDEO_TIME_BASE
            return frame
        raise MediaStreamError

    async def close(self) -> None:
        """Free what makes the pictures."""
        self.stop()
        await self.source.close()
        if self._track is not None:
            self._track.stop()

    def _make_encoder(self, codec: RTCRtpCodecParameters) -> ViewEncoder:
        return make_encoder(codec, self._settings, self.figures)

    def _fit_to_send(self, picture: object) -> VideoFrame:
        """I420 with even sides, upright and not too large. Runs in a thread: it takes a millisecond
        or two."""
        if not isinstance(picture, VideoFrame):
            picture = VideoFrame.from_ndarray(_checked(picture), format="rgb24")
        elif turns := round(picture.rotation / 90) % 4:  # a telephone that was held upright
            rgb = self._reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray()
            upright = np.rot90(rgb, turns)
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(upright, np.uint8), "rgb24")
        width, height = sent_size(picture.width, picture.height)
        # The server takes what comes for this matrix and range, whatever a movie had.
        frame = self._reformatter.reformat(
            picture,
            width,
            height,
            "yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        if frame is picture:  # there was nothing to do: the program's own must not be changed
            frame = VideoFrame.from_ndarray(np.asarray(picture.to_ndarray(), np.uint8), "yuv420p")
        return frame


def sent_size(width: int, height: int) -> tuple[int, int]:
    """Width and height to send a picture with: even numbers, and about the same shape."""
    scale = min(1.0, math.sqrt(MOST_PIXELS / (width * height)))
    return max(LEAST_SIDE, int(width * scale) & ~1), max(LEAST_SIDE, int(height * scale) & ~1)


def _pieces(pictures: Pictures) -> AsyncIterable[Any]:
    if isinstance(pictures, MediaStreamTrack):
        if pictures.kind != "video":
            raise SourceError("The track that is to give pictures is none of video.")
        return newest_of(pictures)
    if isinstance(pictures, AsyncIterable):
        return pictures
    if callable(pictures):
        return called(pictures)
    raise SourceError(
        "Pictures come from an async iterator, a function or a track of aiortc, not from a value "
        f"of type {type(pictures).__name__}."
    )


def _checked(picture: object) -> NDArray[np.uint8]:
    if not isinstance(picture, np.ndarray):
        raise SourceError(
            f"A picture is an array or a frame of PyAV, not a value of type "
            f"{type(picture).__name__}."
        )
    shape = picture.shape
    wrong = len(shape) != 3 or shape[2] != 3 or min(shape) < 3 or min(shape[:2]) < LEAST_SIDE
    if wrong or picture.dtype != np.uint8:
        raise SourceError(
            f"A picture is RGB, uint8, [H, W, 3], with sides of {LEAST_SIDE} pixels at least, not "
            f"{picture.dtype}, {list(shape)}."
        )
    return np.ascontiguousarray(picture, np.uint8)
