"""A webcam for benchmarks of live avatars: a portrait before a wall, noise, and a video encoder.

The camera and the person rest, unless a step opens the mouth or a move shifts the picture; what
then varies from frame to frame is the sensor's noise and what H.264 makes of it, as in a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.face_models import Mesh, Picture

WIDTH, HEIGHT = 640, 480
WALL = (150, 140, 125)
NOISE = 3.0
"""Standard deviation of a pixel, grey levels."""
BITRATE = 1_500_000
INNER_LIPS, CORNERS = (13, 14), (61, 291)


def before_wall(rgba: NDArray[np.float32], side: int = 440) -> NDArray[np.float32]:
    """A picture of head and shoulders at the middle of the frame's lower edge.

    Args:
        rgba: premultiplied, 0..1. [S, S, 4]
        side: pixels that it takes.

    Returns:
        0..255. [480, 640, 3]
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    wall = np.array(WALL, np.float32) * (1 + 0.1 * (x / WIDTH - y / HEIGHT))[..., None]
    size = cv2.INTER_AREA if side < len(rgba) else cv2.INTER_CUBIC
    small = np.clip(cv2.resize(rgba, (side, side), interpolation=size), 0, 1)
    left, top = (WIDTH - side) // 2, HEIGHT - side
    part = wall[top:, left : left + side]
    part[:] = 255 * small[..., :3] + (1 - small[..., 3:]) * part
    return np.asarray(wall)


def mouth_opened(frame: NDArray[np.float32], mesh: Mesh) -> NDArray[np.float32]:
    """The same face with a dark mouth, as wide open as in speaking. [480, 640, 3]"""
    middle = mesh.points[list(INNER_LIPS), :2].mean(0)
    width = float(np.hypot(*(mesh.points[CORNERS[0], :2] - mesh.points[CORNERS[1], :2])))
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    radius = np.hypot((x - middle[0]) / (0.32 * width), (y - middle[1] - 2) / (0.2 * width))
    open_ = np.clip((1.1 - radius) / 0.2, 0, 1)[..., None]
    return np.asarray(frame * (1 - open_) + np.array([52, 18, 20], np.float32) * open_)


def filmed(frames: Iterable[NDArray[np.float32]], seed: int = 0) -> Iterator[Picture]:
    """The frames [480, 640, 3], 0..255, as they reach a server: noisy, encoded and decoded."""
    random = np.random.default_rng(seed)
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
    encoder.bit_rate = BITRATE
    encoder.options = {"preset": "superfast", "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = encoder.thread_count = 1
    for index, frame in enumerate(frames):
        noisy = np.clip(frame + random.normal(0, NOISE, frame.shape), 0, 255).astype(np.uint8)
        picture = av.VideoFrame.from_ndarray(noisy, format="rgb24")
        picture.pts, picture.time_base = index, Fraction(1, 30)
        for packet in encoder.encode(picture):
            for decoded in decoder.decode(packet):
                yield np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8)
