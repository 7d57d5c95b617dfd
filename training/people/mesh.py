"""A textured triangle mesh in kit space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.people.facekit import vertex_normals

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Mesh:
    """Positions and normals [N, 3], uv [N, 2], triangles [T, 3], sRGB texture [H, W, 3]."""

    positions: F32
    normals: F32
    uv: F32
    triangles: NDArray[np.int64]
    texture: F32
    gloss: float


def grid_triangles(rows: int, columns: int) -> NDArray[np.int64]:
    """Triangles of a tube of `rows` rings with `columns` vertices; the last joins the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    k = (j + 1) % columns
    a, b = i * columns + j, i * columns + k
    c, d = a + columns, b + columns
    return np.concatenate(
        [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]
    )


def cloth(rings: F32, texture: F32, gloss: float, inside: tuple[float, float, float]) -> Mesh:
    """Closed rings [R, C, 3] as one surface whose normals point away from `inside` on the whole.

    The seam column is not doubled: there the texture is drawn mirrored.
    """
    rows, columns, _ = rings.shape
    positions = rings.reshape(-1, 3).astype(np.float32)
    triangles = grid_triangles(rows, columns)
    normals = vertex_normals(positions, triangles)
    if (normals * (positions - inside)).sum() <= 0:
        normals = -normals
    u = np.tile(np.arange(columns) / columns, rows)
    v = np.repeat((np.arange(rows) + 0.5) / rows, columns)
    uv = np.stack([u, v], 1).astype(np.float32)
    return Mesh(positions, normals, uv, triangles, texture, gloss)


def tube(
    path: F32, radius: F32 | float, sides: int, color: F32, gloss: float, closed: bool
) -> Mesh:
    """Sweep a circle along `path` [P, 3]; `radius` is a number, [P], or [P, 2] for an ellipse."""
    if closed:
        path = np.concatenate([path, path[:1]])
    tangent = np.gradient(path, axis=0)
    if closed:
        tangent[0] = tangent[-1] = path[1] - path[-2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    first = np.cross(tangent, [0.0, 0.31, 0.95])
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(tangent, first)
    radii = np.broadcast_to(
        np.asarray(radius, np.float32), (2,) if np.ndim(radius) == 0 else np.shape(radius)
    )
    if radii.ndim == 1 and len(radii) == len(path):
        radii = radii[:, None]
    radii = np.broadcast_to(radii, (len(path), 2))
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = (
        np.cos(angle)[None, :, None] * first[:, None] * radii[:, None, :1]
        + np.sin(angle)[None, :, None] * second[:, None] * radii[:, None, 1:]
    )
    positions = (path[:, None] + ring).reshape(-1, 3).astype(np.float32)
    triangles = grid_triangles(len(path), sides)
    normals = vertex_normals(positions, triangles)
    outward = ring.reshape(-1, 3)
    if (normals * outward).sum() < 0:
        normals = -normals
    uv = np.zeros((len(positions), 2), np.float32)
    texture = np.broadcast_to(np.asarray(color, np.float32), (2, 2, 3)).copy()
    return Mesh(positions, normals, uv, triangles, texture, gloss)


def joined(meshes: list[Mesh]) -> Mesh:
    """One mesh out of several that share a texture and a gloss (those of the first)."""
    starts = np.cumsum([0] + [len(m.positions) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.positions for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.triangles + s for m, s in zip(meshes, starts, strict=True)]),
        meshes[0].texture,
        meshes[0].gloss,
    )
