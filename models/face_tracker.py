"""The same face from frame to frame: where it is, how it is turned, whether it can be lifted.

The landmarks of one frame give the crop in which the mesh looks at the next, so that the detector
is asked only when the face was lost. Who it is, is told by place and size alone: while the face was
seen a moment ago, only a face near there is taken for it; after a while, the largest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.face_models import Affine, FaceMesh, Floats, Mesh, Picture
from models.frame_check import MEASURE_SIZE, absent, followed
from models.head_pose import HeadPose, fit_head_pose
from models.one_euro import OneEuro
from models.portrait import PortraitFinder, crop_about, head_middle, turned_to

PATIENCE = 0.7
"""Seconds after which whoever is largest is taken for the caller who was lost."""
NEAR, ALIKE = 0.9, 1.6
"""Between two frames a face moves by so much of its size at most, and its size changes by this
factor at most."""
SIDEWAYS = 480.0
"""Pixels of the portrait by which a face moves per tangent of the angle to it, at 0.6 m."""
SPREAD = 60.0
"""Pixels from the head's middle to its outline: what a turn or a zoom moves."""
REST_CUTOFF, CUTOFF_GAIN = 0.5, 0.06
"""Of the crop's One-Euro filter: Hz at rest, and Hz per pixel of the portrait per second."""


@dataclass(frozen=True, eq=False)
class Track:
    """A face in one frame.

    Args:
        mesh: landmarks, pixels of the picture.
        pose: of the head, as measured.
        roll: degrees, smoothed in time, as the crop is.
        crop: picture pixels to portrait pixels. [3, 3]
        rotation: from head space to the portrait's camera, as measured. [3, 3]
    """

    mesh: Mesh
    pose: HeadPose
    roll: float
    crop: Affine
    rotation: Affine


class FaceTracker:
    """Follows one face. One thread at a time calls it.

    Args:
        finder: asked for all faces when the one is lost.
        size: side of the portrait, pixels.
        smooth: False takes each frame's crop as it is measured.
    """

    def __init__(self, finder: PortraitFinder, size: int, smooth: bool = True) -> None:
        self._finder, self._size, self._smooth = finder, size, smooth
        self._net = FaceMesh()  # its own: the finder's is busy while another caller is looked for
        self._last: Mesh | None = None
        self._seen = -np.inf
        self._place = np.zeros(3, np.float32)
        self._width = 0
        self._held = False
        self._filter = OneEuro(REST_CUTOFF, CUTOFF_GAIN)

    def update(self, picture: Picture, now: float) -> Track | str:
        """Look at a frame.

        Args:
            picture: RGB [H, W, 3]
            now: when it was taken, seconds.

        Returns:
            The face, or the code of why it cannot be lifted now.
        """
        self._scale_to(picture.shape[1])
        mesh = self._find(picture, now)
        if mesh is None:
            self._last, self._held = None, True
            return absent(picture)
        self._last, self._seen = mesh, now
        self._place = _place(mesh)
        K = self._finder.intrinsics(picture)
        pose = fit_head_pose(mesh.points, K)
        middle, roll = head_middle(pose), pose.roll
        code = followed(picture, mesh, pose, crop_about(middle, roll, K, MEASURE_SIZE), self._held)
        if code != "ok":
            self._held = True
            return code
        if self._held:
            self._filter.reset()
            self._held = False
        if self._smooth:
            middle, roll = self._smoothed(middle, roll, now)
        crop = crop_about(middle, roll, K, self._size)
        return Track(mesh, pose, roll, crop, turned_to(middle, roll) @ pose.rotation)

    def _smoothed(self, middle: Affine, roll: float, now: float) -> tuple[Affine, float]:
        """Filter what the crop depends on, as far as it moves pixels of the portrait."""
        x, y, z = middle
        distance = float(np.linalg.norm(middle))
        value = np.array(
            [
                x / z * SIDEWAYS,
                y / z * SIDEWAYS,
                np.log(distance) * SPREAD,
                np.radians(roll) * SPREAD,
            ]
        )
        across, down, far, turn = self._filter(value, now)
        ray = np.array([across / SIDEWAYS, down / SIDEWAYS, 1.0])
        return (
            np.asarray(ray / np.linalg.norm(ray) * np.exp(far / SPREAD)),
            float(np.degrees(turn / SPREAD)),
        )

    def _scale_to(self, width: int) -> None:
        """Browsers send larger or smaller pictures as the network allows, at any moment."""
        if self._width and width != self._width:
            self._last = None  # its pixels are not those of this picture
            self._place = self._place * np.float32(width / self._width)
        self._width = width

    def _find(self, picture: Picture, now: float) -> Mesh | None:
        if self._last is not None:
            mesh = self._net.refine(picture, self._last)
            if mesh.presence >= FaceMesh.PRESENCE and _same(_place(self._last), _place(mesh)):
                return mesh
        found = self._finder.faces(picture)
        if not found:
            return None
        if now - self._seen <= PATIENCE:
            near = [mesh for mesh in found if _same(self._place, _place(mesh))]
            if not near:
                return None
            chosen = min(near, key=lambda mesh: _apart(self._place, _place(mesh)))
        else:
            chosen = found[0]
        return self._net.refine(picture, chosen)


def _place(mesh: Mesh) -> Floats:
    """Middle x, y and size of a face, pixels. [3]"""
    flat = mesh.points[:, :2]
    low, high = flat.min(0), flat.max(0)
    return np.array([*(low + high) / 2, (high - low).max()], np.float32)


def _apart(a: Floats, b: Floats) -> float:
    """Distance of two faces, in sizes of the first."""
    return float(np.hypot(*(a[:2] - b[:2])) / a[2])


def _same(a: Floats, b: Floats) -> bool:
    return _apart(a, b) <= NEAR and 1 / ALIKE <= b[2] / a[2] <= ALIKE
