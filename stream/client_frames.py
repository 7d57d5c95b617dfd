"""A client's pictures: the newest one, and which viewpoint it shows."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

import numpy as np
from aiortc import RTCRtpReceiver
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from models.viewpoint import Viewpoint
from stream.client_clock import rtp_timestamp
from stream.client_news import News

KEEP = 400
"""Numbers and timestamps that are remembered: some seconds, also at 60 frames per second."""

T = TypeVar("T")


def remember(entries: dict[int, T], key: int, value: T) -> None:
    """Add an entry and forget the oldest one when there are many."""
    entries[key] = value
    if len(entries) > KEEP:
        del entries[next(iter(entries))]


class ReceivedFrame:
    """One picture.

    Args:
        video: the decoded frame, I420.
        sequence: the number of the viewpoint that it shows (see `View.look`); None before the
            first one, and where the server has not said.
        viewpoint: the viewpoint of that number, if it is known.
        reformatter: converts to RGB.
    """

    def __init__(
        self,
        video: VideoFrame,
        sequence: int | None,
        viewpoint: Viewpoint | None,
        reformatter: VideoReformatter,
    ) -> None:
        self.video = video
        self.sequence = sequence
        self.viewpoint = viewpoint
        self._reformatter = reformatter

    @property
    def seconds(self) -> float:
        """The sender's time, since the first frame."""
        return self.video.time or 0.0

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """sRGB. [H, W, 3]"""
        picture = self._reformatter.reformat(self.video, format="rgb24").to_ndarray()
        return np.asarray(picture, np.uint8)

    def i420(self, size: int) -> NDArray[np.uint8]:
        """The picture as movies hold it, square. [size * 3 / 2, size]

        Args:
            size: side in pixels; a picture of another one is scaled.
        """
        video = self.video
        if (video.width, video.height, video.format.name) != (size, size, "yuv420p"):
            video = self._reformatter.reformat(video, size, size, "yuv420p")
        return np.asarray(video.to_ndarray(), np.uint8)


class Pictures:
    """The newest frame, for any number of loops that wait for it.

    `over` says that no more come, `lost` that they ended before the call did, `count` how many
    came.
    """

    def __init__(self) -> None:
        self.over = False
        self.lost = False
        self.count = 0
        self._newest: VideoFrame | None = None
        self._shows: dict[int, int | None] = {}
        self._news = News()
        # One for all frames: one each has made programs grow.
        self._reformatter = VideoReformatter()

    def put(self, video: VideoFrame) -> None:
        """Replace the newest frame."""
        self._newest = video
        self.count += 1
        self.notify()

    def told(self, rtp: int, sequence: int | None) -> None:
        """The server says which viewpoint a frame shows."""
        remember(self._shows, rtp, sequence)

    def end(self, *, lost: bool) -> None:
        """No more come. What is said first holds."""
        if not self.over:
            self.over, self.lost = True, lost
        self.notify()

    def notify(self) -> None:
        """Wake all who wait."""
        self._news.tell()

    async def news(self) -> None:
        """Wait for a frame, the end, or whatever else somebody is woken for."""
        await self._news.wait()

    def newest(self, receiver: RTCRtpReceiver, viewpoints: dict[int, Viewpoint]) -> ReceivedFrame:
        """The newest frame.

        Args:
            receiver: that it came in through.
            viewpoints: by their numbers.
        """
        assert self._newest is not None and self._newest.pts is not None
        rtp = rtp_timestamp(receiver, self._newest.pts)
        sequence = None
        # An encoder may round the timestamp: one tick of 1/90000 s is the same frame.
        for near in (rtp, rtp + 1, rtp - 1):
            if near in self._shows:
                sequence = self._shows[near]
                break
        viewpoint = None if sequence is None else viewpoints.get(sequence)
        return ReceivedFrame(self._newest, sequence, viewpoint, self._reformatter)
