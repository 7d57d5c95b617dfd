"""The three small networks that find a person: face detector, face mesh, person segmentation.

They are the tflite files that the mediapipe 0.10.21 wheel carries (Apache-2.0), run by `cv2.dnn`;
mediapipe itself is never imported. Points are (x, y) in pixels of the picture, pixel centres at
+0.5; pictures are RGB uint8 [H, W, 3].
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import SetupError

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Affine = NDArray[np.float64]

INSTALL = "pip install --no-deps mediapipe==0.10.21"
DETECTOR = "face_detection/face_detection_short_range.tflite"
MESH = "face_landmark/face_landmark.tflite"
SEGMENTER = "selfie_segmentation/selfie_segmentation.tflite"

DETECTOR_SIZE, MESH_SIZE, SEGMENTER_SIZE = 128, 192, 256
MESH_MARGIN = 1.5
"""Side of the mesh's crop over the side of the face's box, as the mesh was trained."""
LOCAL_POINTS = 468


@dataclass(frozen=True)
class Face:
    """A face found in a picture.

    Args:
        score: the detector's, 0..1.
        centre: middle of the box. [2]
        size: side of the square box, pixels.
        keypoints: right eye, left eye (the person's own), nose tip, mouth, right ear, left ear.
            [6, 2]
    """

    score: float
    centre: Floats
    size: float
    keypoints: Floats


@dataclass(frozen=True)
class Mesh:
    """Landmarks of one face.

    Args:
        points: x, y in pixels of the picture; z relative, on the same scale, smaller is nearer.
            [468, 3]
        presence: how sure the network is that this is a face, 0..1.
    """

    points: Floats
    presence: float


def model_file(name: str) -> Path:
    """Path of a tflite file inside the installed mediapipe wheel.

    Raises:
        SetupError: mediapipe, or the file, is not there; the message holds the command to run.
    """
    spec = importlib.util.find_spec("mediapipe")
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / "modules" / name
        if path.is_file():
            return path
    raise SetupError(
        f"The face model {Path(name).name} is missing. Run: {INSTALL}", code="no_face_models"
    )


def read_network(name: str) -> cv2.dnn.Net:
    """Load one of the networks. It must not be shared by threads without a lock."""
    return cv2.dnn.readNetFromTFLite(str(model_file(name)))


def sample(picture: Picture, to_crop: Affine, size: int) -> Picture:
    """Cut a square out of a picture by an affine or projective map, without aliasing.

    What lies outside the picture repeats its edge.

    Args:
        picture: any size. [H, W, 3]
        to_crop: picture pixels to crop pixels, centres at +0.5. [2, 3] or [3, 3]
        size: side of the crop, pixels.
    """
    to_crop = np.vstack([to_crop, [0, 0, 1]]) if len(to_crop) == 2 else to_crop
    # One crop pixel covers 1 / scale picture pixels: bilinear reading skips some when it covers
    # more than about one and a half, so read a finer grid and average.
    scale = np.sqrt(abs(np.linalg.det(_jacobian(to_crop, size))))
    fine = int(np.clip(np.ceil(0.67 / max(scale, 1e-6)), 1, 16))
    finer = np.diag([fine, fine, 1.0]) @ to_crop
    crop = cv2.warpPerspective(
        picture, centred(finer), (size * fine, size * fine), borderMode=cv2.BORDER_REPLICATE
    )
    if fine > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)


def centred(homography: Affine) -> Affine:
    """The same map for cv2, which counts pixel centres from 0. [3, 3]"""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(np.linalg.inv(half) @ homography @ half)


def mapped(homography: Affine, points: Floats | Affine) -> Floats:
    """Points after a homography. [N, 2] -> [N, 2]"""
    ends = np.c_[points, np.ones(len(points))] @ homography.T
    return np.asarray(ends[:, :2] / ends[:, 2:], np.float32)


def _jacobian(homography: Affine, size: int) -> Affine:
    """Derivative of a homography at the point that it maps to the middle of the crop. [2, 2]"""
    source = np.linalg.inv(homography) @ [0.5 * size, 0.5 * size, 1.0]
    x, y, w = homography @ (source / source[2])
    rows = [
        (homography[i, :2] * w - value * homography[2, :2]) / w**2 for i, value in ((0, x), (1, y))
    ]
    return np.asarray(rows)


def _blob(crop: Picture, scale: float, shift: float) -> Floats:
    """Network input, 1 x 3 x S x S, crop * scale + shift."""
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32) * np.float32(
        scale
    ) + np.float32(shift)


QUICK: Sequence[float] = (1, 1.6)
"""How a `FaceDetector` looks for someone before a webcam: faces from a twelfth of the view."""
THOROUGH: Sequence[float] = (1, 2, 4, 8)
"""How it looks for someone in a given picture: faces from a sixtieth of the view."""
FAR: Sequence[float] = (16,)
"""How it looks on when nobody was found: faces from a hundred-and-twentieth of the view, in about
two seconds. Smaller ones than that, in pictures of dozens of megapixels, are not found."""


class FaceDetector:
    """BlazeFace, short range: made for faces that fill an eighth of its view or more.

    Smaller faces are found by looking again at overlapping tiles of the picture.
    """

    SCORE = 0.5
    SMALLEST = 0.13
    """Side of the smallest box that is found reliably, over the side of the view (measured)."""
    OVERLAP = 0.3
    """Intersection over union from which two boxes are one face."""
    INSIDE = 0.5
    """Part of the smaller box inside the larger from which two boxes are one face: a tile's edge
    cuts faces, and the part that is left is found as a smaller face."""

    def __init__(self) -> None:
        self._net = read_network(DETECTOR)
        self._outputs = ("regressors", "classificators")
        self._anchors = np.array(
            [
                [(x + 0.5) / cells, (y + 0.5) / cells]
                for cells, per_cell in ((16, 2), (8, 6))
                for y in range(cells)
                for x in range(cells)
                for _ in range(per_cell)
            ],
            np.float32,
        )  # [896, 2]

    def levels(
        self, picture: Picture, divisors: Sequence[float]
    ) -> Iterator[tuple[float, list[Face]]]:
        """Search tiles of one size after another, and tell what is found in each size.

        Args:
            picture: [H, W, 3]
            divisors: sides of the tiles, as divisors of the picture's longer side, the largest tile
                first; 1 is the picture as a whole. Tiles smaller than the network's view are left
                out.

        Yields:
            Side of the smallest face that this level finds reliably, pixels; the faces found.
        """
        height, width = picture.shape[:2]
        # Resizing dozens of megapixels for every tile takes longer than the networks.
        shrink = max(1, int(max(height, width) / (2 * DETECTOR_SIZE * max(divisors))))
        seen = _shrunk(picture, shrink)
        for divisor in divisors:
            side = max(height, width) / divisor
            if divisor > 1 and side < DETECTOR_SIZE:
                break
            found: list[Face] = []
            for x, y in _tiles(width, height, side):
                found += self._look(seen, x / shrink, y / shrink, side / shrink)
            yield self.SMALLEST * side, [_enlarged(face, shrink) for face in found]

    def distinct(self, faces: list[Face]) -> list[Face]:
        """One box for each face, best first."""
        return _distinct(faces, self.OVERLAP, self.INSIDE)

    def _look(self, picture: Picture, x: float, y: float, side: float) -> list[Face]:
        # Whole pixels will do for a search, and a plain resize is far quicker than a warp. The
        # network knows black bars, not smeared edges, around pictures that are not square.
        left, top, edge = round(x), round(y), round(side)
        part = picture[max(top, 0) : top + edge, max(left, 0) : left + edge]
        scale = DETECTOR_SIZE / edge
        seen_w, seen_h = (max(1, round(n * scale)) for n in (part.shape[1], part.shape[0]))
        crop = np.zeros((DETECTOR_SIZE, DETECTOR_SIZE, 3), np.uint8)
        at_x, at_y = round(max(-left, 0) * scale), round(max(-top, 0) * scale)
        small = cv2.resize(part, (seen_w, seen_h), interpolation=cv2.INTER_AREA)
        crop[at_y : at_y + seen_h, at_x : at_x + seen_w] = small[
            : DETECTOR_SIZE - at_y, : DETECTOR_SIZE - at_x
        ]
        self._net.setInput(_blob(crop, 1 / 127.5, -1))
        boxes, scores = self._net.forward(self._outputs)
        scores = 1 / (1 + np.exp(-np.clip(scores.reshape(-1), -50, 50)))
        origin = np.array([x, y], np.float32)
        faces = []
        for i in np.flatnonzero(scores >= self.SCORE):
            values = boxes.reshape(-1, 8, 2)[i] / DETECTOR_SIZE  # centre, size, six key points
            values[[0, 2, 3, 4, 5, 6, 7]] += self._anchors[i]
            faces.append(
                Face(
                    score=float(scores[i]),
                    centre=values[0] * side + origin,
                    size=float(values[1].max() * side),
                    keypoints=values[2:] * side + origin,
                )
            )
        return faces


def _shrunk(picture: Picture, factor: int) -> Picture:
    """Every square of `factor` pixels becomes one; what is left over at the far edges is lost."""
    if factor == 1:
        return picture
    height, width = (max(1, length // factor) for length in picture.shape[:2])
    whole = picture[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _enlarged(face: Face, factor: int) -> Face:
    return Face(face.score, face.centre * factor, face.size * factor, face.keypoints * factor)


def _tiles(width: int, height: int, side: float) -> Iterator[tuple[float, float]]:
    """Top left corners of squares that cover a picture, overlapping by two fifths or more: what
    is larger than that has been seen in larger tiles."""

    def starts(length: int) -> list[float]:
        if length <= side:
            return [(length - side) / 2]
        steps = int(np.ceil((length - side) / (0.6 * side)))
        return [float(v) for v in np.linspace(0, length - side, steps + 1)]

    for y in starts(height):
        for x in starts(width):
            yield x, y


def _distinct(faces: list[Face], overlap: float, inside: float) -> list[Face]:
    """Merge the boxes of one face: the best score stays, and boxes that agree are averaged in."""
    kept: list[Face] = []
    rest = sorted(faces, key=lambda face: -face.score)
    while rest:
        best = rest[0]
        same, other = [], []
        for face in rest:
            low = np.maximum(face.centre - face.size / 2, best.centre - best.size / 2)
            high = np.minimum(face.centre + face.size / 2, best.centre + best.size / 2)
            common = float(np.prod(np.clip(high - low, 0, None)))
            union = face.size**2 + best.size**2 - common
            if common > overlap * union:
                same.append(face)
            elif common <= inside * min(face.size, best.size) ** 2:
                other.append(face)
        weights = np.array([face.score for face in same], np.float32)
        weights /= weights.sum()
        kept.append(
            Face(
                score=best.score,
                centre=_mean([face.centre for face in same], weights),
                size=float(np.dot(weights, [face.size for face in same])),
                keypoints=_mean([face.keypoints for face in same], weights),
            )
        )
        rest = other
    return kept


def _mean(values: list[Floats], weights: Floats) -> Floats:
    return np.asarray(np.tensordot(weights, np.stack(values), 1), np.float32)


class FaceMesh:
    """468 landmarks of a face."""

    PRESENCE = 0.9
    """Faces to 30 degrees from the front get over 0.99, what is none 0.82 at most (measured)."""
    UPRIGHT = 1 - 1e-5
    """Upright faces get 1 - 1e-10 and more, the same upside down 1 - 5e-4 at most (measured)."""

    def __init__(self) -> None:
        self._net = read_network(MESH)

    def first(self, picture: Picture, face: Face) -> Mesh:
        """Landmarks of a face that the detector has found; `presence` tells whether it is one."""
        eyes = face.keypoints[1] - face.keypoints[0]
        angle = float(np.arctan2(eyes[1], eyes[0]))
        mesh = self._fit(picture, face.centre, face.size, angle)
        if mesh.presence < self.UPRIGHT:
            # The detector takes the mouth of a face that is upside down for its eyes.
            turned = self._fit(picture, face.centre, face.size, angle + np.pi)
            return max(mesh, turned, key=lambda m: m.presence)
        return mesh

    def refine(self, picture: Picture, mesh: Mesh) -> Mesh:
        """Landmarks once more, in a crop that is cut by landmarks.

        The detector's box wanders by some per cent of its size; this crop hardly does.
        """
        flat = mesh.points[:, :2]
        eyes = flat[263] - flat[33]  # outer eye corners
        low, high = flat.min(0), flat.max(0)
        angle = float(np.arctan2(eyes[1], eyes[0]))
        return self._fit(picture, (low + high) / 2, float((high - low).max()), angle)

    def _fit(self, picture: Picture, centre: Floats, size: float, angle: float) -> Mesh:
        scale = MESH_SIZE / (MESH_MARGIN * size)
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        turn = np.array([[c, s], [-s, c]])
        to_crop = np.c_[turn, MESH_SIZE / 2 - turn @ centre]
        self._net.setInput(_blob(sample(picture, to_crop, MESH_SIZE), 1 / 255, 0))
        outputs = self._net.forward(self._net.getUnconnectedOutLayersNames())
        points = max(outputs, key=lambda o: o.size).reshape(LOCAL_POINTS, 3)
        presence = min(outputs, key=lambda o: o.size).item()
        # Landmarks of a mirrored picture mirror exactly with a quarter pixel added (measured).
        flat = (points[:, :2] + 0.25 - to_crop[:, 2]) @ np.linalg.inv(turn).T
        return Mesh(
            np.c_[flat, points[:, 2] / scale].astype(np.float32),
            float(1 / (1 + np.exp(-np.clip(presence, -50, 50)))),
        )


class PersonSegmenter:
    """Which pixels belong to a person. Works best on a view of head and shoulders."""

    def __init__(self) -> None:
        self._net = read_network(SEGMENTER)

    def __call__(self, crop: Picture) -> Floats:
        """Probability of a person, 0..1.

        Args:
            crop: [256, 256, 3]

        Returns:
            [256, 256]
        """
        self._net.setInput(_blob(crop, 1 / 255, 0))
        return np.asarray(self._net.forward().reshape(SEGMENTER_SIZE, SEGMENTER_SIZE), np.float32)
