"""A real face for tests, and what can happen to it. The astronaut is in the public domain."""

import cv2
import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator
from skimage.data import astronaut

from models.errors import SetupError
from models.face_models import DETECTOR, MESH, SEGMENTER, model_file

try:
    for _name in (DETECTOR, MESH, SEGMENTER):
        model_file(_name)
    _missing = ""
except SetupError as error:
    _missing = str(error)

needs_face_models = pytest.mark.skipif(bool(_missing), reason=_missing or "face models are there")


def portrait() -> np.ndarray:
    """The astronaut: a real photograph, nearly frontal. [512, 512, 3]"""
    return np.array(astronaut())


def on_canvas(*faces: tuple[int, int, int], height: int = 480, width: int = 640) -> np.ndarray:
    """A grey picture with head and shoulders pasted at (left, top, size)."""
    canvas = np.full((height, width, 3), 90, np.uint8)
    bust = portrait()[:340, 60:400]
    for left, top, size in faces:
        small = cv2.resize(bust, (size, size), interpolation=cv2.INTER_AREA)
        canvas[top : top + size, left : left + size] = small
    return canvas


def webcam() -> np.ndarray:
    """A frame of a webcam with the astronaut before it. [480, 640, 3]"""
    return on_canvas((130, 60, 400))


def turned(landmarks: np.ndarray, degrees: float) -> np.ndarray:
    """The astronaut with the face turned to the left of the picture, by moving its landmarks."""
    middle, angle = landmarks.mean(0), np.radians(degrees)
    offset = landmarks - middle
    x = offset[:, 0] * np.cos(angle) + offset[:, 2] * np.sin(angle)
    moved = np.c_[x, offset[:, 1]] + middle[:2]
    frame = np.array(
        [
            (x, y)
            for x in np.linspace(0, 511, 6)
            for y in np.linspace(0, 511, 6)
            if not (130 < x < 320 and 30 < y < 220)
        ]
    )
    back = LinearNDInterpolator(
        np.r_[moved, frame], np.r_[landmarks[:, :2], frame].astype(np.float32)
    )
    y, x = np.mgrid[:512, :512] + 0.0
    source = back(x, y).astype(np.float32)
    return np.asarray(cv2.remap(portrait(), source[..., 0], source[..., 1], cv2.INTER_LINEAR))
