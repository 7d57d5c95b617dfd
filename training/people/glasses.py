"""Spectacle frames of bent tubes, fitted to the eyes, the nose and the ears."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.people.facekit import LANDMARKS
from training.people.mesh import Mesh, joined, tube

F32 = NDArray[np.float32]
Shape = Literal["usual", "aviator", "cat-eye"]
RESERVED: tuple[Shape, ...] = ("aviator", "cat-eye")
"""Shapes that nobody in the training corpus wears."""


def sample_glasses(
    vertices: F32, rng: np.random.Generator, share: float = 0.17, shape: Shape = "usual"
) -> Mesh | None:
    """Glasses for a `share` of the people."""
    wears = rng.uniform() < share
    half_width, half_height = rng.uniform(2.3, 2.9), rng.uniform(1.5, 2.2)
    squareness = rng.uniform(0.45, 1.0)
    thickness = rng.uniform(0.06, 0.22)
    colors = (
        [0.03, 0.03, 0.035],
        [0.16, 0.08, 0.04],
        [0.55, 0.53, 0.5],
        [0.5, 0.38, 0.16],
        [0.25, 0.05, 0.07],
    )
    color = np.array(colors[rng.integers(0, len(colors))]) * rng.uniform(0.8, 1.3)
    if not wears:
        return None
    points = vertices[LANDMARKS]
    angle = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    brow_z = max(points[20, 2], points[23, 2], points[27, 2])
    parts = []
    for corners, side in ((points[36:42], -1.0), (points[42:48], 1.0)):
        center = corners.mean(0)
        center[0] = side * max(abs(center[0]) + 0.15, half_width + 0.45)
        x = center[0] + half_width * np.sign(cos) * np.abs(cos) ** squareness
        y = center[1] - 0.35 + half_height * np.sign(sin) * np.abs(sin) ** squareness
        if shape == "aviator":  # a drop that hangs outwards
            x = x - side * half_width * 0.22 * np.clip(-sin, 0, 1)
            x = x + side * half_width * 0.3 * np.clip(-sin * (1 + side * cos), 0, 1)
            y = y - half_height * 0.35 * np.clip(-sin, 0, 1)
        elif shape == "cat-eye":  # drawn up at the temples, narrow at the bottom
            y = y + half_height * 0.55 * np.clip(side * cos, 0, 1) ** 2 * np.clip(sin + 0.4, 0, 1)
            x = x - half_width * 0.2 * np.sign(cos) * np.clip(-sin, 0, 1) * np.abs(cos)
        # The front bends around the face: it recedes with the distance from the nose.
        z = brow_z + 0.65 - 0.035 * x**2
        rim = np.stack([x, y, z], 1)
        parts.append(tube(rim, thickness, 6, color, 0.6, closed=True))
        hinge = np.array([side * (abs(center[0]) + half_width), center[1] + 0.2, 0.0])
        hinge[2] = brow_z + 0.65 - 0.035 * hinge[0] ** 2
        ear = np.array([side * (np.abs(points[[0, 16], 0]).mean() + 0.75), center[1] - 0.1, 1.0])
        t = np.linspace(0, 1, 12)[:, None]
        arm = hinge + (ear - hinge) * t
        arm[:, 0] += side * 0.35 * np.sin(np.pi * t[:, 0])
        parts.append(tube(arm, thickness * 0.9, 6, color, 0.6, closed=False))
    inner = abs(parts[0].positions[:, 0]).min()
    t = np.linspace(-1, 1, 10)
    bridge = np.stack(
        [t * inner, points[27, 1] + 0.25 * (1 - t**2) + 0.0 * t, brow_z + 0.65 + 0 * t], 1
    )
    parts.append(tube(bridge, thickness, 6, color, 0.6, closed=False))
    return joined(parts)
