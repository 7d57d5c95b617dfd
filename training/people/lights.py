"""Light as nine spherical-harmonic coefficients per colour, and what surfaces reflect of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

COSINE = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5, np.float32)
"""Spherical-harmonic coefficients of the clamped cosine (Ramamoorthi and Hanrahan 2001)."""


def harmonics(directions: NDArray[np.floating]) -> F32:
    """Real spherical harmonics up to degree 2 of unit `directions` [..., 3] -> [..., 9]."""
    x, y, z = np.moveaxis(np.asarray(directions, np.float32), -1, 0)
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        -1,
    )


@dataclass(frozen=True)
class Light:
    """An environment (kit axes): `radiance` [9, 3], not convolved with the cosine, and the
    direction and colour of the key light for highlights. `occlusion` is the share of self-shadowing
    that is left: rooms with many lamps and white walls fill shadows.
    """

    radiance: F32
    key: F32
    key_color: F32
    occlusion: float = 1.0


def sample_light(rng: np.random.Generator, exposure: float = 1.0) -> Light:
    """Ambient light, a key light in front, and two weaker ones anywhere; all times `exposure`."""
    radiance = np.zeros((9, 3))
    ambient = rng.uniform(0.25, 0.62) * rng.uniform(0.88, 1.12, 3)
    radiance[0] += ambient * 1.1 / (0.282095 * np.pi)
    angle = rng.uniform(-1.5, 1.5)
    key = np.array([np.sin(angle), rng.uniform(-0.2, 1.0), np.cos(angle)])
    key /= np.linalg.norm(key)
    key_color = rng.uniform(0.25, 1.0) * rng.uniform(0.8, 1.15, 3)
    radiance += np.outer(harmonics(key), key_color)
    for _ in range(2):
        direction = rng.standard_normal(3) + [0.0, 0.3, 0.3]
        direction /= np.linalg.norm(direction)
        radiance += np.outer(harmonics(direction), rng.uniform(0, 0.4) * rng.uniform(0.75, 1.2, 3))
    gain = exposure * np.exp(rng.uniform(-0.15, 0.65))  # shadows take about a tenth away
    filled = rng.uniform() < 0.4
    return Light(
        (radiance * gain).astype(np.float32),
        key.astype(np.float32),
        (key_color * gain).astype(np.float32),
        occlusion=float(rng.uniform(0, 0.7)) if filled else 1.0,
    )


def unshadowed_transfer(normals: F32) -> F32:
    """How much of each harmonic a surface without any occluder reflects. [N, 3] -> [N, 9]"""
    return harmonics(normals) * (COSINE / np.pi)


def sphere_directions(count: int, rng: np.random.Generator) -> F32:
    """Evenly spread unit directions [count, 3] (a Fibonacci spiral with a random phase)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = k * np.pi * (1 + 5**0.5) + rng.uniform(0, 2 * np.pi)
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), z, radius * np.sin(angle)], 1).astype(np.float32)
