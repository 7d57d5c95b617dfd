"""Self-shadowing: how much of each harmonic of the light reaches each vertex of a person.

Precomputed radiance transfer (Sloan, Kautz and Snyder 2002) with shadow maps from evenly spread
directions:
what the casters hide is subtracted from the transfer of an open surface; so few directions suffice.
"""

from __future__ import annotations

from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from training.people import shaders
from training.people.facekit import FaceKit
from training.people.lights import harmonics, sphere_directions, unshadowed_transfer
from training.people.person import Person

F32 = NDArray[np.float32]
RADIUS = 24.0  # kit units that the shadow maps cover around CENTER
CENTER = np.array([0.0, -4.0, 0.0])
LIFT = 0.22  # kit units by which points are raised, against shadows of their own surface
BIAS = 0.002
OPACITY = 0.92

Caster = tuple[Any, int, float]  # vertex array, mode, line width


class Shadows:
    """Shadow maps of `size` texels from `directions` directions, drawn in the context `gl`."""

    def __init__(self, gl: Any, kit: FaceKit, directions: int, size: int) -> None:
        self._gl = gl
        self._kit = kit
        self._size = size
        self._directions = sphere_directions(directions, np.random.default_rng(11))
        self._program = gl.program(shaders.DEPTH_VERTEX, shaders.DEPTH_FRAGMENT)
        self._target = gl.framebuffer(depth_attachment=gl.depth_texture((size, size)))

    def casters(self, person: Person) -> tuple[list[Caster], list[Any]]:
        """What throws shadows: head, garments, and a part of the hair drawn thick.

        Returns the casters, and the objects that the caller releases after use.
        """
        gl, kit = self._gl, self._kit
        casters: list[Caster] = []
        owned: list[Any] = []

        def add(positions: F32, indices: NDArray[np.integer], mode: int, width: float) -> None:
            buffer = gl.buffer(np.ascontiguousarray(positions, "f4").tobytes())
            index = gl.buffer(np.ascontiguousarray(indices, "i4").tobytes())
            array = gl.vertex_array(self._program, [(buffer, "3f", "position")], index)
            owned.extend([buffer, index, array])
            casters.append((array, mode, width))

        add(person.vertices, kit.skin_triangles, moderngl.TRIANGLES, 1.0)
        for mesh in person.clothes.meshes + person.worn:
            add(mesh.positions, mesh.triangles, moderngl.TRIANGLES, 1.0)
        if person.hair is not None:
            points = person.hair.points[::5, ::2]
            count, length, _ = points.shape
            first = np.arange(count)[:, None] * length + np.arange(length - 1)
            add(points.reshape(-1, 3), np.stack([first, first + 1], -1), moderngl.LINES, 2.0)
        return casters, owned

    def transfer(
        self, points: F32, normals: F32, casters: list[Caster], strength: float = 1.0
    ) -> F32:
        """Transfer [N, 9], to multiply radiance with, of `points` with unit `normals` [N, 3].

        `strength` 0..1 is the share of the shadows that is drawn.
        """
        gl, size = self._gl, self._size
        transfer = unshadowed_transfer(normals)
        lifted = points + normals * LIFT
        self._target.use()
        gl.enable(moderngl.DEPTH_TEST)
        for direction in self._directions:
            facing = np.maximum(normals @ direction, 0)
            basis = _basis(direction) / RADIUS  # rows: right, up, towards the light
            clip = np.eye(4)
            clip[:3, :3] = basis * np.array([[1], [1], [-1]])
            clip[:3, 3] = -clip[:3, :3] @ CENTER
            self._target.clear(depth=1.0)
            self._program["clip"].write(clip.T.astype("f4").tobytes())
            for array, mode, width in casters:
                gl.line_width = width
                array.render(mode)
            depth = np.frombuffer(self._target.depth_attachment.read(), np.float32)
            depth = depth.reshape(size, size)
            place = lifted @ clip[:3, :3].T.astype(np.float32) + clip[:3, 3].astype(np.float32)
            column = ((place[:, 0] * 0.5 + 0.5) * size).astype(np.int32).clip(0, size - 1)
            row = ((place[:, 1] * 0.5 + 0.5) * size).astype(np.int32).clip(0, size - 1)
            hidden = depth[row, column] < place[:, 2] * 0.5 + 0.5 - BIAS
            weight = strength * OPACITY * 4 / len(self._directions) * facing * hidden
            transfer -= weight[:, None] * harmonics(direction)
        return transfer


def smooth(transfer: F32, kit: FaceKit, members: NDArray[np.int64], rounds: int = 2) -> F32:
    """Average over neighbouring vertices: the few directions would otherwise leave steps."""
    full = np.zeros((len(kit.neutral), 9), np.float32)
    full[members] = transfer
    a, b = kit.edges[:, 0], kit.edges[:, 1]
    for _ in range(rounds):
        total = np.stack(
            [np.bincount(a, c[b], len(full)) + np.bincount(b, c[a], len(full)) for c in full.T], 1
        )
        full = 0.4 * full + 0.6 * total.astype(np.float32) / kit.degree[:, None]
    return full[members]


def _basis(direction: F32) -> NDArray[np.float64]:
    helper = [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0]
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction])
