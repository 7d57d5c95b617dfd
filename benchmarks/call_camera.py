"""A film for Chromium's fake camera: a portrait that moves before the camera, each frame with its
number in the picture, so that a server knows which frame it has got."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import call_stamp

CAMERA_WIDTH, CAMERA_HEIGHT, CAMERA_FPS = 640, 480, 30
CAMERA_BLOCK = 20
"""Side of a block of the stamp, pixels: the browser's encoder is rougher than ours."""
CAMERA_FRAMES = 240
"""The film repeats after 8 seconds."""
FILL = 0.95
"""Height of the portrait picture as part of the camera's."""
JPEG_QUALITY = 92

Picture = NDArray[np.uint8]


def seen(portrait: Picture, index: int) -> Picture:
    """What the camera sees in one frame: the person sways, nods and leans. RGB [480, 640, 3]

    Args:
        portrait: RGB, one face. [H, W, 3]
        index: of the frame.
    """
    phase = 2 * math.pi * index / CAMERA_FRAMES
    height, width = portrait.shape[:2]
    scale = FILL * CAMERA_HEIGHT / height * (1 + 0.03 * math.sin(3 * phase))
    roll = math.radians(4 * math.sin(2 * phase))
    x = CAMERA_WIDTH / 2 + 14 * math.sin(4 * phase)
    y = CAMERA_HEIGHT / 2 + 6 * math.sin(6 * phase) + CAMERA_HEIGHT * (1 - FILL) / 2
    turn = scale * np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    shift = np.array([x, y]) - turn @ np.array([width / 2, height / 2])
    frame = cv2.warpAffine(
        portrait,
        np.c_[turn, shift],
        (CAMERA_WIDTH, CAMERA_HEIGHT),
        flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.uint8)
    call_stamp.stamp(frame, index, CAMERA_BLOCK)
    return frame


def write_film(path: Path, portrait: Picture) -> None:
    """Write the film as MJPEG: JPEG pictures one after the other. Chromium repeats it for ever."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    with path.open("wb") as film:
        for index in range(CAMERA_FRAMES):
            bgr = np.ascontiguousarray(seen(portrait, index)[..., ::-1])
            film.write(cv2.imencode(".jpg", bgr, quality)[1].tobytes())
