"""A person as plain arrays in one file: all that a renderer in another process needs to know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.people import facekit
from training.people.facekit import HEAD_ORIGIN, FaceKit
from training.people.lights import harmonics
from training.people.person import Person

KINDS = {
    facekit.FACE: "skin",
    facekit.BACK: "skin",
    facekit.GUMS: "gums",
    facekit.TEETH: "teeth",
    facekit.EYE_LEFT: "eye",
    facekit.EYE_RIGHT: "eye",
    facekit.LASHES: "lashes",
}
LASH_COLOR = (0.05, 0.035, 0.03)


def save_scene(
    path: Path, kit: FaceKit, person: Person, textures: dict[int, NDArray[np.uint8]]
) -> None:
    """Write a person for `training/people/path_tracer.py`, which says what the arrays are.

    Args:
        path: npz file to write.
        kit: the head model.
        person: who.
        textures: of the head's materials, colour and relief, first row at the bottom. [H, W, 4]
    """
    arrays: dict[str, NDArray] = {}
    kinds: list[str] = []

    def add(
        kind: str,
        positions: NDArray,
        triangles: NDArray,
        uv: NDArray,
        texture: NDArray[np.uint8],
    ) -> None:
        used, triangles = np.unique(triangles, return_inverse=True)
        name = f"part{len(kinds)}_"
        arrays[name + "positions"] = positions[used].astype(np.float32)
        arrays[name + "triangles"] = triangles.reshape(-1, 3).astype(np.int32)
        arrays[name + "uv"] = uv[used].astype(np.float32)
        arrays[name + "texture"] = texture
        kinds.append(kind)

    vertices = person.vertices[kit.draw_vertex]
    for material, triangles in kit.draw_triangles.items():
        texture = (
            lash_texture(person.skin.lashes) if material == facekit.LASHES else textures[material]
        )
        add(KINDS[material], vertices, triangles, kit.draw_uv, texture)
    for mesh in person.clothes.meshes + person.worn:
        bare = person.clothes.bare and mesh is person.clothes.meshes[0]
        color = (np.clip(mesh.texture, 0, 1) * 255).astype(np.uint8)
        texture = np.concatenate([color, np.full((*color.shape[:2], 1), 128, np.uint8)], -1)
        glossy = "worn" if mesh.gloss > 0.2 else "cloth"
        add("skin" if bare else glossy, mesh.positions, mesh.triangles, mesh.uv, texture)
    if person.hair is not None:
        arrays["hair_points"] = person.hair.points.astype(np.float32)
        arrays["hair_color"] = (person.skin.hair * (0.6 + 0.8 * person.hair.shade[:, None])).astype(
            np.float32
        )
    light = person.light
    # The key light is a lamp of its own there: sharper than nine coefficients can tell.
    rest = light.radiance - np.outer(harmonics(light.key), light.key_color)
    np.savez(
        path,
        kinds=np.array(kinds),
        origin=HEAD_ORIGIN,
        radiance=rest.astype(np.float32),
        key=light.key,
        key_color=light.key_color,
        **arrays,
    )


def lash_texture(density: float, size: int = 512) -> NDArray[np.uint8]:
    """Cards of hairs [size, size, 4], alpha where a hair is: as `SURFACE_FRAGMENT` draws them."""
    axis = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(axis, axis)
    card = np.floor((0.995 - v) / 0.166)
    row = np.mod(0.995 - v, 0.166) / 0.155
    lower = card > 2.5
    row = np.where(lower, row * 1.7, row)
    along = u * 52 + card * 0.37 + row * 0.4 * np.sin(u * 40)
    stripe = np.abs(along - np.floor(along) - 0.5) * 2
    there = (row <= 1) & (stripe <= (0.5 - 0.45 * row) * density * np.where(lower, 0.55, 1))
    texture = np.empty((size, size, 4), np.uint8)
    texture[..., :3] = (np.array(LASH_COLOR) * 255).astype(np.uint8)
    texture[..., 3] = there * 255
    return texture
