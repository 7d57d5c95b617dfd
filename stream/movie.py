"""Writing a row of pictures as an ordinary movie file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

QUALITY = 17
"""x264's constant rate factor; from 18 down the loss is hardly visible."""


def write_movie(
    path: str | os.PathLike[str], pictures: Iterable[NDArray[np.uint8]], size: int, fps: int
) -> None:
    """Write H.264 in MP4, readable from its first bytes on (the index stands in front).

    Args:
        path: file to write.
        pictures: I420, BT.601 limited range. [size * 3 / 2, size] each
        size: side of the picture, pixels, even.
        fps: pictures per second.
    """
    options = {"movflags": "faststart"}
    with av.open(os.fspath(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        video.options = {"crf": str(QUALITY), "preset": "medium", "profile": "high"}
        video.codec_context.thread_count = 1  # the renderer needs the other cores
        # Without these a player guesses the matrix from the size, and some guess wrong.
        video.codec_context.colorspace = Colorspace.ITU601
        video.codec_context.color_range = ColorRange.MPEG
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = index
            frame.time_base = Fraction(1, fps)
            frame.colorspace = Colorspace.ITU601
            frame.color_range = ColorRange.MPEG
            container.mux(video.encode(frame))
        container.mux(video.encode())
