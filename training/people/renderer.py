"""Draw a person with OpenGL through EGL: no screen is needed, and no GPU with a software driver."""

from __future__ import annotations

import os
from typing import Any

# llvmpipe would start a thread per core in every worker; the workers already use the cores.
os.environ.setdefault("LP_NUM_THREADS", "0")

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from training.people import shaders
from training.people.facekit import (
    BACK,
    EYE_LEFT,
    EYE_RIGHT,
    FACE,
    GUMS,
    HEAD_ORIGIN,
    LASHES,
    TEETH,
    FaceKit,
)
from training.people.hairline import PROFILE_Y, PROFILE_Z
from training.people.mesh import Mesh
from training.people.person import Person
from training.people.shadows import Shadows, smooth
from training.people.views import View

F32 = NDArray[np.float32]
NEAR, FAR = 10.0, 200.0

# material: (gloss, wet, skin, relief)
MATERIALS = {
    FACE: (0.12, 0.0, 1.0, 0.12),
    BACK: (0.08, 0.0, 1.0, 0.12),
    GUMS: (0.3, 0.1, 0.5, 0.0),
    TEETH: (0.3, 0.2, 0.0, 0.0),
    EYE_LEFT: (0.25, 1.0, 0.0, 0.0),
    EYE_RIGHT: (0.25, 1.0, 0.0, 0.0),
    LASHES: (0.0, 0.0, 0.0, 0.0),
}
PLAIN = {GUMS: (0.59, 0.27, 0.27), TEETH: (0.88, 0.84, 0.76), LASHES: (0.05, 0.035, 0.03)}


class Renderer:
    """Holds the OpenGL context and what is the same for all people.

    Args:
        kit: the head model.
        size: edge of the pictures in pixels.
        supersampling: edge of the raster relative to the picture's.
        texture_size: edge of the baked skin in texels.
        hair_width: thickness of the strands; 1 suits 10,000 of them.
        shadow_directions: how many directions the sky is sampled in for shadows.
        shadow_size: edge of the shadow maps in texels.

    Raises:
        RuntimeError: no EGL device could be opened.
    """

    def __init__(
        self,
        kit: FaceKit,
        size: int = 256,
        supersampling: int = 2,
        texture_size: int = 512,
        hair_width: float = 1.0,
        shadow_directions: int = 20,
        shadow_size: int = 192,
    ) -> None:
        try:
            self._gl = moderngl.create_context(standalone=True, backend="egl")
        except Exception as error:
            raise RuntimeError(
                f"cannot open an EGL device ({error}); install libegl1 and libgl1-mesa-dri"
            ) from error
        self._kit = kit
        self._size = size
        self._raster = size * supersampling
        self._texture_size = texture_size
        gl = self._gl
        self._skin = gl.program(shaders.BAKE_VERTEX, shaders.SKIN_FRAGMENT)
        self._eye = gl.program(shaders.BAKE_VERTEX, shaders.EYE_FRAGMENT)
        self._surface = gl.program(shaders.SURFACE_VERTEX, shaders.SURFACE_FRAGMENT)
        self._hair = gl.program(shaders.HAIR_VERTEX, shaders.HAIR_FRAGMENT)
        shape = (self._raster, self._raster)
        self._target = gl.framebuffer([gl.texture(shape, 4)], gl.depth_texture(shape))
        self._hair_width = hair_width
        self._shadows = Shadows(gl, kit, shadow_directions, shadow_size)
        values = np.random.default_rng(7).normal(0.5, 1 / 6, (48, 48, 48, 4)).clip(0, 1)
        self._noise = gl.texture3d((48, 48, 48), 4, (values * 255).astype(np.uint8).tobytes())
        self._noise.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._mean = gl.buffer(kit.neutral[kit.draw_vertex].astype("f4").tobytes())
        self._uv = gl.buffer(kit.draw_uv.astype("f4").tobytes())
        self._indices = {
            m: gl.buffer(t.astype("i4").tobytes()) for m, t in kit.draw_triangles.items()
        }
        self._bakes = {
            m: gl.vertex_array(
                self._eye if m in (EYE_LEFT, EYE_RIGHT) else self._skin,
                [(self._mean, "3f", "mean"), (self._uv, "2f", "uv")],
                self._indices[m],
                skip_errors=True,
            )
            for m in (FACE, BACK, EYE_LEFT, EYE_RIGHT)
        }
        self._shadowed = np.unique(kit.solid)
        self._owned: list[Any] = []
        self._parts: list[tuple[Any, Any, tuple[float, float, float, float], float, bool]] = []
        self._strands: list[tuple[Any, float]] = []
        self._person: Person | None = None
        self._textures: dict[int, Any] = {}

    def load(self, person: Person) -> None:
        """Bake textures and shadows of `person`; `render` then draws this person."""
        for item in self._owned:
            item.release()
        self._owned, self._parts, self._strands = [], [], []
        self._person = person
        textures = self._textures = self._bake(person)
        casters, owned = self._shadows.casters(person)
        self._owned += owned
        extra: list[Mesh] = person.clothes.meshes + person.worn
        points = [person.vertices[self._shadowed]] + [m.positions for m in extra]
        normals = [person.normals[self._shadowed]] + [m.normals for m in extra]
        transfer = self._shadows.transfer(
            np.concatenate(points), np.concatenate(normals), casters, person.light.occlusion
        )
        own, *rest = np.split(transfer, np.cumsum([len(p) for p in points])[:-1])
        of_vertex = np.zeros((len(person.vertices), 9), np.float32)
        of_vertex[:, 0] = 0.25  # lashes and whatever carries no normal
        of_vertex[self._shadowed] = smooth(own, self._kit, self._shadowed)
        drawn = self._kit.draw_vertex
        head = self._buffer(
            np.concatenate([person.vertices[drawn], person.normals[drawn], of_vertex[drawn]], 1)
        )
        for material, index in self._indices.items():
            array = self._gl.vertex_array(
                self._surface,
                [
                    (head, "3f 3f 3f 3f 3f", "position", "normal", "t0", "t1", "t2"),
                    (self._uv, "2f", "uv"),
                ],
                index,
            )
            self._owned.append(array)
            gloss, wet, skin, relief = MATERIALS[material]
            lash = person.skin.lashes if material == LASHES else 0.0
            if skin == 1.0:
                gloss *= person.skin.gloss
            self._parts.append(
                (
                    array,
                    textures[material],
                    (gloss, wet, skin, relief),
                    lash,
                    material != LASHES,
                )
            )
        for mesh, light in zip(extra, rest, strict=True):
            buffer = self._buffer(np.concatenate([mesh.positions, mesh.normals, mesh.uv, light], 1))
            index = self._gl.buffer(mesh.triangles.astype("i4").tobytes())
            array = self._gl.vertex_array(
                self._surface,
                [(buffer, "3f 3f 2f 3f 3f 3f", "position", "normal", "uv", "t0", "t1", "t2")],
                index,
            )
            self._owned += [index, array]
            bare = person.clothes.bare and mesh is extra[0]
            self._parts.append(
                (
                    array,
                    self._texture(mesh.texture),
                    (mesh.gloss, 0.0, float(bare), 0.0),
                    0.0,
                    False,
                )
            )
        self._load_hair(person)

    def render(self, view: View) -> tuple[NDArray[np.uint8], F32]:
        """Draw the loaded person.

        Returns:
            Premultiplied sRGB and coverage [size, size, 4], and depth in metres [size, size]
            (camera z, 0 where
            nothing is; where a pixel is partly covered, the mean of its covered part).
        """
        assert self._person is not None, "load a person first"
        light = self._person.light
        gl, raster = self._gl, self._raster
        to_camera = view.world_to_camera @ _head_from_kit()
        clip = _projection(view.focal) @ np.diag([1.0, -1.0, -1.0, 1.0]) @ _scaled(to_camera)
        eye = np.linalg.inv(to_camera)[:3, 3]
        self._target.use()
        self._target.clear(0, 0, 0, 0, 1.0)
        gl.enable(moderngl.DEPTH_TEST)
        for program in (self._surface, self._hair):
            _set(
                program,
                clip=clip.T,
                eye=eye,
                key=light.key,
                key_color=light.key_color,
                L=light.radiance,
            )
        for array, texture, (gloss, wet, skin, relief), lash, closed in self._parts:
            texture.use(0)
            # Lashes and garments are open surfaces: both of their sides show.
            (gl.enable if closed else gl.disable)(moderngl.CULL_FACE)
            _set(self._surface, gloss=gloss, wet=wet, skin=skin, relief=relief, lash=lash)
            array.render()
        gl.disable(moderngl.CULL_FACE)
        _set(self._hair, albedo=self._person.skin.hair)
        for array, width in self._strands:
            gl.line_width = width * self._hair_width * raster / 512
            array.render(moderngl.LINE_STRIP)
        image = np.frombuffer(self._target.read(components=4), np.uint8).reshape(raster, raster, 4)[
            ::-1
        ]
        buffer = np.frombuffer(self._target.depth_attachment.read(), np.float32).reshape(
            raster, raster
        )[::-1]
        covered = (buffer < 1).astype(np.float32)
        z = 2 * FAR * NEAR / (FAR + NEAR - (2 * buffer - 1) * (FAR - NEAR)) / 100
        shape = (self._size, self._size)
        share = cv2.resize(covered, shape, interpolation=cv2.INTER_AREA)
        depth = cv2.resize(z * covered, shape, interpolation=cv2.INTER_AREA) / np.maximum(
            share, 1e-6
        )
        rgba = cv2.resize(image.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
        return np.rint(rgba).astype(np.uint8), np.where(share > 0, depth, 0).astype(np.float32)

    def textures(self) -> dict[int, NDArray[np.uint8]]:
        """Colour and relief of the loaded person, by material; row 0 at the bottom. [H, W, 4]"""
        return {
            material: np.frombuffer(texture.read(), np.uint8).reshape(
                texture.height, texture.width, 4
            )
            for material, texture in self._textures.items()
        }

    # Textures

    def _bake(self, person: Person) -> dict[int, Any]:
        gl, skin, line = self._gl, person.skin, person.hairline
        size = self._texture_size
        strokes = gl.texture((size, size), 2, np.ascontiguousarray(person.strokes).tobytes())
        self._owned.append(strokes)
        self._noise.use(0)
        strokes.use(1)
        _set(
            self._skin, noise=0, strokes=1, base=skin.base, lips=skin.lips, brow=skin.brow,
            hair=skin.hair,
            cloth=person.clothes.color, offset=skin.noise_offset, melanin=skin.melanin,
            redness=skin.redness,
            eye_shadow=skin.eye_shadow, freckles=skin.freckles, mottle=skin.mottle,
            pores=skin.pores,
            wrinkles=skin.wrinkles, stubble=skin.stubble, scalp=skin.scalp, makeup=skin.makeup,
            neckline=person.clothes.neckline, bare=float(person.clothes.bare),
            line=(line.shift, line.temples, line.peak, line.nape), profile_z=PROFILE_Z,
            profile_y=PROFILE_Y,
        )  # fmt: skip
        textures = {m: self._texture(np.full((2, 2, 3), color)) for m, color in PLAIN.items()}
        for material, edge in (
            (FACE, size),
            (BACK, size // 2),
            (EYE_LEFT, size // 4),
            (EYE_RIGHT, size // 4),
        ):
            texture = gl.texture((edge, edge), 4)
            target = gl.framebuffer([texture])
            self._owned += [texture, target]
            target.use()
            gl.disable(moderngl.DEPTH_TEST)
            target.clear(0.0, 0.0, 0.0, 0.0)
            if material in (EYE_LEFT, EYE_RIGHT):
                _set(
                    self._eye,
                    noise=0,
                    center=self._eye_center(material),
                    iris=skin.iris,
                    offset=skin.noise_offset,
                )
            else:
                _set(self._skin, face=float(material == FACE))
            self._bakes[material].render()
            baked = np.frombuffer(target.read(components=4), np.uint8).reshape(edge, edge, 4)
            texture.write(_bleed(baked).tobytes())
            texture.build_mipmaps()
            texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
            textures[material] = texture
        return textures

    def _eye_center(self, material: int) -> F32:
        points = self._kit.neutral[np.unique(self._kit.triangles[self._kit.material == material])]
        center = (points.max(0) + points.min(0)) / 2
        center[2] = points[:, 2].min() + np.ptp(points[:, 0]) / 2
        return center

    def _texture(self, image: F32) -> Any:
        data = (np.clip(image, 0, 1) * 255).astype(np.uint8)
        data = np.concatenate([data, np.full((*data.shape[:2], 1), 128, np.uint8)], -1)
        texture = self._gl.texture(data.shape[1::-1], 4, data.tobytes())
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        texture.repeat_y = False
        self._owned.append(texture)
        return texture

    def _buffer(self, values: NDArray[np.floating]) -> Any:
        buffer = self._gl.buffer(np.ascontiguousarray(values, "f4").tobytes())
        self._owned.append(buffer)
        return buffer

    # Hair

    def _load_hair(self, person: Person) -> None:
        if person.hair is None:
            return
        points = person.hair.points
        count, length, _ = points.shape
        tangent = np.gradient(points, axis=1)
        strand = np.empty((count, length, 3), np.float32)
        strand[..., 0] = person.hair.shade[:, None]
        strand[..., 1] = person.hair.depth[:, None]
        strand[..., 2] = np.linspace(0, 1, length)
        buffer = self._buffer(np.concatenate([points, tangent, strand], 2).reshape(-1, 9))
        # One strip per strand; -1 ends a strip.
        strips = np.full((count, length + 1), -1, "i4")
        strips[:, :length] = np.arange(count * length).reshape(count, length)
        inner = person.hair.depth < 0.45
        # The inner hair is drawn thicker: it hides the scalp between the fine outer strands.
        for chosen, width in ((inner, 2.0), (~inner, 1.2)):
            if chosen.any():
                index = self._gl.buffer(np.ascontiguousarray(strips[chosen]).tobytes())
                array = self._gl.vertex_array(
                    self._hair, [(buffer, "3f 3f 3f", "position", "tangent", "strand")], index
                )
                self._owned += [index, array]
                self._strands.append((array, width))


def _bleed(image: NDArray[np.uint8], rounds: int = 3) -> NDArray[np.uint8]:
    """Fill what is empty (alpha 0) in a baked texture from its surroundings, for clean seams."""
    filled = image.astype(np.float32)
    known = (image[..., 3] > 0).astype(np.float32)
    for _ in range(rounds):
        share = cv2.blur(known, (5, 5))
        spread = cv2.blur(filled * known[..., None], (5, 5)) / np.maximum(share, 1e-3)[..., None]
        new = (known == 0) & (share > 0.01)
        filled[new] = spread[new]
        known[new] = 1
    filled[known == 0] = filled[known > 0].mean(0)
    return filled.astype(np.uint8)


def _head_from_kit() -> NDArray[np.float64]:
    matrix = np.diag([0.01, -0.01, -0.01, 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ HEAD_ORIGIN
    return matrix


def _scaled(to_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres to kit units, so that the clipping planes are the same for all."""
    return np.diag([100.0, 100.0, 100.0, 1.0]) @ to_camera


def _projection(focal: float) -> NDArray[np.float64]:
    """OpenGL's projection [4, 4] for a focal length in picture widths."""
    focal *= 2  # clip space is two units wide
    return np.array(
        [
            [focal, 0, 0, 0],
            [0, focal, 0, 0],
            [0, 0, (FAR + NEAR) / (NEAR - FAR), 2 * FAR * NEAR / (NEAR - FAR)],
            [0, 0, -1, 0],
        ]
    )


def _set(program: Any, **values: Any) -> None:
    """Write uniforms by name; scalars that are samplers stay integers."""
    for name, value in values.items():
        if name not in program:
            continue
        if isinstance(value, int):
            program[name].value = value
        else:
            program[name].write(np.ascontiguousarray(value, "f4").tobytes())
