"""Skin: its parameters, and the strokes that are drawn in texture space (lips, brows).

Colours and relief are computed on the GPU by `shaders.SKIN_FRAGMENT` from these parameters; here
is only what is easier to draw than to compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.people.facekit import LANDMARKS, FaceKit

F32 = NDArray[np.float32]

# sRGB from the lightest to the darkest.
TONES = np.array(
    [
        [0.93, 0.76, 0.68],
        [0.84, 0.64, 0.52],
        [0.66, 0.46, 0.34],
        [0.42, 0.27, 0.19],
        [0.27, 0.16, 0.11],
    ]
)
HAIR_COLORS = np.array(
    [
        [0.03, 0.022, 0.018],
        [0.10, 0.055, 0.03],
        [0.28, 0.16, 0.08],
        [0.55, 0.38, 0.2],
        [0.4, 0.13, 0.05],
        [0.45, 0.44, 0.43],
    ]
)
"""Linear colours: black, dark brown, brown, blond, red, grey."""
IRIS_COLORS = np.array(
    [[0.25, 0.14, 0.07], [0.35, 0.5, 0.65], [0.3, 0.42, 0.25], [0.4, 0.3, 0.15], [0.1, 0.06, 0.04]]
)


@dataclass(frozen=True)
class Skin:
    """Numbers of one person's skin; sRGB colours in 0..1, the rest are strengths around 0..1."""

    melanin: float
    base: F32  # [3]
    hair: F32  # [3] linear
    brow: F32  # [3] sRGB
    lips: F32  # [3]
    iris: F32  # [3]
    redness: float
    eye_shadow: float
    freckles: float
    mottle: float
    pores: float
    wrinkles: float
    stubble: float
    gloss: float
    scalp: float  # opacity of the painted hair
    noise_offset: F32  # [3]
    brow_thickness: float
    brow_strokes: int
    brow_opacity: float
    brow_raise: float
    makeup: float
    lashes: float  # width of the lashes' hairs, up to 1


def sample_skin(rng: np.random.Generator, bald: bool) -> Skin:
    """Draw a skin; dark skin goes with dark hair and eyes."""
    melanin = float(rng.uniform() ** 1.3)
    base = np.array([np.interp(melanin * 4, range(5), TONES[:, k]) for k in range(3)])
    base = base * rng.uniform(0.92, 1.06, 3) * rng.uniform(0.94, 1.04)
    dark_hair = melanin > 0.6
    color = HAIR_COLORS[0] if dark_hair else HAIR_COLORS[rng.integers(0, 6)]
    own = rng.spawn(1)[0]  # a stream apart, so that what follows stays as it was
    if rng.uniform() < 0.15:  # greying, up to white
        color = color + (own.uniform(0.45, 0.8) - color) * rng.uniform(0.2, 1)
    if own.uniform() < 0.08:  # dyed
        color = own.uniform(0.02, 0.6, 3)
    hair = np.clip(color * rng.uniform(0.7, 1.4) * rng.uniform(0.92, 1.08, 3), 0, 0.9)
    light_lips = np.array([0.86, 0.55, 0.55])
    dark_lips = np.array([0.9, 0.7, 0.68])
    lips = base * (light_lips + (dark_lips - light_lips) * np.clip(melanin * 2 - 0.5, 0, 1))
    lips = lips * rng.uniform(0.85, 1.1, 3)
    makeup = float(rng.uniform(0.3, 1) if rng.uniform() < 0.2 else 0)
    if makeup:
        lips = (
            lips
            + (np.array([rng.uniform(0.45, 0.7), 0.14, rng.uniform(0.16, 0.3)]) - lips)
            * makeup
            * 0.55
        )
    eyes = rng.choice([0, 4]) if melanin > 0.5 else rng.integers(0, 5)
    stubble = rng.uniform()
    age = rng.uniform()
    return Skin(
        melanin=melanin,
        base=np.clip(base, 0, 1).astype(np.float32),
        hair=hair.astype(np.float32),
        brow=np.clip(np.sqrt(hair) * rng.uniform(0.55, 0.9), 0, 0.8).astype(np.float32),
        lips=np.clip(lips, 0, 1).astype(np.float32),
        iris=np.clip(IRIS_COLORS[eyes] * rng.uniform(0.7, 1.2, 3), 0, 1).astype(np.float32),
        redness=float(rng.uniform(0.4, 1.6)),
        eye_shadow=float(rng.uniform(0.3, 2.5)),
        freckles=float(rng.uniform(0, 0.6) if rng.uniform() < 0.35 else 0),
        mottle=float(rng.uniform(0.5, 1.6)),
        pores=float(rng.uniform(0.3, 1.2)),
        wrinkles=float(max(0.0, age * 1.3 - 0.35)),
        stubble=float(max(0.0, stubble - 0.5) * 1.5) if not makeup else 0.0,
        gloss=float(rng.uniform(0.5, 1.6)),
        scalp=float(rng.choice([0.0, rng.uniform(0.05, 0.4)]) if bald else rng.uniform(0.7, 0.92)),
        noise_offset=rng.uniform(0, 1, 3).astype(np.float32),
        brow_thickness=float(rng.uniform(0.012, 0.030)),
        brow_strokes=int(rng.uniform(180, 420)),
        brow_opacity=float(rng.uniform(0.55, 0.95)),
        brow_raise=float(rng.uniform(-0.004, 0.008)),
        makeup=makeup,
        lashes=float(rng.uniform(0.6, 0.9) + 0.3 * makeup),
    )


def paint_strokes(
    kit: FaceKit, skin: Skin, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Masks of lips and brows over the face's texture; row 0 is v = 0. [size, size, 2]"""
    uv = kit.uv_of_vertex[LANDMARKS] * size
    lips = np.zeros((size, size), np.float32)
    cv2.fillPoly(lips, [np.round(uv[48:60]).astype(np.int32)], 1.0)
    lips = cv2.GaussianBlur(lips, (0, 0), size * 0.0034)
    brows = np.zeros((size, size), np.float32)
    for points in (uv[17:22], uv[22:27][::-1]):  # both from the temple towards the nose
        brows = np.maximum(brows, _brow(points, skin, size, rng))
    brows = np.clip(brows * skin.brow_opacity, 0, 1)
    return (np.stack([lips, brows], -1) * 255).astype(np.uint8)


def _brow(points: F32, skin: Skin, size: int, rng: np.random.Generator) -> F32:
    """One brow: soft roots under strokes that point outwards at the temple, upwards at the nose."""
    count = skin.brow_strokes
    knots = np.linspace(0, 1, len(points))
    at = rng.uniform(0, 1, count)

    def along(s: F32) -> F32:
        s = np.clip(s, 0, 1)
        return np.stack([np.interp(s, knots, points[:, k]) for k in range(2)], 1)

    tangent = along(at + 0.1) - along(at - 0.1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-6
    width = (
        skin.brow_thickness * size * (0.3 + 0.7 * np.sin(np.pi * np.clip(at * 0.75 + 0.2, 0, 1)))
    )
    spread = np.clip(rng.normal(0, 0.27, count), -0.7, 0.7)
    start = along(at)
    start[:, 1] += spread * width + (skin.brow_raise + 0.003) * size
    lean = np.stack([np.zeros(count), at * 0.9 - spread * 0.5], 1)
    direction = -tangent * (0.3 + 0.7 * (1 - at))[:, None] + lean
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
    end = start + direction * (rng.uniform(0.009, 0.018, count) * size)[:, None]
    lines = np.round(np.stack([start, end], 1) * 16).astype(np.int32)
    strokes = np.zeros((size, size), np.float32)
    for line, strength in zip(lines, rng.uniform(0.6, 1.0, count), strict=True):
        cv2.line(strokes, line[0].tolist(), line[1].tolist(), float(strength), 1, cv2.LINE_AA, 4)
    roots = cv2.GaussianBlur(strokes, (0, 0), size * 0.004)
    return np.clip(cv2.GaussianBlur(strokes, (0, 0), size * 0.0008) * 0.85 + roots * 0.45, 0, 1)
