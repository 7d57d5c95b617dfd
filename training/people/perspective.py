"""Faces as near and far webcams show them.

A live call knows no focal length: it takes every camera to be the portrait camera, at the distance
from which that would see the head in its size. From nearer than that the nose looks larger and the
ears are hidden; to the portrait camera this is another head. It is this head that the lifter must
lift for the picture to come back as it was, and it has a shape: across the optical axis every point
of the true head is scaled according to its depth, which stays. So people are brought into that
shape, and all of their views show one rigid head again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.people.facekit import HEAD_ORIGIN
from training.people.mesh import Mesh
from training.people.person import Person

F32 = NDArray[np.float32]
NOMINAL = 0.75
"""Metres from which the portrait camera sees a head."""


def seen_from(person: Person, distance: float, nominal: float = NOMINAL) -> Person:
    """The person whom the portrait camera at `nominal` sees as a camera in front of `person` at
    `distance` does that shows the middle of the head as large. Metres."""

    def bent(mesh: Mesh) -> Mesh:
        positions, normals = _bent(mesh.positions, mesh.normals, distance, nominal)
        return replace(mesh, positions=positions, normals=normals)

    vertices, normals = _bent(person.vertices, person.normals, distance, nominal)
    hair = person.hair
    if hair is not None:
        hair = replace(hair, points=_bent(hair.points, None, distance, nominal)[0])
    return replace(
        person,
        vertices=vertices,
        normals=normals,
        hair=hair,
        clothes=replace(person.clothes, meshes=[bent(m) for m in person.clothes.meshes]),
        worn=[bent(m) for m in person.worn],
    )


def _bent(points: F32, normals: F32 | None, distance: float, nominal: float) -> tuple[F32, F32]:
    """Scaled points [..., 3] in kit space, and unit normals of the surfaces they lie on."""
    depth = (HEAD_ORIGIN[2] - points[..., 2:]) / 100  # metres behind the middle of the head
    scale = (nominal + depth) / nominal * distance / (distance + depth)
    moved = points.copy()
    moved[..., :2] *= scale
    if normals is None:
        return moved, moved
    # By the inverse transpose of the derivative; z grows as the depth falls.
    slope = (1 / (distance + depth) - 1 / (nominal + depth)) / 100
    turned = normals / np.concatenate([scale, scale, np.ones_like(scale)], -1)
    turned[..., 2:] -= slope * (points[..., :2] * normals[..., :2]).sum(-1, keepdims=True)
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True) + 1e-9
    return moved.astype(np.float32), turned.astype(np.float32)
