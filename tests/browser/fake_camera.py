"""A film for Chromium's fake camera, made of the astronaut portrait of scikit-image.

The picture is a NASA photograph in the public domain, and a real one. The film may begin with an
empty wall, so that the page has something to complain about; the person sways a little, for a
camera never gives the same picture twice.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 640, 480, 30
PERSON_SECONDS, SWAY_SECONDS = 10, 2
JPEG_QUALITY = 92

Picture = NDArray[np.uint8]


def person(turn: float = 0.0) -> Picture:
    """What the camera sees of the person; `turn` 0..1 is the phase of swaying. RGB [480, 640, 3]"""
    angle = 2 * np.pi * turn
    scale = 1.95  # the face is then about a third of the picture's width, as before a laptop
    x, y = 225 + 2.5 * np.sin(angle), 116 + 1.5 * np.sin(2 * angle)
    to_camera = np.array([[scale, 0, WIDTH / 2 - scale * x], [0, scale, 0.45 * HEIGHT - scale * y]])
    seen = cv2.warpAffine(
        skimage.data.astronaut(),
        to_camera,
        (WIDTH, HEIGHT),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(seen, np.uint8)


def empty_wall() -> Picture:
    """The same room with nobody in it. RGB [480, 640, 3]"""
    shade = np.linspace(205, 150, WIDTH)[None, :, None] * np.array([1.0, 0.97, 0.93])
    return np.broadcast_to(shade, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def write_film(path: Path, empty_seconds: int) -> None:
    """Write the film as MJPEG: JPEG pictures one after the other. Chromium repeats it for ever."""

    def jpeg(picture: Picture) -> bytes:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()

    steps = SWAY_SECONDS * FPS
    sway = b"".join(jpeg(person(i / steps)) for i in range(steps))
    empty = jpeg(empty_wall())
    path.write_bytes(empty * (empty_seconds * FPS) + sway * (PERSON_SECONDS // SWAY_SECONDS))
