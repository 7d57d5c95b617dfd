"""Shoulders and what is worn on them: a superelliptic torso, textures, collars."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.people.mesh import Mesh, cloth, tube
from training.people.skin import Skin

F32 = NDArray[np.float32]
ROWS, COLUMNS = 34, 72
TEXTURE = (256, 512)
SQUARENESS = 0.75
BOTTOM = -34.0
USUAL_PATTERNS = {
    "plain": 0.34, "rings": 0.12, "columns": 0.1, "plaid": 0.12, "cloud": 0.12, "print": 0.12,
    "dots": 0.08,
}  # fmt: skip
RESERVED_PATTERNS = ("zigzag", "diamonds")
"""Patterns that nobody in the training corpus wears; nor does anybody wear a scarf there."""
CHEST = (0.0, -20.0, -3.0)
"""A point inside the torso."""


@dataclass(frozen=True)
class Torso:
    """The rings of the torso, for drawing and for keeping hair outside."""

    height: F32  # [ROWS] kit y of each ring before the shoulders drop
    half_width: F32  # [ROWS]
    half_depth: F32  # [ROWS]
    center_z: F32  # [ROWS]
    drop: F32  # [ROWS]

    def ring(self, angle: F32) -> F32:
        """Points [ROWS, A, 3] at `angle` [A]; 0 is the subject's left, pi / 2 the front."""
        cos, sin = np.cos(angle), np.sin(angle)
        x = self.half_width[:, None] * np.sign(cos) * np.abs(cos) ** SQUARENESS
        z = (
            self.center_z[:, None]
            + self.half_depth[:, None] * np.sign(sin) * np.abs(sin) ** SQUARENESS
        )
        y = self.height[:, None] - self.drop[:, None] * np.abs(x) ** 1.25
        return np.stack([x, y, z], -1).astype(np.float32)

    def outside(self, points: F32, margin: float) -> F32:
        """Move `points` [N, 3] that are inside the torso out to its surface plus `margin`."""
        # Undo the drop of the shoulders with the full coefficient, which only errs near the neck.
        height = points[:, 1] + self.drop[-1] * np.abs(points[:, 0]) ** 1.25
        down = -self.height
        width = np.interp(-height, down, self.half_width) + margin
        depth = np.interp(-height, down, self.half_depth) + margin
        center = np.interp(-height, down, self.center_z)
        x, z = points[:, 0] / width, (points[:, 2] - center) / depth
        power = 2 / SQUARENESS
        inside = (np.abs(x) ** power + np.abs(z) ** power) ** (1 / power)
        grow = np.where((inside < 1) & (height < self.height[0]), 1 / np.maximum(inside, 0.05), 1)
        grow = np.minimum(grow, 2.5)
        moved = points.copy()
        moved[:, 0] *= grow
        moved[:, 2] = center + (points[:, 2] - center) * grow
        return moved


@dataclass(frozen=True)
class Clothes:
    """Meshes to draw, and the colour that the head's own neck takes below `neckline` (kit y)."""

    torso: Torso
    meshes: list[Mesh]
    bare: bool
    color: F32
    neckline: float


def sample_clothes(
    skin: Skin, rng: np.random.Generator, pattern: str | None = None, scarf: bool = False
) -> Clothes:
    """Draw shoulders and a garment (one in eight is bare).

    A reserved `pattern` takes the place of a usual one, and a `scarf` that of a collar.
    """
    bare = bool(rng.uniform() < 0.12) and not (pattern or scarf)
    neckline = float(rng.uniform(-13.6, -9.8))
    own = rng.spawn(1)[0]  # a stream apart, so that what follows stays as it was
    if bare:
        top = float(own.uniform(-14, -9))  # where the neck begins to thicken
    else:
        if own.uniform() < 0.25:  # a high neck
            neckline = float(own.uniform(-10.5, -8))
        top = neckline
    torso = _sample_torso(rng, top)
    color = np.clip(rng.uniform(0.04, 0.95) * rng.uniform(0.55, 1.0, 3), 0.02, 0.95)
    if bare:
        texture = np.broadcast_to(skin.base, (*TEXTURE, 3)) * np.ones(3)
        texture = texture * (1 + 0.03 * _blotches(rng, 12)[..., None])
    else:
        texture = _fabric(color, skin, rng, pattern)
    positions = torso.ring(np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False).astype(np.float32))
    if not bare:
        positions = _fold(positions, rng)
    # The seam lies under an arm.
    texture = np.clip(texture, 0, 1).astype(np.float32)
    meshes = [cloth(positions, texture, 0.05, inside=CHEST)]
    if scarf:
        meshes += _scarf(torso, rng)
    elif not bare and rng.uniform() < 0.75:
        meshes.append(_collar(torso, color, rng))
    return Clothes(torso, meshes, bare, color.astype(np.float32), neckline)


def _sample_torso(rng: np.random.Generator, top: float) -> Torso:
    y = np.linspace(top, BOTTOM, ROWS)
    t = np.clip((-9.5 - y) / 13, 0, 1)
    neck, shoulder, slope = rng.uniform(5.2, 6.6), rng.uniform(16.5, 23.5), rng.uniform(0.35, 0.75)
    width = neck + (shoulder - neck) * t**slope * (1 - np.exp(-6 * t))
    depth = neck * 0.95 + (rng.uniform(8, 11.5) - neck) * np.clip(t * 1.2, 0, 1) ** 0.8
    center = -2.2 - rng.uniform(0, 1.5) * t
    # The first rings close around the neck, so that nobody looks in from above.
    close = np.ones(ROWS)
    close[:3] = 0.72, 0.88, 0.97
    width, depth = width * close, depth * close
    return Torso(*(a.astype(np.float32) for a in (y, width, depth, center, 0.02 * t)))


def _fold(positions: F32, rng: np.random.Generator) -> F32:
    """Wrinkle the cloth below the neck by up to a few millimetres."""
    coarse = rng.standard_normal((7, 18)).astype(np.float32)
    coarse[:, -3:] = coarse[:, :3]  # nearly periodic around the body
    noise = cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    amount = rng.uniform(0.1, 0.45) * np.clip((np.arange(ROWS) - 4) / 8, 0, 1)[:, None]
    axis = np.array([0.0, 0.0, -3.0])
    radial = positions - axis
    radial[..., 1] = 0
    radial /= np.linalg.norm(radial, axis=-1, keepdims=True) + 1e-6
    return (positions + radial * (noise * amount)[..., None]).astype(np.float32)


def _blotches(rng: np.random.Generator, cells: int) -> F32:
    noise = rng.standard_normal((cells, cells * 2)).astype(np.float32)
    return cv2.resize(noise, TEXTURE[::-1], interpolation=cv2.INTER_CUBIC)


def _fabric(color: F32, skin: Skin, rng: np.random.Generator, pattern: str | None = None) -> F32:
    rows, columns = TEXTURE
    v, u = np.meshgrid(np.arange(rows) / rows, np.arange(columns) / columns, indexing="ij")
    second = np.clip(rng.uniform(0.04, 0.95) * rng.uniform(0.6, 1.0, 3), 0.02, 0.95)
    image = np.ones((rows, columns, 3)) * color

    def blend(mask: NDArray[np.floating], other: F32) -> None:
        nonlocal image
        image = image + (other - image) * np.clip(mask, 0, 1)[..., None]

    def stripes(axis: F32, count: float, share: float) -> NDArray[np.floating]:
        # A steep ramp instead of a step, so that the edge is antialiased.
        return np.clip((np.cos(2 * np.pi * axis * count) - np.cos(np.pi * share)) * 4 + 0.5, 0, 1)

    kind = pattern or rng.choice(list(USUAL_PATTERNS), p=list(USUAL_PATTERNS.values()))
    if kind == "rings":
        blend(stripes(v, rng.integers(6, 26), rng.uniform(0.2, 0.6)), second)
    elif kind == "columns":
        blend(stripes(u, rng.integers(6, 70), rng.uniform(0.1, 0.5)), second)
    elif kind == "plaid":
        share = rng.uniform(0.25, 0.5)
        count = rng.integers(7, 16)
        blend(stripes(v, count, share) * 0.5, second)
        blend(stripes(u, count * 3, share) * 0.5, second)
        blend(stripes(v, count * 2, 0.08) * 0.6, 1 - second)
    elif kind == "cloud":
        blend(_blotches(rng, int(rng.integers(5, 20))) * 0.8, second)
    elif kind == "print":
        low, high = np.sort(rng.uniform(0.42, 0.8, 2))
        block = (np.abs(u - 0.25) < rng.uniform(0.04, 0.1)) & (v > low) & (v < high + 0.06)
        blend(block * (_blotches(rng, 24) > rng.uniform(-0.8, 0.6)), second)
    elif kind == "dots":
        count = rng.integers(10, 24)
        dots = np.cos(2 * np.pi * v * count) + np.cos(2 * np.pi * u * count * 3)
        blend((dots - rng.uniform(0.8, 1.6)) * 4, second)
    elif kind == "zigzag":
        teeth = np.abs((u * rng.integers(20, 44)) % 1 - 0.5) * rng.uniform(0.04, 0.1)
        blend(stripes(v + teeth, rng.integers(7, 18), rng.uniform(0.3, 0.6)), second)
    elif kind == "diamonds":
        down, around = v * rng.integers(5, 11), u * rng.integers(22, 40)
        along, across = (down + around) % 1, (down - around) % 1
        inside = np.minimum(np.minimum(along, 1 - along), np.minimum(across, 1 - across))
        odd = (np.floor(down + around) + np.floor(down - around)) % 2
        blend((inside - 0.06) * 20 * odd, second)
        blend(1 - np.abs(inside - 0.3) * 40, 1 - color)
    weave = rng.standard_normal((rows, columns, 1)) * rng.uniform(0.015, 0.06)
    image = image * (1 + weave + rng.uniform(0.02, 0.09) * _blotches(rng, 9)[..., None])
    across = np.abs(u - 0.25)
    if rng.uniform() < 0.22:  # an open jacket: lapels over a shirt, sometimes a tie
        inner = np.clip(rng.uniform(0.3, 1.0) * np.ones(3) * rng.uniform(0.85, 1, 3), 0, 1)
        opening = 0.085 - 0.075 * np.clip((v - 0.15) / rng.uniform(0.45, 0.8), 0, 1)
        blend((opening - across) * 200, inner)
        blend(1 - np.abs(across - opening) * 220, image.mean((0, 1)) * 0.35)
        if rng.uniform() < 0.4:
            blend((0.008 + 0.012 * v - across) * 250, second * 0.8)
    elif rng.uniform() < 0.35:  # a V-neck
        width, depth = rng.uniform(0.02, 0.05), rng.uniform(0.1, 0.3)
        blend((width * (1 - (v - 0.1) / depth) - across) * 250, skin.base * 0.97)
    elif rng.uniform() < 0.25:  # a row of buttons on a placket
        blend(1 - np.abs(across - 0.014) * 400, image.mean((0, 1)) * 0.6)
        buttons = (across < 0.004) & (np.abs((v * 14) % 1 - 0.5) < 0.08)
        blend(buttons.astype(np.float32), second)
    return image


def _collar(torso: Torso, color: F32, rng: np.random.Generator) -> Mesh:
    """A band around the neck: a T-shirt's hem, a hood or a roll neck, by its two radii."""
    radius = rng.choice([rng.uniform(0.2, 0.4), rng.uniform(0.5, 1.1)], p=[0.7, 0.3])
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False).astype(np.float32)
    path = torso.ring(angle)[1].copy()
    path[:, 1] -= 0.5 * np.sin(angle) * rng.uniform(0.3, 1.5)
    shade = np.clip(color * rng.choice([1.0, rng.uniform(0.5, 1.3)]), 0, 1)
    return tube(path, float(radius), 8, shade.astype(np.float32), 0.05, closed=True)


def _scarf(torso: Torso, rng: np.random.Generator) -> list[Mesh]:
    """Two windings around the neck, and the end that hangs before the chest."""
    color = np.clip(rng.uniform(0.1, 0.95) * rng.uniform(0.5, 1.0, 3), 0.02, 0.95)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False).astype(np.float32)
    meshes = []
    for level, (size, tilt) in enumerate(((1.9, 0.7), (1.7, -0.5))):
        path = torso.ring(angle)[1].copy()
        path[:, [0, 2]] *= 1.08 + 0.1 * level
        path[:, 1] += 1.2 - 1.9 * level + tilt * np.sin(angle + rng.uniform(-0.6, 0.6))
        path[:, 1] -= 0.8 * np.clip(np.sin(angle), 0, 1)
        folds = size * (1 + 0.12 * np.sin(angle * rng.integers(4, 8) + rng.uniform(0, 6)))
        radii = np.stack([folds * 0.8, folds], 1)
        shade = (color * rng.uniform(0.85, 1.05)).astype(np.float32)
        meshes.append(tube(path, np.concatenate([radii, radii[:1]]), 12, shade, 0.03, closed=True))
    t = np.linspace(0, 1, 16, dtype=np.float32)
    x = rng.choice([-1.0, 1.0]) * rng.uniform(1, 3.5) * (1 + 0.6 * t)
    end = np.stack([x, meshes[1].positions[:, 1].mean() - rng.uniform(9, 15) * t, 0 * t], 1)
    front = torso.ring(np.array([np.pi / 2], np.float32))[:, 0]
    end[:, 2] = np.interp(-end[:, 1], -front[:, 1], front[:, 2]) + 1.0
    meshes.append(tube(end.astype(np.float32), np.array([[1.9, 0.5]] * 16), 12,
                       color.astype(np.float32), 0.03, closed=False))  # fmt: skip
    return meshes
