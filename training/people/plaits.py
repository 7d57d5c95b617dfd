"""Two plaits: hair wound in three from behind each ear down before the shoulders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.people.clothes import Torso

F32 = NDArray[np.float32]
START = np.array([6.9, -1.5, -2.2])
"""Behind the subject's left ear of the mean head, kit space."""
TURNS = 0.42
"""Turns of the three locks in a kit unit."""


def grow_plaits(
    torso: Torso, length: float, count: int, points_per_strand: int, rng: np.random.Generator
) -> F32:
    """`count` strands in two plaits `length` long. [count, points_per_strand, 3]"""
    pieces = count  # a strand is a short piece of a lock: few points could not follow the winding
    side = np.where(np.arange(pieces) % 2 == 0, 1.0, -1.0)[:, None]
    lock = rng.integers(0, 3, pieces)[:, None]
    piece = min(1.0, 0.22 * points_per_strand / length)
    begin = rng.uniform(-0.3 * piece, 1 - 0.5 * piece, pieces)[:, None]
    t = begin + piece * np.linspace(0, 1, points_per_strand)[None]
    t = np.clip(t, 0, 1.03)
    path = START * np.stack([side + 0 * t, 1 + 0 * t, 1 + 0 * t], -1)
    path[..., 0] += side * 1.6 * np.sin(np.clip(t * 1.6, 0, np.pi / 2))
    path[..., 1] -= length * t
    path[..., 2] += 7.0 * np.clip(t * 1.3, 0, 1) ** 0.8  # over the shoulder to the front
    shape = path.shape
    path = torso.outside(path.reshape(-1, 3).astype(np.float32), 0.9).reshape(shape)
    width = rng.uniform(0.75, 1.05) * (1 - 0.35 * t) * np.where(t > 0.93, 0.6, 1.0)
    phase = 2 * np.pi * (TURNS * length * t + lock / 3)
    path[..., 0] += width * np.sin(phase)
    path[..., 2] += 0.55 * width * np.sin(2 * phase)
    spread = rng.standard_normal((pieces, 1, 3)) * np.array([0.2, 0.3, 0.2])
    fray = np.clip((t - 0.93) / 0.1, 0, 1)[..., None]  # the tuft below the band
    return (path + spread * (width[..., None] + fray)).astype(np.float32)
