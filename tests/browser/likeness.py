"""How far a received picture shows the person who stands before the camera. Nothing is downloaded:
landmarks come from the project's own face finder, likeness from the pixels of aligned faces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.face_models import QUICK, FaceDetector, FaceMesh

Picture = NDArray[np.uint8]

ALIGNED = 96
"""Side of an aligned face, pixels."""
ANCHORS = (33, 133, 362, 263, 61, 291, 2)
"""Landmarks that faces are aligned by: eye corners, mouth corners, below the nose."""
PLACES = np.array([[26, 38], [41, 38], [55, 38], [70, 38], [34, 70], [62, 70], [48, 57]], "f4")
"""Where they go in the aligned face. [7, 2]"""
NOSE_TIP, RIGHT_SIDE, LEFT_SIDE = 1, 234, 454
"""Landmarks; the sides of the face are where the ears begin, right and left as the person says."""


@dataclass(frozen=True)
class SeenFace:
    """A face in a picture.

    Args:
        points: landmarks, pixels. [468, 2]
        aligned: the face alone at a standard place, grey, zero mean and unit deviation over the
            face, 0 elsewhere. [96, 96]
        inside: which pixels of `aligned` are face. [96, 96]
    """

    points: NDArray[np.float32]
    aligned: NDArray[np.float32]
    inside: NDArray[np.bool_]

    @property
    def nose_between_ears(self) -> float:
        """0 where the nose tip is seen at the left edge of the face, 1 at the right edge."""
        left, nose, right = (self.points[i, 0] for i in (RIGHT_SIDE, NOSE_TIP, LEFT_SIDE))
        return float((nose - left) / (right - left))


class FaceReader:
    """Finds the one face of a picture."""

    def __init__(self) -> None:
        self._detector = FaceDetector()
        self._mesh = FaceMesh()

    def __call__(self, picture: Picture) -> SeenFace:
        """RGB [H, W, 3].

        Raises:
            AssertionError: there is not exactly one face.
        """
        _, found = next(self._detector.levels(picture, QUICK))  # the person fills the picture
        # Only the mesh tells whether what the detector found is a face.
        meshes = [self._mesh.first(picture, face) for face in self._detector.distinct(found)]
        meshes = [mesh for mesh in meshes if mesh.presence > FaceMesh.PRESENCE]
        assert len(meshes) == 1, f"{len(meshes)} faces in the picture"
        mesh = self._mesh.refine(picture, meshes[0])
        points = mesh.points[:, :2]
        to_aligned = _similarity(points[list(ANCHORS)], PLACES)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        area = (ALIGNED, ALIGNED)
        aligned = cv2.warpAffine(grey, to_aligned, area, flags=cv2.INTER_AREA).astype(np.float32)
        aligned = cv2.GaussianBlur(aligned, (0, 0), 1.0)  # video and refining may move fine grain
        outline = cv2.convexHull((points @ to_aligned[:, :2].T + to_aligned[:, 2]).astype(np.int32))
        inside = cv2.fillConvexPoly(np.zeros(area, np.uint8), outline, 1).astype(bool)
        values = aligned[inside]
        aligned = np.where(inside, (aligned - values.mean()) / (values.std() + 1e-6), 0)
        return SeenFace(points, aligned.astype(np.float32), inside)


def likeness(a: SeenFace, b: SeenFace) -> float:
    """Correlation of two aligned faces where both are face: 1 for the same picture."""
    common = a.inside & b.inside
    return float(np.corrcoef(a.aligned[common], b.aligned[common])[0, 1])


def _similarity(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rotation, scale and shift that best map points onto others (Umeyama 1991). [2, 3]"""
    a, b = source - source.mean(0), target - target.mean(0)
    u, spread, vt = np.linalg.svd(b.T.astype(np.float64) @ a)
    sign = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = float((spread * np.diag(sign)).sum() / (a**2).sum())
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.c_[scale * rotation, shift]
