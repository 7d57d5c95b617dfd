"""From a picture to the lifter's input: find the one face, say what is wrong with it, cut it out.

The portrait is what a virtual camera sees that stands where the real one stood, but is turned to
the middle of the head, rolled so that the head is upright, and zoomed so that the head has the size
that it has for the nominal portrait camera (`models.camera`) at 0.75 m. Only a homography of the
picture is needed for that. The true distance stays unknown: from nearer than 0.75 m a face has
stronger perspective (a larger nose) than the lifter takes it for, from further away weaker.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from models.camera import NOMINAL_DISTANCE, focal_pixels
from models.errors import PortraitError
from models.face_models import (
    FAR,
    QUICK,
    THOROUGH,
    Affine,
    Face,
    FaceDetector,
    FaceMesh,
    Floats,
    Mesh,
    PersonSegmenter,
    Picture,
    mapped,
    sample,
)
from models.frame_check import MEASURE_SIZE, FrameCheck, judge
from models.head_pose import HeadPose, fit_head_pose, look_at
from models.person_mask import person_mask

SIZE = 256
"""Side of a portrait, pixels."""
SECOND_FACE = 0.5
"""A face of this part of the largest face's size counts as a second person."""
MOST_FACES = 6
"""Boxes of the detector that are looked at closer, the best ones."""
EYES = np.array([0.0, -0.034, -0.0705])
"""Middle between the eyes in head space, metres, as the face mesh sees it."""
SHAPE_DOUBT = 0.5
"""People's faces lean differently by some degrees, which looks like pitch. So the eyes' height in
the portrait follows the measured pitch only in part."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A head as the nominal portrait camera would see it.

    Args:
        image: sRGB 0..1. [3, 256, 256]
        fine: the same with all pixels that were asked for; `image` itself where that is no more.
            [3, F, F]
        mask: the person, 0..1; 0 beyond the edge of the picture. [1, 256, 256]
        distance: metres from the virtual camera to the middle of the head. Nominal: the lifter's
            intrinsics are fixed, so it is the zoom that is chosen, see the module's text.
        head_from_camera: from the virtual camera's frame to head space, whose axes are those of
            the virtual camera before it was rolled: seen from the nominal portrait camera, the
            head is tilted as in the picture. [4, 4]
        crop: picture pixels to portrait pixels, centres at +0.5, float64. [3, 3]
        check: what was measured.
        pose: of the head.
        landmarks: pixels of the portrait, float32. [468, 2]
    """

    image: Tensor
    fine: Tensor
    mask: Tensor
    distance: float
    head_from_camera: Tensor
    crop: Tensor
    check: FrameCheck
    pose: HeadPose
    landmarks: Floats


class PortraitFinder:
    """Finds the face in a picture. May be shared by threads: it does one picture at a time.

    Args:
        field_of_view: degrees that the longer side of a picture is taken to span; 60 is usual for
            a webcam. It decides little: how the perspective of a face far from the middle of the
            picture is undone.

    Raises:
        SetupError: the face models are not installed; the message holds the command.
    """

    def __init__(self, field_of_view: float = 60.0) -> None:
        # One thread: cv2's own pool would fight with the renderer's threads for the cores, and
        # networks this small gain little from it.
        cv2.setNumThreads(1)
        self._detector, self._mesh = FaceDetector(), FaceMesh()
        self._segmenter = PersonSegmenter()
        self._focal = 0.5 / np.tan(np.radians(0.5 * field_of_view))
        self._lock = threading.Lock()

    def check(self, picture: Picture, strict: bool = True) -> FrameCheck:
        """Say whether a picture is fit to make an avatar from, and if not, what to do about it.

        Args:
            picture: RGB uint8. [H, W, 3]
            strict: True for a live camera, where a better frame can be had by asking for it, in
                words for the person before it. False for a picture that is given: only what makes
                an avatar impossible is refused, in words for someone who chooses a picture.
        """
        with self._lock:
            return self._examine(checked_picture(picture), strict)[0]

    def portrait(self, picture: Picture, strict: bool = True, fine: int = SIZE) -> Portrait:
        """Cut the portrait out of a picture.

        Args:
            picture: RGB uint8. [H, W, 3]
            strict: as for `check`.
            fine: side of `Portrait.fine`, pixels.

        Raises:
            PortraitError: the picture is not fit; `code` and the reason are those of `check`.
        """
        picture = checked_picture(picture)
        with self._lock:
            check, mesh, pose = self._examine(picture, strict)
            if not check.fit or mesh is None or pose is None:
                raise PortraitError(check.reason, check.code)
            crop = self._crop(picture, pose, SIZE)
            outline = mapped(crop, mesh.points[:, :2])
            mask = person_mask(self._segmenter, picture, crop, SIZE, outline)
        image = _planes(sample(picture, crop, SIZE))
        return Portrait(
            image=image,
            fine=image if fine == SIZE else _planes(sample(picture, enlarged(crop, fine), fine)),
            mask=torch.from_numpy(mask)[None],
            distance=NOMINAL_DISTANCE,
            head_from_camera=head_from_rolled(pose.roll),
            crop=torch.from_numpy(crop),
            check=check,
            pose=pose,
            landmarks=outline,
        )

    def faces(self, picture: Picture) -> list[Mesh]:
        """Landmarks of all who sit before a camera, the largest face first."""
        with self._lock:
            return [mesh for _, mesh in self._faces(checked_picture(picture), QUICK)]

    def _examine(
        self, picture: Picture, strict: bool
    ) -> tuple[FrameCheck, Mesh | None, HeadPose | None]:
        faces = self._faces(picture, QUICK if strict else THOROUGH)
        if not faces and not strict:  # so that a small face is called small, not absent
            faces = self._faces(picture, FAR)
        if not faces:
            return judge(picture, [], None, None, None, strict), None, None
        mesh = self._mesh.refine(picture, faces[0][1])
        pose = fit_head_pose(mesh.points, self.intrinsics(picture))
        crop = self._crop(picture, pose, MEASURE_SIZE)
        return judge(picture, [f for f, _ in faces], mesh, pose, crop, strict), mesh, pose

    def _faces(self, picture: Picture, divisors: Sequence[float]) -> list[tuple[Face, Mesh]]:
        """Faces that count, largest first.

        The search goes on to smaller faces until every face of half the size of the largest would
        have been found.
        """
        boxes: list[Face] = []
        found: list[tuple[Face, Mesh]] = []
        meshed = False
        for smallest, faces in self._detector.levels(picture, divisors):
            boxes, meshed = self._detector.distinct(boxes + faces), False
            if smallest <= SECOND_FACE * _largest(boxes):
                # Large patterns that look like a face must not hide a small face.
                found, meshed = self._meshed(picture, boxes), True
                boxes = [face for face, _ in found]
                if smallest <= SECOND_FACE * _largest(boxes):
                    break
        if not meshed:
            found = self._meshed(picture, boxes)
        found.sort(key=lambda pair: -pair[0].size)
        return [pair for pair in found if pair[0].size >= SECOND_FACE * found[0][0].size]

    def _meshed(self, picture: Picture, boxes: list[Face]) -> list[tuple[Face, Mesh]]:
        """What the mesh takes for faces too."""
        found: list[tuple[Face, Mesh]] = []
        for face in boxes[:MOST_FACES]:
            mesh = self._mesh.first(picture, face)
            if mesh.presence < FaceMesh.PRESENCE:
                continue
            middle = mesh.points[:, :2].mean(0)
            # A box that is far off can slide to a face that has been found already.
            if all(np.abs(middle - m.points[:, :2].mean(0)).max() > 0.3 * f.size for f, m in found):
                found.append((face, mesh))
        return found

    def intrinsics(self, picture: Picture) -> Affine:
        """Of the camera that took a picture, as far as is known, pixels. [3, 3]"""
        height, width = picture.shape[:2]
        focal = self._focal * max(height, width)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    def _crop(self, picture: Picture, pose: HeadPose, size: int) -> Affine:
        """Picture pixels to pixels of the virtual camera. [3, 3]"""
        return crop_about(head_middle(pose), pose.roll, self.intrinsics(picture), size)


def enlarged(crop: Affine, fine: int) -> Affine:
    """From picture pixels to pixels of a portrait of another size than `SIZE`. [3, 3]"""
    return np.asarray(np.diag([fine / SIZE, fine / SIZE, 1.0]) @ crop)


def _planes(picture: Picture) -> Tensor:
    """[S, S, 3] of 0..255 -> [3, S, S] of 0..1"""
    return torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)


def head_middle(pose: HeadPose) -> Affine:
    """Where the virtual camera looks, in the frame of the real one, metres. [3]"""
    lean = np.radians(SHAPE_DOUBT * pose.pitch)
    c, s = np.cos(lean), np.sin(lean)
    doubted = pose.rotation @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return np.asarray(pose.position + (pose.rotation - doubted) @ EYES)


def crop_about(middle: Affine, roll: float, K: Affine, size: int) -> Affine:
    """Picture pixels to pixels of a virtual camera that looks at a head.

    Args:
        middle: from `head_middle`. [3]
        roll: of the head in the picture, degrees.
        K: intrinsics of the picture's camera, pixels. [3, 3]
        size: side of the portrait, pixels.

    Returns:
        [3, 3]
    """
    distance = float(np.linalg.norm(middle))
    focal = focal_pixels(size) / NOMINAL_DISTANCE * distance
    virtual = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return np.asarray(virtual @ turned_to(middle, roll) @ np.linalg.inv(K))


def turned_to(middle: Affine, roll: float) -> Affine:
    """From a camera's frame to that of the virtual camera that looks at a head. [3, 3]"""
    angle = np.radians(-roll)
    upright = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    return np.asarray(upright @ look_at(middle))


def portrait_rotation(pose: HeadPose) -> Affine:
    """From head space to the camera of a portrait that was cut by a pose. [3, 3]"""
    return np.asarray(turned_to(head_middle(pose), pose.roll) @ pose.rotation)


def _largest(faces: list[Face]) -> float:
    return max((face.size for face in faces), default=0.0)


def head_from_rolled(roll: float) -> Tensor:
    """Undo the virtual camera's roll and step back to the middle of the head. [4, 4]"""
    angle = np.radians(roll)
    c, s = np.cos(angle), np.sin(angle)
    return torch.tensor(
        [[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, -NOMINAL_DISTANCE], [0, 0, 0, 1]],
        dtype=torch.float32,
    )


def checked_picture(picture: Picture) -> Picture:
    """The picture, if it is RGB uint8 [H, W, 3]; else ValueError."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"expected RGB uint8 [H, W, 3], got {picture.dtype} {picture.shape}")
    return picture
