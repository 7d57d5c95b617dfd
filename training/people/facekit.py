"""ICT-FaceKit as one npz: mesh, identity modes, expressions, and what is derived from them once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Ints = NDArray[np.int64]

FACE, BACK, GUMS, TEETH, EYE_LEFT, EYE_RIGHT, LASHES = 0, 1, 2, 3, 4, 6, 11
DRAWN = (FACE, BACK, GUMS, TEETH, EYE_LEFT, EYE_RIGHT, LASHES)

# The 68 Multi-PIE landmarks as vertex indices, from the README of ICT-FaceKit (MIT).
# fmt: off
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272,
    4088, 3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857,
    1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721,
    3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711,
    5533, 6216, 6207, 6470, 5517, 5966,
])
# fmt: on

HEAD_ORIGIN = np.array([0.0, 0.0, 2.0])
"""The origin of head space, in kit space."""


@dataclass(frozen=True)
class NearestGrid:
    """Voxel grid over the mean head: tells by one lookup which skin vertex is near a point."""

    low: F32  # [3]
    step: float
    index: NDArray[np.int32]  # [X, Y, Z] vertex indices

    def lookup(self, points: F32) -> NDArray[np.int32]:
        """Return the vertex index near each point of `points` [..., 3] (kit units)."""
        cell = ((points - self.low) / self.step).astype(np.int32)
        cell = np.clip(cell, 0, np.array(self.index.shape) - 1)
        return self.index[cell[..., 0], cell[..., 1], cell[..., 2]]


@dataclass(frozen=True)
class FaceKit:
    """The arrays of the npz, and vertices with one texture coordinate each for drawing."""

    neutral: F32  # [V, 3]
    triangles: Ints  # [T, 3] into neutral
    material: Ints  # [T]
    identities: F32  # [100, V, 3]
    expressions: dict[str, F32]  # name -> [V, 3]
    draw_vertex: Ints  # [W] index into neutral of each drawn vertex
    draw_uv: F32  # [W, 2] texture coordinates in 0..1 of the part
    draw_triangles: dict[int, Ints]  # material -> [T', 3] into draw_vertex
    skin_triangles: Ints  # triangles of face and back of the head
    solid: Ints  # triangles that carry normals (all but lashes and films)
    edges: Ints  # [E, 2] of the solid triangles
    degree: F32  # [V] number of edges at a vertex, at least 1
    uv_of_vertex: F32  # [V, 2]
    nearest: NearestGrid

    @staticmethod
    def load(path: Path) -> FaceKit:
        """Read the npz described in the documentation; raises `FileNotFoundError` or `KeyError`."""
        with np.load(path) as data:
            neutral = data["V"].astype(np.float32)
            uv = data["VT"].astype(np.float32)
            tri, tri_uv, material = data["F"], data["FT"], data["M"]
            identities = data["I"].astype(np.float32)
            expressions = {
                str(n): e.astype(np.float32) for n, e in zip(data["ex"], data["E"], strict=True)
            }
        keep = np.isin(material, DRAWN)
        pairs = np.stack([tri[keep].ravel(), tri_uv[keep].ravel()], 1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        corners = inverse.reshape(-1, 3)
        kept_material = material[keep]
        uv_of_vertex = np.zeros((len(neutral), 2), np.float32)
        uv_of_vertex[tri.ravel()] = uv[tri_uv.ravel()]
        skin = tri[np.isin(material, (FACE, BACK))]
        solid = tri[np.isin(material, (FACE, BACK, GUMS, TEETH, EYE_LEFT, EYE_RIGHT))]
        edges = np.unique(np.sort(solid[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0)
        return FaceKit(
            neutral=neutral,
            triangles=tri,
            material=material,
            identities=identities,
            expressions=expressions,
            draw_vertex=unique[:, 0],
            draw_uv=np.mod(uv[unique[:, 1]], 1.0).astype(np.float32),
            draw_triangles={m: corners[kept_material == m] for m in DRAWN},
            skin_triangles=skin,
            solid=solid,
            edges=edges,
            degree=np.maximum(np.bincount(edges.ravel(), minlength=len(neutral)), 1).astype(
                np.float32
            ),
            uv_of_vertex=np.mod(uv_of_vertex, 1.0).astype(np.float32),
            nearest=_nearest_grid(neutral, np.unique(skin)),
        )


def _nearest_grid(
    neutral: F32, candidates: Ints, step: float = 1.0, margin: float = 7.0
) -> NearestGrid:
    points = neutral[candidates]
    low = points.min(0) - margin
    shape = np.ceil((points.max(0) + margin - low) / step).astype(int)
    axes = [low[k] + (np.arange(shape[k]) + 0.5) * step for k in range(3)]
    squared = (points**2).sum(1)
    index = np.empty(shape, np.int32)
    yy, zz = np.meshgrid(axes[1], axes[2], indexing="ij")
    for i, x in enumerate(axes[0]):
        cells = np.stack([np.full(yy.size, x), yy.ravel(), zz.ravel()], 1).astype(np.float32)
        best = (squared - 2 * cells @ points.T).argmin(1)
        index[i] = candidates[best].reshape(shape[1], shape[2])
    return NearestGrid(low.astype(np.float32), step, index)


def vertex_normals(vertices: F32, triangles: Ints) -> F32:
    """Area-weighted unit normals [V, 3]; zero for vertices without a triangle."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for axis in range(3):
        weights = np.repeat(face[:, axis], 3)
        normals[:, axis] = np.bincount(triangles.ravel(), weights, len(vertices))
    return (normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)).astype(np.float32)
