"""Whether a predicted face is still that person's: the distance between faces, to a network that
tells people apart.

The network is dlib's (King, "High quality face recognition with deep metric learning", 2017); by
its convention two pictures are of one person below 0.6. Its word needs care:

- The true view from the same side has a distance too, in the row "truth": a right prediction has
  that, not 0. The input repeated has 0, and is right nowhere.
- Blur alone costs 0.35 at two pixels, a shift by half a pixel 0.1.
- Different synthetic people are 0.54 apart in the mean, some only 0.3 (measured): it tells them
  apart badly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.face_models import QUICK, FaceDetector, FaceMesh, Mesh, Picture
from training.dataset import People, Views
from training.predictions import Predict, Prediction, on_grey

FARTHEST = 30
"""Degrees of yaw; beyond, the network is not sure of true views either."""
NETWORK = "models/dlib_face_recognition_resnet_model_v1.dat"
FIVE_POINTS = (263, 362, 33, 133, 2)
"""Points of the mesh, in the order of dlib's five: outer and inner corner of the eye at the right
of the picture, of the one at the left, base of the nose."""

Embedding = NDArray[np.float64]
Embed = Callable[[Picture], Embedding]
"""From a picture of one face to its embedding, nan where there is no face."""


class FaceEmbedder:
    """dlib's face network, on faces that the face mesh finds: dlib's own detector loses those that
    are turned or blurred.

    Raises:
        ModuleNotFoundError: a package of the extra `identity` is missing.
        SetupError: the face models are missing; the message holds the command to run.
    """

    SIZE = 128

    def __init__(self) -> None:
        network = _network_file()
        import dlib

        self._dlib = dlib
        self._detector, self._mesh = FaceDetector(), FaceMesh()
        self._network = dlib.face_recognition_model_v1(str(network))

    def __call__(self, picture: Picture) -> Embedding:
        """Embedding of the face. [H, W, 3] -> [128]"""
        mesh = self._find(picture)
        if mesh is None:
            return np.full(self.SIZE, np.nan)
        # dlib counts pixel centres from 0.
        corners = (mesh.points[list(FIVE_POINTS), :2] - 0.5).round().astype(int)
        points = [self._dlib.point(x, y) for x, y in corners.tolist()]
        box = self._dlib.rectangle(*corners.min(0).tolist(), *corners.max(0).tolist())
        shape = self._dlib.full_object_detection(box, points)
        return np.array(self._network.compute_face_descriptor(picture, shape))

    def _find(self, picture: Picture) -> Mesh | None:
        for _, faces in self._detector.levels(picture, QUICK):
            for face in self._detector.distinct(faces):
                mesh = self._mesh.first(picture, face)
                if mesh.presence >= FaceMesh.PRESENCE:
                    return self._mesh.refine(picture, mesh)
        return None


def _network_file() -> Path:
    # Importing that package would need pkg_resources, which setuptools no longer has.
    name = "face_recognition_models"
    spec = importlib.util.find_spec(name)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(root) / NETWORK).is_file():
            return path
    raise ModuleNotFoundError(f"No file {NETWORK} of {name}", name=name)


def identity(
    predictions: dict[str, Predict],
    people: People,
    names: list[str],
    embed: Embed,
    limit: int = 0,
    size: int = 256,
) -> dict[str, dict[str, float]]:
    """Rows of distances to the true input view, for the truth and for each prediction.

    Args:
        predictions: what to measure, by the labels of the rows.
        people: in the test layout.
        names: of their views, as from `view_names`.
        embed: makes the embeddings.
        limit: people at most; 0: all.
        size: of the views, pixels.
    """
    yaws = near_front(names)
    chosen = np.array([[0, *yaws]])
    rows: dict[str, Predict] = {"truth": _truth, **predictions}
    distances: dict[str, list[list[float]]] = {label: [] for label in rows}
    for person in range(min(len(people), limit or len(people))):
        views = people.views(np.array([person]), chosen, size)
        reference = embed(_picture(views.rgba[0, 0]))
        for label, predict in rows.items():
            faces = [embed(_picture(rgba)) for rgba in predict(views).rgba[1:]]
            distances[label].append([float(np.linalg.norm(face - reference)) for face in faces])
    sides = np.array(list(yaws.values()))
    return {label: by_yaw(np.array(values), sides) for label, values in distances.items()}


def near_front(names: list[str]) -> dict[int, int]:
    """Numbers of the views other than the input that are near enough to the front, and their yaws
    in degrees."""
    yaws = {
        number: int(name.partition("#")[0].partition("/")[0])
        for number, name in enumerate(names)
        if number
    }
    return {number: yaw for number, yaw in yaws.items() if abs(yaw) <= FARTHEST}


def by_yaw(distances: NDArray[np.float64], yaws: NDArray[np.int64]) -> dict[str, float]:
    """Means of distances [people, views] for each yaw [views] and over all, leaving out those that
    are nan; `not found` is how many those are."""
    groups = {str(yaw): distances[:, yaws == yaw] for yaw in np.unique(yaws)} | {"mean": distances}
    row = {
        name: float(np.nanmean(group)) for name, group in groups.items() if np.isfinite(group).any()
    }
    missing = int(np.isnan(distances).sum())
    return row | ({"not found": float(missing)} if missing else {})


def _truth(views: Views) -> Prediction:
    return Prediction(views.rgba[0])


def _picture(rgba: Tensor) -> Picture:
    """[4, S, S] -> [S, S, 3]"""
    levels = (on_grey(rgba).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())
