"""The demo person: one head at high quality before a blurred room.

The training people are made to be many and different; this one is made to be looked at. It uses
the same parts with a calm choice for each of them: an identity near the average, a slight smile,
soft window light.

The picture in `models/assets` is made by

    visavis-train portrait --facekit NPZ --seed 121 --out models/assets/demo_portrait.png
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.people.arguments import add_facekit
from training.people.clothes import sample_clothes
from training.people.facekit import FaceKit, vertex_normals
from training.people.hair import Style, grow_hair
from training.people.hairline import Hairline
from training.people.lights import Light, harmonics
from training.people.person import Person, posed, sample_shape
from training.people.renderer import Renderer
from training.people.skin import HAIR_COLORS, paint_strokes, sample_skin
from training.people.views import orbit

F32 = NDArray[np.float32]
TEXTURE_SIZE = 2048
STRANDS = 60_000
WARDROBE = 118  # the seed of a plain shirt that fits


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train portrait`."""
    add_facekit(parser)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=512, help="edge, pixels")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train portrait` asks for."""
    write_portrait(options.facekit, options.seed, options.size, options.out)


def write_portrait(facekit: Path, seed: int, size: int, out: Path) -> None:
    """Render the demo person of `seed` as an RGB picture of `size` x `size` pixels."""
    kit = FaceKit.load(facekit)
    renderer = Renderer(
        kit,
        size,
        supersampling=4,
        texture_size=TEXTURE_SIZE,
        hair_width=0.35,
        shadow_directions=96,
        shadow_size=512,
    )
    picture = portrait(kit, renderer, seed, size)
    if not cv2.imwrite(str(out), picture[..., ::-1]):
        raise OSError(f"cannot write {out}")


def portrait(kit: FaceKit, renderer: Renderer, seed: int, size: int) -> NDArray[np.uint8]:
    """The person of `seed` before a room. [size, size, 3]"""
    renderer.load(demo_person(kit, seed))
    rgba, _ = renderer.render(orbit(0, 0, 0.80, offset=(0.0, 0.012)))
    rng = np.random.default_rng([seed, 50])
    foreground = rgba.astype(np.float32) / 255
    image = foreground[..., :3] + (1 - foreground[..., 3:]) * room(size, rng)
    image = (
        image + rng.normal(0, 0.006, image.shape[:2])[..., None]
    )  # a trace of the sensor's noise
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def demo_person(kit: FaceKit, seed: int) -> Person:
    """A person near the average, with the choices that suit a portrait."""

    def stream(part: int) -> np.random.Generator:
        return np.random.default_rng([seed, part])

    shape = kit.neutral + 0.62 * (sample_shape(kit, stream(0)) - kit.neutral)
    smile = {
        "mouthSmile": 0.34,
        "cheekSquint": 0.22,
        "browInnerUp": 0.08,
        "eyeSquint": 0.1,
        "mouthDimple": 0.1,
    }
    weights = {
        f"{name}_{side}": value * (1.04 if side == "L" else 0.96)
        for name, value in smile.items()
        for side in "LR"
    }
    vertices = (shape + posed(kit, weights)).astype(np.float32)
    normals = vertex_normals(vertices, kit.solid)
    skin = sample_skin(stream(3), bald=False)
    rng = stream(20)
    hair = HAIR_COLORS[rng.integers(0, 3)] * rng.uniform(0.9, 1.3)
    skin = replace(
        skin, hair=hair.astype(np.float32), brow=(np.sqrt(hair) * 0.6).astype(np.float32),
        stubble=0.0, makeup=0.0, freckles=skin.freckles * 0.5, wrinkles=0.12, mottle=0.8,
        eye_shadow=0.5, redness=0.8, pores=0.8, scalp=0.9,
        brow_thickness=0.018, brow_strokes=900, brow_opacity=0.85, gloss=0.9,
        lips=(0.6 * skin.lips + 0.4 * skin.base * [0.9, 0.66, 0.64]).astype(np.float32), lashes=1.0,
        iris=np.maximum(skin.iris, np.array([0.24, 0.15, 0.09], np.float32)),
    )  # fmt: skip
    clothes = sample_clothes(skin, np.random.default_rng([WARDROBE, 4]))
    clothes = replace(
        clothes, neckline=clothes.neckline - 1.0
    )  # skin, not cloth, inside the collar
    style = _style(rng)
    hairline = Hairline(shift=0.0, temples=0.15, peak=0.1, nape=0.3)
    return Person(
        vertices=vertices,
        normals=normals,
        skin=skin,
        hairline=hairline,
        bald=False,
        strokes=paint_strokes(kit, skin, TEXTURE_SIZE, stream(5)),
        hair=grow_hair(kit, vertices, normals, hairline, style, clothes, STRANDS, stream(6)),
        clothes=clothes,
        worn=[],
        light=_window_light(1 + 0.4 * skin.melanin),
    )


def _style(rng: np.random.Generator) -> Style:
    """Short and combed back, or to the shoulders with a parting; nothing hangs before the eyes."""
    parting = float(rng.choice([-2.4, 2.4]))
    if rng.uniform() < 0.5:
        return Style(
            length=float(rng.uniform(3.2, 5.0)), lift=0.55, back=1.5, side=0.75, weight=0.55,
            wave=0.22, curl=0.0,
            clump=0.3, parting=parting, fringe=0.0,
        )  # fmt: skip
    return Style(
        length=float(rng.uniform(12, 22)), lift=0.5, back=1.1, side=1.0, weight=1.5, wave=0.3,
        curl=0.0,
        clump=0.45, parting=parting, fringe=0.0,
    )  # fmt: skip


def _window_light(exposure: float) -> Light:
    """A large window in front on the left, a warm room, a little light from behind."""
    radiance = np.zeros((9, 3))
    radiance[0] += np.array([0.36, 0.36, 0.365]) * 1.1 / (0.282095 * np.pi)
    key = np.array([-0.62, 0.42, 0.75])
    key /= np.linalg.norm(key)
    key_color = np.array([1.12, 1.08, 1.02])
    for direction, color in (
        (key, key_color),
        (np.array([0.8, 0.1, 0.5]), np.array([0.22, 0.19, 0.16])),
        (np.array([0.5, 0.5, -0.8]), np.array([0.30, 0.29, 0.28])),
    ):
        radiance += np.outer(harmonics(direction / np.linalg.norm(direction)), color)
    gain = exposure * 1.55
    return Light(
        (radiance * gain).astype(np.float32),
        key.astype(np.float32),
        (key_color * gain).astype(np.float32),
    )


def room(size: int, rng: np.random.Generator) -> F32:
    """A wall with a window, a shelf and a lamp, far out of focus. [size, size, 3] in 0..1"""
    v, u = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    wall = np.array([0.72, 0.69, 0.64]) * (1.0 - 0.28 * u - 0.10 * v)[..., None]
    image = wall.astype(np.float32)

    def box(
        left: float, top: float, right: float, bottom: float, color: tuple[float, float, float]
    ) -> None:
        corners = (
            (int(left * size), int(top * size)),
            (int(right * size) - 1, int(bottom * size) - 1),
        )
        cv2.rectangle(image, *corners, color, -1)

    box(0.0, 0.05, 0.20, 0.78, (0.97, 0.98, 1.0))
    box(0.095, 0.05, 0.11, 0.78, (0.80, 0.79, 0.76))
    box(0.0, 0.40, 0.20, 0.415, (0.80, 0.79, 0.76))
    box(0.74, 0.22, 1.0, 0.235, (0.40, 0.30, 0.22))
    box(0.74, 0.52, 1.0, 0.535, (0.40, 0.30, 0.22))
    for shelf in (0.22, 0.52):
        x = 0.76
        while x < 0.97:
            width, height = rng.uniform(0.012, 0.03), rng.uniform(0.10, 0.19)
            box(
                x,
                shelf - height,
                x + width,
                shelf,
                tuple(rng.uniform(0.2, 0.7) * rng.uniform(0.7, 1.1, 3)),
            )
            x += width + rng.choice([0.002, 0.03])
    cv2.ellipse(image, (int(0.88 * size), int(0.86 * size)), (int(0.12 * size), int(0.16 * size)),
    0, 0, 360,
                (0.33, 0.42, 0.30), -1)  # fmt: skip
    return np.clip(cv2.GaussianBlur(image, (0, 0), size * 0.028), 0, 1)
