"""Assets that no person of the training corpus has: reserved for the held-out test.

A model that is measured on assets that it was trained on may have learnt them by heart. People of
`unseen` assets are drawn as the usual ones are, and then get two to five of these instead: a hair
style, headwear, a shape of glasses, a garment, eyes, a light.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from training.people import glasses, headwear
from training.people.clothes import RESERVED_PATTERNS
from training.people.hair import Strands, Style
from training.people.lights import Light, harmonics

F32 = NDArray[np.float32]

Assets = Literal["usual", "unseen"]
ASSETS: tuple[Assets, ...] = ("usual", "unseen")

Reserved = Literal["hair", "headwear", "glasses", "garment", "streaks", "iris", "light"]
PLAIN_TO_SEE: dict[Reserved, float] = {
    "hair": 0.3,
    "headwear": 0.14,
    "glasses": 0.2,
    "garment": 0.36,
}
"""Reserved parts that change a silhouette or a pattern, with the weights that they are drawn by."""
FAINT: dict[Reserved, float] = {"light": 0.4, "iris": 0.35, "streaks": 0.2}
"""Reserved parts that change colours alone, with the share of the people who have them."""

IRIS_COLORS = np.array([[0.62, 0.67, 0.70], [0.66, 0.42, 0.10], [0.48, 0.36, 0.58]])
"""Pale grey, amber, violet: lighter or redder than what `skin.IRIS_COLORS` leads to."""


class Garment(TypedDict, total=False):
    """What `sample_clothes` takes besides."""

    pattern: str | None
    scarf: bool


def choose(rng: np.random.Generator) -> frozenset[Reserved]:
    """Which reserved parts a person has: one or two plain ones, and so many faint ones that there
    are at least two in all that show whatever the others are."""
    names, weights = list(PLAIN_TO_SEE), np.array(list(PLAIN_TO_SEE.values()))
    count = 1 + int(rng.uniform() < 0.5)
    plain = rng.choice(len(names), count, replace=False, p=weights / weights.sum())
    chosen = {names[index] for index in plain}
    if {"hair", "headwear"} <= chosen:  # the one would hide the other
        chosen = {"hair", "garment"}
    faint = {name for name, share in FAINT.items() if rng.uniform() < share}
    if len(chosen | faint - {"streaks"}) < 2:  # streaks may be under a hat
        faint.add("light")
    return frozenset(chosen | faint)


def sample_style(rng: np.random.Generator) -> Style:
    """A strip along the middle, two plaits, or hair that is cut off level all around."""
    kind = rng.choice(["strip", "plaits", "bowl"])
    wave, clump = float(rng.uniform(0, 0.3)), float(rng.uniform(0.2, 0.5))
    if kind == "strip":
        return Style(
            length=float(rng.uniform(3, 6.5)), lift=float(rng.uniform(2.0, 2.8)),
            back=float(rng.uniform(0, 0.6)), side=0.05, weight=0.05, wave=wave, curl=0.0,
            clump=clump, parting=0.0, fringe=0.0, strip=float(rng.uniform(1.3, 2.4)),
        )  # fmt: skip
    if kind == "plaits":
        return Style(
            length=float(rng.uniform(3, 4.5)), lift=float(rng.uniform(0.1, 0.2)),
            back=float(rng.uniform(0.4, 1.0)), side=float(rng.uniform(1.2, 1.8)), weight=0.5,
            wave=wave, curl=0.0, clump=clump, parting=float(rng.uniform(-0.6, 0.6)),
            fringe=float(rng.choice([0.0, 0.8])), plait=float(rng.uniform(13, 22)),
        )  # fmt: skip
    return Style(
        length=float(rng.uniform(7, 9)), lift=float(rng.uniform(0.15, 0.35)), back=-0.1,
        side=float(rng.uniform(0.0, 0.1)), weight=float(rng.uniform(2.5, 3.5)), wave=wave * 0.3,
        curl=0.0, clump=clump * 0.6, parting=0.0, fringe=0.0, loose=True,
        cut=float(rng.uniform(3.6, 5.4)),
    )  # fmt: skip


def streaked(hair: Strands, rng: np.random.Generator) -> Strands:
    """The same hair with bleached streaks, in bands of its roots around the head."""
    azimuth = np.arctan2(hair.points[:, 0, 0], hair.points[:, 0, 2])
    waves = np.sin(azimuth * rng.integers(5, 12) + rng.uniform(0, 6))
    waves = waves + 0.5 * np.sin(azimuth * rng.integers(13, 23) + hair.points[:, 0, 1])
    light = (waves > rng.uniform(0.1, 0.7)) & (rng.uniform(size=len(azimuth)) < 0.85)
    gain = rng.uniform(2.5, 5.0)
    return Strands(hair.points, np.where(light, hair.shade + gain, hair.shade), hair.depth)


def sample_garment(rng: np.random.Generator) -> Garment:
    """A reserved pattern, a scarf, or both."""
    draw = rng.uniform()
    pattern = str(rng.choice(RESERVED_PATTERNS)) if draw < 0.75 else None
    return {"pattern": pattern, "scarf": bool(draw > 0.55)}


def sample_headwear_kind(rng: np.random.Generator) -> str:
    """One of the reserved kinds."""
    return headwear.RESERVED[rng.integers(0, len(headwear.RESERVED))]


def sample_glasses_shape(rng: np.random.Generator) -> glasses.Shape:
    """One of the reserved shapes."""
    return glasses.RESERVED[rng.integers(0, len(glasses.RESERVED))]


def sample_iris(rng: np.random.Generator) -> F32:
    """An sRGB colour [3]."""
    color = IRIS_COLORS[rng.integers(0, len(IRIS_COLORS))] * rng.uniform(0.95, 1.08)
    return color.astype(np.float32)


def sample_light(rng: np.random.Generator, exposure: float = 1.0) -> Light:
    """A window at one side of a dark room, or the light of a screen from below; times `exposure`.

    Usual rooms have about twice as much ambient light for their key light, which comes from in
    front and from above.
    """
    window = rng.uniform() < 0.65
    if window:
        side = rng.choice([-1.0, 1.0])
        angle = side * rng.uniform(1.1, 1.75)
        key = np.array([np.sin(angle), rng.uniform(0, 0.35), np.cos(angle)])
        tint = np.array([0.94, 1.0, 1.08])
    else:
        angle = rng.uniform(-0.5, 0.5)
        key = np.array([np.sin(angle), rng.uniform(-0.75, -0.4), np.cos(angle)])
        tint = np.array([0.85, 0.98, 1.15])
    key /= np.linalg.norm(key)
    key_color = rng.uniform(1.3, 1.9) * tint * rng.uniform(0.95, 1.05, 3)
    ambient = rng.uniform(0.18, 0.28) * rng.uniform(0.9, 1.1, 3)
    radiance = np.zeros((9, 3))
    radiance[0] += ambient * 1.1 / (0.282095 * np.pi)
    radiance += np.outer(harmonics(key), key_color)
    # A wall throws some of it back: without it the far side would be black.
    wall = np.array([-key[0], 0.1, 0.4 * abs(key[2]) + 0.3])
    wall /= np.linalg.norm(wall)
    warm = rng.uniform(0.12, 0.3) * np.array([1.1, 1.0, 0.88])
    radiance += np.outer(harmonics(wall), warm)
    gain = exposure * np.exp(rng.uniform(0.0, 0.65))
    return Light(
        (radiance * gain).astype(np.float32),
        key.astype(np.float32),
        (key_color * gain).astype(np.float32),
    )
