"""One random person: shape, expression and the parts that are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.people import unseen
from training.people.clothes import Clothes, sample_clothes
from training.people.earrings import sample_earrings
from training.people.facekit import FaceKit, vertex_normals
from training.people.glasses import sample_glasses
from training.people.hair import Strands, sample_hair
from training.people.hairline import Hairline, sample_hairline
from training.people.headwear import HEADWEAR, sample_headwear
from training.people.lights import Light, sample_light
from training.people.mesh import Mesh
from training.people.skin import Skin, paint_strokes, sample_skin
from training.people.unseen import Assets

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Person:
    """Everything the renderer needs, in kit space."""

    vertices: F32  # [V, 3]
    normals: F32  # [V, 3]
    skin: Skin
    hairline: Hairline
    bald: bool
    strokes: NDArray[np.uint8]  # [S, S, 2]
    hair: Strands | None
    clothes: Clothes
    worn: list[Mesh]  # on the head: glasses, earrings, hats
    light: Light


def sample_person(
    kit: FaceKit,
    seed: int,
    texture_size: int = 512,
    strand_count: int = 10000,
    assets: Assets = "usual",
) -> Person:
    """Draw a person; the same seed and arguments give the same person.

    Every part has a random stream of its own, so that a change to one part leaves the others alone.
    With `unseen` assets, some parts are taken from those that are reserved for the held-out test.
    """

    def stream(part: int) -> np.random.Generator:
        return np.random.default_rng([seed, part])

    has = unseen.choose(stream(11)) if assets == "unseen" else frozenset()
    own = stream(12)  # of the reserved parts
    vertices = sample_shape(kit, stream(0)) + posed(kit, sample_expression(stream(1)))
    normals = vertex_normals(vertices, kit.solid)
    rng = stream(2)
    bald = bool(rng.uniform() < 0.13) and not has & {"hair", "streaks"}
    hairline = sample_hairline(rng)
    skin = sample_skin(stream(3), bald)
    if "iris" in has:
        skin = replace(skin, iris=unseen.sample_iris(own))
    garment = unseen.sample_garment(own) if "garment" in has else unseen.Garment()
    clothes = sample_clothes(skin, stream(4), **garment)
    style = unseen.sample_style(own) if "hair" in has else None
    hair = sample_hair(
        kit, vertices, normals, hairline, bald, skin, clothes, strand_count, stream(6), style
    )
    if "streaks" in has and hair is not None:
        hair = unseen.streaked(hair, own)
    share = 0 if "hair" in has else HEADWEAR  # a hat would hide the style
    reserved = unseen.sample_headwear_kind(own) if "headwear" in has else None
    headwear = sample_headwear(kit, vertices, clothes.torso, stream(9), share, reserved)
    if headwear is not None and hair is not None:
        hair = None if headwear.hides else replace(hair, points=headwear.press(hair.points))
    if "glasses" in has:
        glasses = sample_glasses(vertices, stream(7), 1, unseen.sample_glasses_shape(own))
    else:
        glasses = sample_glasses(vertices, stream(7))
    small = [glasses, sample_earrings(kit, vertices, stream(10))]
    draw_light = unseen.sample_light if "light" in has else sample_light
    return Person(
        vertices=vertices,
        normals=normals,
        skin=skin,
        hairline=hairline,
        bald=bald,
        strokes=paint_strokes(kit, skin, texture_size, stream(5)),
        hair=hair,
        clothes=clothes,
        worn=[mesh for mesh in small if mesh] + (headwear.meshes if headwear else []),
        light=draw_light(stream(8), exposure=1 + 0.4 * skin.melanin),
    )


def sample_shape(kit: FaceKit, rng: np.random.Generator) -> F32:
    """A random identity with a neutral expression. [V, 3]"""
    weights = rng.standard_normal(len(kit.identities)).astype(np.float32) * rng.uniform(0.75, 1.1)
    shape = kit.neutral + np.tensordot(weights, kit.identities, 1)
    return shape.astype(np.float32)


def posed(kit: FaceKit, weights: dict[str, float]) -> F32:
    """The sum of weighted expressions, to be added to a shape. [V, 3]"""
    total = np.zeros_like(kit.neutral)
    for name, weight in weights.items():
        if weight > 0:
            total += weight * kit.expressions[name]
    return total


def sample_expression(rng: np.random.Generator) -> dict[str, float]:
    """Weights of a few expressions, left and right coupled with a slight asymmetry."""
    uniform = rng.uniform
    closed = uniform() < 0.12
    smile = max(0.0, uniform(-0.3, 0.85))
    both = {
        "mouthSmile": smile,
        "cheekSquint": smile * uniform(0, 0.6),
        "browInnerUp": uniform(0, 0.4),
        "eyeBlink": uniform(0.7, 1.0) if closed else uniform(0, 0.25),
        "eyeSquint": uniform(0, 0.3) * (1 - closed),
    }
    weights = {"jawOpen": max(0.0, uniform(-0.2, 0.35))}
    rare = {
        "browDown": 0.6, "browOuterUp": 0.7, "mouthFrown": 0.5, "mouthUpperUp": 0.5,
        "mouthLowerDown": 0.4,
        "mouthPress": 0.5, "mouthStretch": 0.5, "mouthDimple": 0.5, "noseSneer": 0.4,
        "cheekPuff": 0.5, "eyeWide": 0.5,
    }  # fmt: skip
    for name, most in rare.items():
        if uniform() < 0.15 and not (closed and name == "eyeWide"):
            both[name] = uniform(0, most)
    for name, most in {
        "mouthPucker": 0.6,
        "mouthFunnel": 0.4,
        "jawLeft": 0.3,
        "jawRight": 0.3,
    }.items():
        if uniform() < 0.1:
            weights[name] = uniform(0, most)
    for name, weight in both.items():
        for side in "LR":
            weights[f"{name}_{side}"] = weight * uniform(0.88, 1.12)
    aside, up = uniform(-0.35, 0.35), uniform(-0.25, 0.2)
    if uniform() < 0.5:  # half of the people look straight at the camera
        aside, up = aside * 0.15, up * 0.15
    # Positive `aside`: both eyes to the subject's left.
    gaze = {
        "eyeLookOut_L": aside, "eyeLookIn_R": aside, "eyeLookIn_L": -aside, "eyeLookOut_R": -aside,
        "eyeLookUp_L": up, "eyeLookUp_R": up, "eyeLookDown_L": -up, "eyeLookDown_R": -up,
    }  # fmt: skip
    return weights | gaze
