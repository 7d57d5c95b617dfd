"""Earrings: studs, hoops and drops on the lobes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.people.facekit import FaceKit
from training.people.mesh import Mesh, joined, tube

F32 = NDArray[np.float32]
METALS = ([0.72, 0.58, 0.24], [0.72, 0.72, 0.74], [0.62, 0.42, 0.34], [0.06, 0.06, 0.07])


def sample_earrings(
    kit: FaceKit, vertices: F32, rng: np.random.Generator, share: float = 0.16
) -> Mesh | None:
    """A pair of earrings (now and then a single one) for a `share` of the people."""
    wears, single = rng.uniform() < share, rng.uniform() < 0.1
    color = np.array(METALS[rng.integers(0, len(METALS))]) * rng.uniform(0.8, 1.2)
    kind = rng.choice(["stud", "hoop", "drop"], p=[0.4, 0.35, 0.25])
    radius, length = rng.uniform(0.5, 1.9), rng.uniform(0.8, 3.0)
    if not wears:
        return None
    parts = []
    for side in (1.0, -1.0)[: 1 if single else 2]:
        lobe = vertices[_lobe(kit, side)] + np.array([0.12 * side, -0.05, 0.1], np.float32)
        if kind == "hoop":
            angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            ring = np.stack(
                [0.15 * np.cos(angle), np.sin(angle) - 1, 0.75 * np.cos(angle)], 1
            ) * radius  # fmt: skip
            parts.append(tube(lobe + ring, 0.09, 6, color, 0.8, closed=True))
        else:
            reach = length if kind == "drop" else 0.3
            path = lobe + np.linspace(0, 1, 8)[:, None] * np.array([0.05 * side, -reach, 0.0])
            width = np.array([0.08, 0.1, 0.1, 0.12, 0.2, 0.3, 0.26, 0.02])
            if kind == "stud":
                width = 0.24 * np.sin(np.linspace(0.1, np.pi - 0.1, 8))
            parts.append(tube(path.astype(np.float32), width, 8, color, 0.8, closed=False))
    return joined(parts)


def _lobe(kit: FaceKit, side: float) -> int:
    """The vertex of the lobe on the mean head: the lowest of the ear."""
    skin = np.unique(kit.skin_triangles)
    x, y, z = kit.neutral[skin].T
    ear = (side * x > 7.0) & (z > -2.5) & (z < 3.5) & (y > -4)
    return int(skin[ear][y[ear].argmin()])
