"""What is worn on the head: beanies, caps, brimmed hats, headscarves, headphones.

All of them sit on the hull of the head: how far it reaches in a direction, whatever its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.people.clothes import CHEST, Torso
from training.people.facekit import LANDMARKS, FaceKit
from training.people.mesh import Mesh, cloth, joined, tube

F32 = NDArray[np.float32]
HEAD = (0.0, 3.0, 0.5)
CENTER = np.array(HEAD, np.float32)
ROWS, COLUMNS = 22, 56
HEADWEAR = 0.14
KINDS = ("beanie", "cap", "brimmed", "headscarf")
RESERVED = ("turban", "beret")
"""Kinds that nobody in the training corpus wears."""


@dataclass(frozen=True)
class Headwear:
    """Meshes to draw, and what they do to the hair.

    `rim` is the height (kit y) of the edge at kit z = 0 and its slope along z; hair above it is
    kept inside the hull. Where `hides` is set no hair shows at all.
    """

    meshes: list[Mesh]
    hull: F32 | None  # [S, 3] skin points that span the hull; None leaves the hair alone
    rim: tuple[float, float]
    hides: bool = False

    def press(self, points: F32) -> F32:
        """Strands [N, K, 3], kept inside what is worn over them."""
        if self.hull is None:
            return points
        away = points - CENTER
        distance = np.linalg.norm(away, axis=-1, keepdims=True) + 1e-6
        limit = reach(self.hull, (away / distance).reshape(-1, 3)).reshape(distance.shape) + 0.1
        covered = points[..., 1:2] > self.rim[0] + self.rim[1] * points[..., 2:3] - 0.4
        pressed = CENTER + away * np.minimum(1, limit / distance)
        return np.where(covered, pressed, points).astype(np.float32)


def sample_headwear(
    kit: FaceKit,
    vertices: F32,
    torso: Torso,
    rng: np.random.Generator,
    share: float = HEADWEAR,
    instead: str | None = None,
) -> Headwear | None:
    """Something on the head for a `share` of the people, headphones for a few more.

    `instead`, a kind of `RESERVED`, is worn in any case.
    """
    kind = str(rng.choice(KINDS, p=[0.3, 0.3, 0.15, 0.25]))
    color = np.clip(rng.uniform(0.03, 0.9) * rng.uniform(0.5, 1.0, 3), 0.02, 0.9)
    draw = rng.uniform()
    if draw > share + 0.05 and instead is None:
        return None
    hull = vertices[np.unique(kit.skin_triangles)][::7]
    hull = hull[hull[:, 1] > -6]
    if instead is not None:
        return _wound(hull, vertices, color, rng, instead)
    if draw > share:
        return Headwear([_headphones(hull, vertices, color, rng)], None, (0, 0))
    if kind == "headscarf":
        return _headscarf(hull, vertices, torso, color, rng)
    brow = vertices[LANDMARKS[17:27], 1].max()
    front = brow + rng.uniform(1.2, 3.2)
    back = rng.uniform(0.5, 3.5) if kind == "beanie" else rng.uniform(2.5, 4.5)
    slope = (front - back) / 18.0
    rim = (front - 9 * slope, slope)
    dome = _dome(hull, rim, rng.uniform(0.35, 0.7), rng.uniform(0, 2.2), kind == "beanie")
    ribs = kind == "beanie"
    crown = dome if ribs else _creased(dome, rng)
    meshes = [_cloth(crown, _fabric(color, rng, ribs))]
    if kind == "cap":
        meshes.append(_visor(dome[0], color, rng))
    elif kind == "brimmed":
        meshes.append(_brim(dome[0], color, rng))
    else:
        band = dome[0] + np.array([0, 0.5, 0], np.float32)
        meshes.append(tube(band, np.array([[0.35, 0.9]] * (COLUMNS + 1)), 8, color, 0.03, True))
    return Headwear(meshes, hull, rim)


def reach(hull: F32, directions: F32) -> F32:
    """How far the hull of points [S, 3] reaches from CENTER along unit `directions` [N, 3]. [N]"""
    far = np.empty(len(directions), np.float32)
    offsets = (hull - CENTER).T
    for start in range(0, len(directions), 8192):
        part = slice(start, start + 8192)
        far[part] = (directions[part] @ offsets).max(1)
    return far


def _directions(azimuth: F32, elevation: F32) -> F32:
    cos = np.cos(elevation)
    return np.stack([cos * np.cos(azimuth), np.sin(elevation), cos * np.sin(azimuth)], -1).astype(
        np.float32
    )


def _dome(hull: F32, rim: tuple[float, float], margin: float, peak: float, soft: bool) -> F32:
    """Rings [ROWS, COLUMNS, 3] from the rim to the top; `peak` raises the top."""
    azimuth = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    low, high = np.full(COLUMNS, -0.8), np.full(COLUMNS, 1.4)
    for _ in range(18):  # bisect the elevation at which the hull meets the rim's plane
        middle = (low + high) / 2
        d = _directions(azimuth, middle)
        point = CENTER + d * (reach(hull, d) + margin)[:, None]
        under = point[:, 1] < rim[0] + rim[1] * point[:, 2]
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    t = np.linspace(0, 1, ROWS)[:, None]
    elevation = low[None] + (np.pi / 2 - low[None]) * t
    d = _directions(np.broadcast_to(azimuth, elevation.shape).ravel(), elevation.ravel())
    far = (reach(hull, d) + margin).reshape(ROWS, COLUMNS, 1)
    rings = CENTER + d.reshape(ROWS, COLUMNS, 3) * far
    lift = peak * (t**1.5 if soft else np.clip(t * 2.2, 0, 1) * 0.8)
    rings[..., 1] += lift
    return rings.astype(np.float32)


def _cloth(rings: F32, texture: F32, inside: tuple[float, float, float] = HEAD) -> Mesh:
    return cloth(rings, texture, 0.04, inside)


def _creased(rings: F32, rng: np.random.Generator) -> F32:
    return (rings + 0.05 * rng.standard_normal(rings.shape)).astype(np.float32)


def _fabric(color: F32, rng: np.random.Generator, ribs: bool = False) -> F32:
    """A texture [64, 256, 3]: plain, striped or ribbed."""
    v, u = np.meshgrid(np.arange(64) / 64, np.arange(256) / 256, indexing="ij")
    pattern = 0.12 * np.cos(2 * np.pi * u * 64) if ribs else 0 * u
    if rng.uniform() < 0.35:
        pattern = pattern + 0.35 * (np.cos(2 * np.pi * v * rng.integers(2, 9)) > rng.uniform(0, 1))
    weave = 0.05 * rng.standard_normal(u.shape)
    return np.clip(color * (1 + pattern + weave)[..., None], 0, 1).astype(np.float32)


def _visor(rim: F32, color: F32, rng: np.random.Generator) -> Mesh:
    """The peak of a cap, before the front of the rim (both sides are drawn)."""
    return _sheet(rim, rng.uniform(4.5, 7), rng.uniform(0.12, 0.35), 0.95, color, rng)


def _brim(rim: F32, color: F32, rng: np.random.Generator) -> Mesh:
    return _sheet(rim, rng.uniform(4, 8), rng.uniform(-0.1, 0.25), None, color, rng)


def _sheet(
    rim: F32, width: float, droop: float, half_angle: float | None, color: F32,
    rng: np.random.Generator,
) -> Mesh:  # fmt: skip
    """A ring around the rim, or its front part alone, narrowing towards both ends."""
    outward = rim - rim.mean(0)
    outward[:, 1] = 0
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    azimuth = np.arctan2(outward[:, 0], outward[:, 2])
    share = np.ones(len(rim))
    if half_angle is not None:
        share = np.clip(1 - (azimuth / half_angle) ** 4, 0, 1) ** 0.5
    steps = np.linspace(0, 1, 6)[:, None, None]
    reachable = steps * width * share[None, :, None]
    rings = rim[None] + outward[None] * reachable
    rings[..., 1] -= (droop * width * steps**1.5 * share[None, :, None])[..., 0]
    shade = color * rng.uniform(0.7, 1.1)
    return _cloth(_creased(rings, rng), _fabric(shade, rng))


def _wound(hull: F32, vertices: F32, color: F32, rng: np.random.Generator, kind: str) -> Headwear:
    """A turban of crossing windings, or a beret pulled to one side."""
    front = vertices[LANDMARKS[17:27], 1].max() + rng.uniform(1.0, 2.4)
    back = rng.uniform(0.5, 2.0) if kind == "turban" else rng.uniform(4.0, 6.0)
    slope = (front - back) / 18.0
    rim = (front - 9 * slope, slope)
    dome = _dome(hull, rim, 0.45, 0.0, True)
    outward = dome - dome.mean((0, 1))
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    t = np.linspace(0, 1, ROWS)[:, None]
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)[None] + np.pi / 2
    if kind == "turban":
        from_front = np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi)
        winding = np.abs(np.sin(np.pi * (rng.integers(4, 6) * t - 0.55 * from_front)))
        thick = rng.uniform(1.1, 2.2) * np.sin(np.pi * np.clip(0.25 + 0.75 * t, 0, 1)) ** 0.6
        dome = dome + outward * (0.2 + thick * (0.72 + 0.28 * winding))[..., None]
        texture = _fabric(color, rng)
    else:
        flat = outward * np.array([1.0, 0.0, 1.0])
        wide = rng.uniform(2.0, 3.4) * np.sin(np.pi * np.clip(t * 1.15, 0, 1)) ** 0.8
        dome = dome + flat * wide[..., None]
        dome[..., 1] -= (0.6 * wide * np.clip(1 - 2 * t, 0, 1)) + 1.2 * t
        tilt = rng.choice([-1.0, 1.0]) * rng.uniform(0.12, 0.25)
        dome[..., 1] += np.clip(2.5 * t, 0, 1) * tilt * dome[..., 0]
        dome[..., 0] -= np.sign(tilt) * 1.6 * np.sin(np.pi * t)
        texture = _fabric(color, rng)
    return Headwear([_cloth(_creased(dome, rng), texture)], hull, rim)


def _headscarf(
    hull: F32, vertices: F32, torso: Torso, color: F32, rng: np.random.Generator
) -> Headwear:
    """Cloth from the forehead over the ears to the chin and down onto the shoulders."""
    points = vertices[LANDMARKS]
    brow, chin = points[17:27, 1].max(), points[8, 1]
    half_width = np.abs(points[[0, 16], 0]).mean() - rng.uniform(0.2, 1.2)
    top, bottom = brow + rng.uniform(1.5, 3.5), chin - rng.uniform(0.3, 0.8)
    # The opening around the face, then rings that run back over the head and close behind it.
    angle = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    middle, half_height = (top + bottom) / 2, (top - bottom) / 2
    x, y = half_width * np.cos(angle), middle + half_height * np.sin(angle)
    opening = np.stack([x, y, np.zeros_like(x)], -1)
    profile = np.interp(y, [bottom, chin + 3, brow, top], [6.5, 3.4, 4.6, 6.8])
    opening[:, 2] = profile - 0.5 * np.abs(np.cos(angle))
    away = opening - CENTER
    start = away / np.linalg.norm(away, axis=1, keepdims=True)
    back = np.array([0.0, 0.1, -1.0])
    t = np.linspace(0, 1, ROWS)[:, None, None]
    d = start[None] * (1 - t) + back * t
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    far = reach(hull, d.reshape(-1, 3).astype(np.float32)).reshape(ROWS, COLUMNS, 1)
    own = np.linalg.norm(away, axis=1)[None, :, None]
    blend = np.clip(t * 6, 0, 1)
    margin = rng.uniform(0.4, 1.1)
    folds = 0.25 * np.sin(angle * rng.integers(5, 9) + rng.uniform(0, 6))[None, :, None]
    rings = CENTER + d * (own * (1 - blend) + (far + margin + folds * t) * blend)
    low = np.clip((bottom + 4 - rings[..., 1]) / 8, 0, 1) * np.clip(t[..., 0] * 3, 0, 1)
    rings[..., 1] -= 2.5 * low  # it hangs below the jaw
    drape = np.linspace(0, 1, 12)[:, None]
    around = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    radius = 7.2 + (rng.uniform(12, 17) - 7.2) * drape**1.3
    shawl = np.stack(
        [
            radius * np.cos(around),
            bottom + 1.0 - rng.uniform(9, 13) * drape + 0 * around,
            -1.5 + 0.72 * radius * np.sin(around),
        ],
        -1,
    )
    texture = _fabric(color, rng)
    shawl += 0.3 * np.sin(around * rng.integers(6, 11))[None, :, None] * drape[..., None]
    shawl = torso.outside(shawl.reshape(-1, 3), 0.9).reshape(shawl.shape)
    meshes = [
        _cloth(_creased(rings, rng), texture),
        _cloth(_creased(shawl, rng), texture, inside=CHEST),
    ]
    return Headwear(meshes, hull, (top, 0.0), hides=True)


def _headphones(hull: F32, vertices: F32, color: F32, rng: np.random.Generator) -> Mesh:
    """A band over the head with a cup on each ear."""
    elevation = np.linspace(-0.02, np.pi + 0.02, 40)
    d = np.stack([np.cos(elevation), np.sin(elevation), 0 * elevation - 0.05], -1)
    d = (d / np.linalg.norm(d, axis=1, keepdims=True)).astype(np.float32)
    band = CENTER + d * (reach(hull, d) + rng.uniform(0.6, 1.4))[:, None]
    parts = [tube(band, np.array([[0.25, 0.8]] * 40), 8, color, 0.3, closed=False)]
    ears = np.abs(vertices[LANDMARKS[[0, 16]], 0]).mean() + 0.9
    size, depth = rng.uniform(2.4, 3.6), rng.uniform(1.2, 2.2)
    for side in (-1.0, 1.0):
        path = np.stack([side * (ears + np.linspace(-0.4, depth, 8)), np.full(8, 2.2),
                         np.full(8, 0.8)], 1)  # fmt: skip
        profile = size * np.array([0.8, 0.98, 1.0, 1.0, 0.98, 0.92, 0.7, 0.02])
        parts.append(tube(path, np.stack([profile, profile * 1.15], 1), 24, color, 0.3, False))
    return joined(parts)
