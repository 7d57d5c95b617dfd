"""Camera frames of a caller for tests: the astronaut, and the person that ships, seen as asked."""

from pathlib import Path

import cv2
import numpy as np

from models.engine import Avatar, Engine, Picture, RenderRequest
from models.viewpoint import Viewpoint

DEMO = Path(__file__).parents[2] / "models" / "assets" / "demo_portrait.png"


def rgb(frame: Picture) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420)


def moved(picture: Picture, x: float = 0, y: float = 0, zoom: float = 1) -> Picture:
    """A picture shifted by pixels and enlarged about its middle."""
    height, width = picture.shape[:2]
    move = np.array([[zoom, 0, x + width / 2 * (1 - zoom)], [0, zoom, y + height / 2 * (1 - zoom)]])
    return np.asarray(
        cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    )


def noisy(picture: Picture, seed: int, sigma: float = 4.0) -> Picture:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def turned_to(engine: Engine, avatar: Avatar, yaw: float, pitch: float = 0) -> Picture:
    """A webcam's frame of someone who has turned, as the engine sees them. [480, 640, 3]"""
    (frame,) = engine.render([RenderRequest(avatar, Viewpoint(yaw=yaw, pitch=pitch))])
    picture = np.full((480, 640, 3), (70, 74, 82), np.uint8)
    picture[80:, 120:520] = cv2.resize(rgb(frame), (400, 400), interpolation=cv2.INTER_CUBIC)
    return picture


def mouth_painted(picture: Picture, landmarks: np.ndarray) -> tuple[Picture, np.ndarray]:
    """The same face with a wide open, dark mouth; and where that is, in the picture."""
    middle = landmarks[[13, 14], :2].mean(0)
    width = float(np.hypot(*(landmarks[61, :2] - landmarks[291, :2])))
    mouth = np.zeros(picture.shape[:2], np.uint8)
    axes = (round(0.32 * width), round(0.22 * width))
    cv2.ellipse(mouth, tuple(int(v) for v in middle.round()), axes, 0, 0, 360, 1, -1)
    painted = picture.copy()
    painted[mouth > 0] = (52, 18, 20)
    return painted, mouth > 0
