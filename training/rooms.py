"""Rooms behind people, as a webcam shows them: walls in perspective, windows, lamps, shelves.

Flat shapes and a blur are enough: what a network must learn is that edges, bright areas and
clutter behind a head do not belong to it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Spot = tuple[int, tuple[float, float], tuple[float, float]]
"""A wall, and a rectangle on it as `_Room.quad` takes it."""
SHARPEST, SOFTEST = 0.002, 0.035
"""Standard deviation of the blur, in picture widths."""
NEAR = 5.0
"""How much larger than at the back wall something looks where a side wall leaves the room."""


class _Canvas:
    """A picture in which shapes are drawn by coordinates in picture widths."""

    def __init__(self, size: int, color: F32) -> None:
        self.size = size
        self.image = np.empty((size, size, 3), np.float32)
        self.image[:] = color

    def shape(self, corners: NDArray[np.floating], color: NDArray[np.floating]) -> None:
        """Fill the polygon [N, 2], placed to a sixteenth of a pixel. OpenCV smooths no edges in
        pictures of floats: the blur of the room does."""
        points = np.round(np.clip(corners, -30, 30) * (self.size * 16)).astype(np.int32)
        cv2.fillConvexPoly(self.image, points, color.tolist(), cv2.LINE_8, 4)

    def glow(self, center: F32, radius: float, color: F32) -> None:
        """Add a light that fades with the distance."""
        axis = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        fall = [np.exp(-(((axis - c) / radius) ** 2)) for c in center]
        self.image += np.multiply.outer(np.outer(fall[1], fall[0]), color)


class _Room:
    """A back wall from `low` to `high` [2], a point that the room recedes to, and its walls."""

    def __init__(self, rng: np.random.Generator) -> None:
        center = rng.uniform(0.3, 0.7, 2)
        half = rng.uniform(0.25, 1.0, 2)
        self.rng = rng
        self.to = rng.uniform(0.2, 0.8, 2)
        self.low, self.high = center - half, center + half * [1.0, rng.uniform(0.4, 1.0)]
        self.low, self.high = (
            np.minimum(self.low, self.to - 0.1),
            np.maximum(self.high, self.to + 0.1),
        )

    def quad(self, wall: int, u: tuple[float, float], v: tuple[float, float]) -> F32:
        """Corners [4, 2] of a rectangle on the back wall (0) or on the left (1) or right (2) one.

        `v` runs from 0 at the ceiling to 1 at the floor; `u` from left to right on the back wall,
        and from 0 at the back wall to 1 towards the camera on the others.
        """
        corners = []
        for along, down in ((u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1])):
            y = self.low[1] + (self.high[1] - self.low[1]) * down
            if wall == 0:
                corners.append([self.low[0] + (self.high[0] - self.low[0]) * along, y])
            else:
                edge = np.array([(self.low if wall == 1 else self.high)[0], y])
                near = NEAR / (NEAR - (NEAR - 1) * along)  # depth is even in its inverse
                corners.append((self.to + (edge - self.to) * near).tolist())
        return np.array(corners, np.float32)


def room(size: int, rng: np.random.Generator) -> F32:
    """A random room, blurred. [size, size, 3], 0..1"""
    blur = SHARPEST * (SOFTEST / SHARPEST) ** rng.uniform()
    # What is blurred anyway is drawn at half the size: the blur is most of the cost.
    drawn = size // 2 if blur * size > 1.6 else size
    tint = 1 + 0.12 * rng.uniform(-1, 1, 3)
    wall = (rng.uniform(0.12, 0.9) * tint * rng.uniform(0.85, 1.0, 3)).astype(np.float32)
    place = _Room(rng)
    canvas = _Canvas(drawn, wall)
    _walls(canvas, place, wall)
    things = (_frames, _shelf, _window, _lamp, _furniture)
    for index in rng.permutation(len(things))[: rng.integers(2, 5)]:
        things[index](canvas, place)
    image = cv2.GaussianBlur(canvas.image, (0, 0), max(0.4, blur * drawn))
    if drawn != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 1, out=image)


def _color(rng: np.random.Generator, low: float = 0.04, high: float = 0.8) -> F32:
    return (rng.uniform(low, high) * rng.uniform(0.55, 1.0, 3)).astype(np.float32)


def _walls(canvas: _Canvas, place: _Room, color: F32) -> None:
    """Side walls, ceiling and floor (of wood or carpet) around the back wall."""
    rng = place.rng
    for side in (1, 2):
        canvas.shape(place.quad(side, (0, 1), (0, 1)), color * rng.uniform(0.7, 1.15))
    back = place.quad(0, (0, 1), (0, 1))
    far = place.to + (back - place.to) * NEAR
    canvas.shape(
        np.stack([back[0], back[1], far[1], far[0]]), np.clip(color * rng.uniform(1, 1.3), 0, 1)
    )
    brown = rng.uniform(0.15, 0.7) * np.array([1.0, rng.uniform(0.6, 0.95), rng.uniform(0.35, 0.9)])
    canvas.shape(np.stack([back[3], back[2], far[2], far[3]]), brown)
    if rng.uniform() < 0.5:  # a skirting board
        canvas.shape(place.quad(0, (0, 1), (0.96, 1)), np.clip(color * rng.uniform(0.5, 1.4), 0, 1))
    # Light falls off across the room.
    ramp = np.linspace(rng.uniform(0.75, 1), rng.uniform(0.75, 1), canvas.size, dtype=np.float32)
    canvas.image *= ramp[None, :, None] if rng.uniform() < 0.6 else ramp[:, None, None]


def _spot(place: _Room, width: tuple[float, float], height: tuple[float, float]) -> Spot:
    """A wall, and the ranges of a rectangle of random size on it."""
    rng = place.rng
    wide, high = rng.uniform(*width), rng.uniform(*height)
    left, top = rng.uniform(0, 1 - wide), rng.uniform(0.05, max(0.06, 0.9 - high))
    return int(rng.choice([0, 0, 1, 2])), (left, left + wide), (top, top + high)


def _frames(canvas: _Canvas, place: _Room) -> None:
    """Pictures on a wall."""
    rng = place.rng
    for _ in range(rng.integers(1, 4)):
        wall, u, v = _spot(place, (0.08, 0.25), (0.12, 0.35))
        canvas.shape(place.quad(wall, u, v), _color(rng, 0.02, 0.9))
        edge = 0.12 * (u[1] - u[0]), 0.12 * (v[1] - v[0])
        u, v = (u[0] + edge[0], u[1] - edge[0]), (v[0] + edge[1], v[1] - edge[1])
        canvas.shape(place.quad(wall, u, v), _color(rng, 0.1, 1.0))
        middle = v[0] + (v[1] - v[0]) * rng.uniform(0.3, 0.7)
        canvas.shape(place.quad(wall, u, (middle, v[1])), _color(rng))


def _shelf(canvas: _Canvas, place: _Room) -> None:
    """Boards with books and boxes."""
    rng = place.rng
    wall, u, v = _spot(place, (0.3, 0.6), (0.35, 0.85))
    board = _color(rng, 0.1, 0.8)
    canvas.shape(place.quad(wall, u, v), board * 0.5)
    count = int(rng.integers(2, 5))
    height = (v[1] - v[0]) / count
    for row in range(count):
        floor = v[0] + height * (row + 1)
        at = u[0] + 0.02
        for wide, tall, gap in zip(
            rng.uniform(0.012, 0.06, 14), rng.uniform(0.4, 0.85, 14), rng.uniform(size=14),
            strict=True,
        ):  # fmt: skip
            if at + wide > u[1] - 0.02:
                break
            if gap < 0.85:
                quad = place.quad(wall, (at, at + wide), (floor - tall * height, floor))
                canvas.shape(quad, _color(rng, 0.05, 0.9))
            at += wide + 0.003
        canvas.shape(place.quad(wall, u, (floor - 0.07 * height, floor)), board)


def _window(canvas: _Canvas, place: _Room) -> None:
    """A bright pane with bars, sometimes with a curtain; it glows."""
    rng = place.rng
    wall, u, v = _spot(place, (0.2, 0.5), (0.35, 0.7))
    light = rng.uniform(0.8, 1.15) * np.array([rng.uniform(0.88, 1.0), rng.uniform(0.94, 1), 1.0])
    bar = _color(rng, 0.5, 0.95)
    canvas.shape(place.quad(wall, u, v), bar)
    count = int(rng.integers(1, 4))
    step = (u[1] - u[0]) / count
    for pane in range(count):
        left = u[0] + step * (pane + 0.06)
        inner = (v[0] + 0.02, v[1] - 0.02)
        canvas.shape(place.quad(wall, (left, left + step * 0.88), inner), light)
        if rng.uniform() < 0.5:  # what stands outside
            low = (v[0] + (v[1] - v[0]) * rng.uniform(0.4, 0.8), v[1] - 0.02)
            canvas.shape(
                place.quad(wall, (left, left + step * 0.88), low), light * _color(rng, 0.5)
            )
    if rng.uniform() < 0.4:
        cloth = (u[0] - 0.03, u[0] + (u[1] - u[0]) * rng.uniform(0.1, 0.35))
        canvas.shape(place.quad(wall, cloth, (v[0] - 0.04, 0.98)), _color(rng, 0.2, 0.9))
    middle = place.quad(wall, u, v).mean(0)
    canvas.glow(middle, float(rng.uniform(0.2, 0.5)), (light * rng.uniform(0, 0.3)).astype("f4"))


def _lamp(canvas: _Canvas, place: _Room) -> None:
    """A shade, warm, on the wall or hanging."""
    rng = place.rng
    center, wide = rng.uniform([0.02, 0.05], [0.98, 0.6]), rng.uniform(0.03, 0.09)
    warm = np.array([1.1, rng.uniform(0.85, 1.0), rng.uniform(0.55, 0.85)])
    top = wide * rng.uniform(0.4, 1.0)
    canvas.glow(center, float(rng.uniform(0.12, 0.35)), (warm * rng.uniform(0.1, 0.5)).astype("f4"))
    stand = np.array([[-0.006, 0], [0.006, 0], [0.006, 0.6], [-0.006, 0.6]])
    canvas.shape(center + stand * rng.choice([1, -1]), _color(rng, 0.03, 0.5))
    shade = [[-top, -wide * 0.7], [top, -wide * 0.7], [wide, wide * 0.7], [-wide, wide * 0.7]]
    canvas.shape(center + shade, warm)


def _furniture(canvas: _Canvas, place: _Room) -> None:
    """A table's edge, a sofa or a cupboard before the back wall, and the back of a chair."""
    rng = place.rng
    left, top = rng.uniform(-0.4, 0.6), rng.uniform(0.45, 0.9)
    right, tilt = left + rng.uniform(0.4, 1.2), rng.uniform(-0.05, 0.05)
    color = _color(rng, 0.04, 0.7)
    canvas.shape(np.array([[left, top], [right, top + tilt], [right, 1.5], [left, 1.5]]), color)
    thick = rng.uniform(0.01, 0.05)
    edge = [[left, top], [right, top + tilt], [right, top + tilt + thick], [left, top + thick]]
    canvas.shape(np.array(edge), np.clip(color * rng.uniform(1.1, 1.8), 0, 1))
    if rng.uniform() < 0.4:
        angle = np.linspace(0, np.pi, 16)
        arch = np.stack([np.cos(angle) * rng.uniform(0.2, 0.36), -np.sin(angle) * 0.5], 1)
        back = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.95, 1.2)]) + arch
        canvas.shape(back, _color(rng, 0.02, 0.5))
