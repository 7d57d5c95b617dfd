"""Hair and beards: strands of points that grow from the skin, bend, and keep outside the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.people.clothes import Clothes
from training.people.facekit import FaceKit
from training.people.hairline import Hairline
from training.people.plaits import grow_plaits
from training.people.skin import Skin

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Strands:
    """Polylines with equally many points: `points` [N, K, 3] in kit space, `shade` [N] brightness
    in 0..1, `depth` [N] from 0 (inner) to 1 (outer).
    """

    points: F32
    shade: F32
    depth: F32


@dataclass(frozen=True)
class Style:
    """A hair style: lengths in kit units, directions as weights."""

    length: float
    lift: float  # how far it stands off
    back: float  # combed backwards (positive) or into the face (negative)
    side: float  # combed away from the parting
    weight: float  # how soon it falls
    wave: float
    curl: float
    clump: float
    parting: float
    fringe: float  # share of the front hair that falls over the forehead
    loose: bool = False  # long hair that stands off and flies instead of falling
    knot: float | None = None  # height (kit y) at which it is tied behind the head
    tail: float = 0.0  # how far it hangs from the knot; below 4 it is a bun
    strip: float = np.inf  # half the width of the strip along the middle in which it grows
    plait: float = 0.0  # length of two plaits
    cut: float | None = None  # height (kit y) at which it is cut off all around


def sample_style(rng: np.random.Generator) -> Style:
    """One of a few kinds of style, with everything varied within its kind."""
    kind = rng.choice(
        ["cropped", "short", "quiff", "bob", "long", "curly", "afro", "loose", "tied"],
        p=[0.19, 0.2, 0.09, 0.11, 0.11, 0.08, 0.05, 0.08, 0.09],
    )
    lengths = {
        "cropped": (0.6, 1.5),
        "short": (2.2, 4.5),
        "quiff": (3.5, 6),
        "bob": (8, 14),
        "long": (15, 27),
        "curly": (4, 11),
        "afro": (3, 7),
        "loose": (5, 20),
        "tied": (2.5, 4),
    }
    lifts = {
        "cropped": (0.3, 0.9),
        "quiff": (0.7, 1.1),
        "afro": (1.4, 2.2),
        "tied": (0.1, 0.2),
    }
    lift = lifts.get(kind, (0.25, 0.8))
    tied = kind == "tied"
    return Style(
        length=float(rng.uniform(*lengths[kind])),
        lift=float(rng.uniform(*lift) * (0.6 if kind in ("bob", "long") else 1)),
        back=float(rng.uniform(2.5, 3.5) if tied else rng.uniform(0.1, 1.0)),
        side=float(rng.uniform(0.1, 0.3) if kind in ("quiff", "afro") else rng.uniform(0.3, 0.7)),
        weight=float(
            0.1
            if kind == "afro" or tied
            else rng.uniform(0.6, 1.1) * (1.7 if kind in ("bob", "long") else 1)
        ),
        wave=float(rng.uniform(0, 0.5)),
        curl=float(rng.uniform(0.3, 0.7) if kind in ("curly", "afro") else 0),
        clump=float(rng.uniform(0.25, 0.6)),
        parting=float(rng.uniform(-3.2, 3.2)),
        fringe=float(rng.uniform(0.5, 1) if rng.uniform() < 0.25 and kind != "quiff" else 0),
        knot=float(rng.uniform(-1, 9)) if tied else None,
        tail=float(rng.choice([rng.uniform(1.6, 3), rng.uniform(7, 20)], p=[0.4, 0.6])),
        loose=kind == "loose",
    )


def sample_hair(
    kit: FaceKit,
    vertices: F32,
    normals: F32,
    hairline: Hairline,
    bald: bool,
    skin: Skin,
    clothes: Clothes,
    count: int,
    rng: np.random.Generator,
    instead: Style | None = None,
) -> Strands | None:
    """Grow hair (unless bald) and sometimes a beard; None when there is neither.

    `instead` is worn in place of a usual style.
    """
    style = sample_style(rng)  # drawn in any case, so that what follows stays as it was
    style = instead or style
    grown = []
    if not bald:
        grown.append(grow_hair(kit, vertices, normals, hairline, style, clothes, count, rng))
        if style.knot is not None:
            length = grown[0].points.shape[1]
            grown.append(grow_tail(vertices, style, clothes, count // 4, length, rng))
        if style.plait:
            length = grown[0].points.shape[1]
            points = grow_plaits(clothes.torso, style.plait, count // 3, length, rng)
            shade = rng.uniform(0, 1, len(points)).astype(np.float32)
            grown.append(Strands(points, shade, np.full(len(points), 0.7, np.float32)))
    if skin.stubble > 0.45 and rng.uniform() < 0.6:
        grown.append(
            grow_beard(
                kit, vertices, normals, count // 2, grown[0].points.shape[1] if grown else 6, rng
            )
        )
    if not grown:
        return None
    return Strands(
        *(
            np.concatenate([getattr(s, name) for s in grown])
            for name in ("points", "shade", "depth")
        )
    )


def beard_density(points: F32) -> F32:
    """Share of beard in 0..1 on the mean face: jaw, chin and moustache, without the lips."""
    x, y, z = np.moveaxis(points, -1, 0)
    side = np.abs(x)
    cheek = -2.0 + 0.28 * np.maximum(0, side - 3.2) ** 1.5
    density = 1 / (1 + np.exp(np.clip((y - cheek) / 0.3, -30, 30)))
    density *= (y > -9.5) & (z > 1.0)
    return (
        density * (1 - np.exp(-((x / 2.9) ** 2) - ((y + 3.15) / 0.8) ** 2) * 1.2).clip(0, 1)
    ).astype(np.float32)


@dataclass(frozen=True)
class _Roots:
    points: F32
    normals: F32
    mean: F32  # where on the mean head, for density and partings


def _scatter(
    kit: FaceKit, vertices: F32, normals: F32, density: F32, count: int, rng: np.random.Generator
) -> _Roots:
    """`count` random points on the skin; `density` [V] is relative."""
    triangles = kit.skin_triangles
    weight = density[triangles].mean(1)
    used = weight > 0.02
    triangles, weight = triangles[used], weight[used]
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    weight = weight * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = triangles[
        np.searchsorted(np.cumsum(weight) / weight.sum(), rng.uniform(0, 1, count)).clip(
            0, len(weight) - 1
        )
    ]
    u = rng.uniform(0, 1, (count, 2))
    u[u.sum(1) > 1] = 1 - u[u.sum(1) > 1]
    bary = np.stack([1 - u.sum(1), u[:, 0], u[:, 1]], 1).astype(np.float32)[:, :, None]
    normal = (bary * normals[chosen]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return _Roots((bary * vertices[chosen]).sum(1), normal, (bary * kit.neutral[chosen]).sum(1))


def grow_hair(
    kit: FaceKit, vertices: F32, normals: F32, hairline: Hairline, style: Style, clothes: Clothes,
    count: int, rng: np.random.Generator,
) -> Strands:  # fmt: skip
    """`count` strands of one style on the scalp."""
    coverage = hairline.coverage(kit.neutral, softness=0.22)
    coverage = np.where(np.abs(kit.neutral[:, 0]) < style.strip, coverage, 0)
    roots = _scatter(kit, vertices, normals, coverage, count, rng)
    near = hairline.coverage(roots.mean, softness=0.5)[
        :, None
    ]  # thins and shortens at the hairline
    segments = 5 if style.length < 2 else 8 if style.length < 14 else 11
    depth = rng.uniform(0, 1, count).astype(np.float32)[
        :, None
    ]  # inner strands stay closer to the head
    length = style.length * rng.uniform(0.75, 1.1, (count, 1)) * (0.35 + 0.65 * near)
    long = 0.0 if style.loose else np.clip((style.length - 5) / 4, 0, 1)
    # Clumps: each strand follows the nearest of a few hundred guides.
    guides = 350
    guide_of = _nearest_guide(roots.points, guides, rng)
    guide_noise = rng.standard_normal((guides, 3)).astype(np.float32)
    phase = rng.uniform(0, 1, guides).astype(np.float32)[guide_of][:, None]
    side = np.zeros((count, 3), np.float32)
    beside = np.tanh((roots.points[:, 0] - style.parting * 0.6) * 1.2)
    # At the parting, too, long hair takes a side: else it would hang before the face.
    side[:, 0] = np.where(beside < 0, -1, 1) * np.maximum(np.abs(beside), 0.7 * long)
    brow = np.clip((roots.mean[:, 2:3] - 4) / 3, 0, 1)
    front = brow * (rng.uniform(0, 1, (count, 1)) < style.fringe)
    length = np.where(front > 0.3, np.minimum(length, rng.uniform(1.8, 3.4)), length)
    side *= 1 + 1.6 * long * brow  # what would hang before the eyes goes aside
    comb = np.zeros((count, 3), np.float32)
    comb[:, 2:] = -(style.back + long * brow) * (1 - front) + 0.5 * front
    down = np.array([[0.0, -1.0, 0.0]], np.float32)
    curl_axis = rng.standard_normal((count, 2, 3)).astype(np.float32)
    jitter = rng.standard_normal((count, 3)).astype(np.float32) * 0.06
    points = np.empty((count, segments + 1, 3), np.float32)
    points[:, 0] = roots.points - 0.05 * roots.normals
    position = roots.points.copy()
    # Long hair leaves the scalp already combed; it would stand off by its stiffness otherwise.
    direction = roots.normals * (1 - 0.6 * long) + (side * style.side + comb + down) * 0.5 * long
    # Long hair takes short steps first, so that it bends close to the scalp.
    reach = np.linspace(0, 1, segments + 1) ** (1.0 if style.length < 5 else 1.5)
    steps = np.diff(reach)
    stiff = 0.55 - 0.25 * long
    for k in range(segments):
        q = float(reach[k])
        turn = 2 * np.pi * (q * (2.5 + style.curl * 3) + phase)
        wanted = (
            roots.normals * style.lift * (1 - q)
            + side * style.side * (1 - q) * (1 - 0.7 * front)
            + comb * 0.6 * (1 - q * 0.5)
            + down * style.weight * (0.25 + 0.5 * long + 1.4 * q) * (1 + front)
            + guide_noise[guide_of] * (0.16 + style.wave * 0.5 * np.sin(turn))
            + style.curl * (np.sin(turn) * curl_axis[:, 0] + np.cos(turn) * curl_axis[:, 1])
            + jitter
        )
        direction = stiff * direction + (1 - stiff) * wanted / (
            np.linalg.norm(wanted, axis=1, keepdims=True) + 1e-6
        )
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
        position = position + direction * (length * steps[k]).astype(np.float32)
        stand_off = (
            0.05
            + (0.06 + 0.34 * depth) * style.lift * min(1.0, (k + 1) / 4)
            + 0.15 * style.curl * depth
        )
        position = _outside_head(kit, vertices, normals, position, stand_off)
        if style.length > 7:
            position = clothes.torso.outside(position, 0.3)
        points[:, k + 1] = position
    _pull_to_guides(points, guide_of, guides, style.clump)
    if style.cut is not None:
        points = _cut_off(points, style.cut)
    shade = rng.uniform(0, 1, count).astype(np.float32)
    return Strands(points, shade, depth[:, 0])


def grow_tail(
    vertices: F32,
    style: Style,
    clothes: Clothes,
    count: int,
    points_per_strand: int,
    rng: np.random.Generator,
) -> Strands:
    """What hangs from the knot, or is wound around it."""
    assert style.knot is not None
    middle = vertices[np.abs(vertices[:, 0]) < 1.5]
    at_height = middle[np.abs(middle[:, 1] - style.knot) < 1.0]
    knot = np.array([0.0, style.knot, at_height[:, 2].min() - 0.5], np.float32)
    t = np.linspace(0, 1, points_per_strand, dtype=np.float32)
    noise = rng.standard_normal((count, 3)).astype(np.float32)
    if style.tail < 4:  # a bun: great circles of a flattened ball
        first = noise / np.linalg.norm(noise, axis=1, keepdims=True)
        second = np.cross(first, rng.standard_normal((count, 3)))
        second /= np.linalg.norm(second, axis=1, keepdims=True) + 1e-6
        angle = t[None, :, None] * rng.uniform(1.5, 3, (count, 1, 1))
        radius = style.tail * rng.uniform(0.8, 1.0, (count, 1, 1))
        ball = radius * (np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None])
        points = knot + ball * np.array([1.0, 1.0, 0.8]) - np.array([0, 0, 0.6 * style.tail])
    else:
        length = style.tail * rng.uniform(0.7, 1.05, (count, 1))
        position = knot + 0.45 * noise
        direction = np.array([0.0, 0.25, -1.0]) + 0.22 * noise
        points = np.empty((count, points_per_strand, 3), np.float32)
        points[:, 0] = position
        for k in range(1, points_per_strand):
            direction = direction + np.array([0.0, -2.2, 0.0]) / points_per_strand
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            position = position + direction * length / (points_per_strand - 1)
            position = clothes.torso.outside(position.astype(np.float32), 0.3)
            points[:, k] = position
    shade = rng.uniform(0, 1, count).astype(np.float32)
    return Strands(points.astype(np.float32), shade, rng.uniform(0.3, 1, count).astype(np.float32))


def _nearest_guide(points: F32, guides: int, rng: np.random.Generator) -> NDArray[np.int64]:
    centers = points[rng.choice(len(points), guides, replace=False)]
    scores = points @ centers.T
    return (scores - 0.5 * (centers**2).sum(1)).argmax(1)


def _outside_head(kit: FaceKit, vertices: F32, normals: F32, points: F32, stand_off: F32) -> F32:
    """Push points that come too close to the skin out along the normal of the nearest vertex."""
    near = kit.nearest.lookup(points)
    away = points - vertices[near]
    height = (away * normals[near]).sum(1, keepdims=True)
    push = np.clip(stand_off - height, 0, 1.5) * ((away**2).sum(1, keepdims=True) < 9)
    return points + normals[near] * push


def _pull_to_guides(points: F32, guide_of: NDArray[np.int64], guides: int, strength: float) -> None:
    """Let strands meet their clump's mean path towards their tips (in place)."""
    relative = points - points[:, :1]
    members = np.maximum(np.bincount(guide_of, minlength=guides), 1)[:, None]
    flat = relative.reshape(len(points), -1)
    mean = np.stack([np.bincount(guide_of, column, guides) for column in flat.T], 1) / members
    mean = mean.reshape(guides, *points.shape[1:]).astype(np.float32)
    pull = (np.linspace(0, 1, points.shape[1]) ** 1.5 * strength)[None, :, None].astype(np.float32)
    points += (mean[guide_of] - relative) * pull


def _cut_off(points: F32, height: float) -> F32:
    """Strands that end where they fall below `height`, with as many points as before."""
    count, length, _ = points.shape
    below = points[..., 1] < height
    end = np.where(below.any(1), below.argmax(1), length - 1)
    # What grows from below stays, cropped; and no strand may shrink to a point.
    at = np.maximum(end, 1.0)[:, None] * np.linspace(0, 1, length)
    low = np.minimum(at.astype(np.int64), length - 2)
    share = (at - low)[..., None]
    row = np.arange(count)[:, None]
    return (points[row, low] * (1 - share) + points[row, low + 1] * share).astype(np.float32)


def grow_beard(
    kit: FaceKit,
    vertices: F32,
    normals: F32,
    count: int,
    points_per_strand: int,
    rng: np.random.Generator,
) -> Strands:
    """A short beard; its strands have as many points as those of the hair that it is joined to."""
    roots = _scatter(kit, vertices, normals, beard_density(kit.neutral), count, rng)
    moustache = np.exp(-(((roots.mean[:, 1:2] + 3.0) / 1.4) ** 2))
    length = rng.uniform(0.25, 1.3) * rng.uniform(0.6, 1.1, (count, 1)) * (1 - 0.6 * moustache)
    t = np.linspace(0, 1, points_per_strand, dtype=np.float32)[None, :, None]
    noise = rng.standard_normal((count, 1, 3)).astype(np.float32) * 0.25
    outward = roots.normals[:, None] * 0.7 + noise
    down = np.array([0.0, -1.0, 0.15], np.float32)
    points = roots.points[:, None] + length[:, None] * (
        outward * t * (1 - 0.5 * t) + down * t**1.3 * 0.8
    )
    points[:, 0] -= 0.05 * roots.normals
    shade = rng.uniform(0, 1, count).astype(np.float32)
    return Strands(points.astype(np.float32), shade, np.full(count, 0.6, np.float32))
