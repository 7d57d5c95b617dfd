"""How close predicted views are to true ones, per view and person."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.dataset import People, Views
from training.losses import ssim
from training.predictions import Predict, Prediction, on_grey

MEASURES = ("psnr", "psnr_whole", "ssim", "ssim_whole", "iou", "sharpness", "depth")
"""`psnr` (dB) and `ssim` (window 11) over the person, dilated by 4 pixels, and over the whole
picture, composed on grey; `iou` of the silhouettes at 0.5; `sharpness`, the mean gradient magnitude
over the person divided by the truth's; `depth`, mean absolute error in mm where both are solid."""

Scores = dict[str, NDArray[np.float64]]
"""[people, views] for each of MEASURES; depth is nan where there is no geometry."""


def compare(prediction: Prediction, views: Views) -> dict[str, Tensor]:
    """Measures of one person's views (B = 1). [V] each"""
    truth = views.rgba[0]
    picture, target = on_grey(prediction.rgba), on_grey(truth)
    person = (F.max_pool2d(truth[:, 3:], 9, 1, 4) > 0.02).float()
    area = person.sum((1, 2, 3))
    error = ((picture - target) ** 2).mean(1, keepdim=True)
    similarity = ssim(picture, target, 11).mean(1, keepdim=True)

    def decibel(x: Tensor) -> Tensor:
        return -10 * torch.log10(x.clamp(min=1e-6))

    def gradient(p: Tensor) -> Tensor:
        dx, dy = p.diff(dim=-1)[..., :-1, :], p.diff(dim=-2)[..., :-1]
        return (torch.sqrt(dx * dx + dy * dy) * person[..., :-1, :-1]).sum((1, 2, 3))

    inside, true_inside = prediction.rgba[:, 3] > 0.5, truth[:, 3] > 0.5
    return {
        "psnr": decibel((error * person).sum((1, 2, 3)) / area),
        "psnr_whole": decibel(error.mean((1, 2, 3))),
        "ssim": (similarity * person).sum((1, 2, 3)) / area,
        "ssim_whole": similarity.mean((1, 2, 3)),
        "iou": (inside & true_inside).sum((1, 2)) / (inside | true_inside).sum((1, 2)),
        "sharpness": gradient(picture) / gradient(target),
        "depth": depth_error(prediction, views),
    }


def depth_error(prediction: Prediction, views: Views) -> Tensor:
    """Mean absolute error in mm over what is solid in both; nan where there is none. [V]"""
    truth = views.rgba[0]
    if prediction.depth is None or not views.depth.any():
        return torch.full((len(truth),), torch.nan)
    factor = truth.shape[-1] // views.depth.shape[-1]
    alpha, depth, true_alpha = (
        F.avg_pool2d(x[:, None], factor)
        for x in (prediction.rgba[:, 3], prediction.depth, truth[:, 3])
    )
    both = ((true_alpha > 0.95) & (alpha > 0.8)).float()
    error = (depth - views.depth[0]).abs() * 1e3
    return (error * both).sum((1, 2, 3)) / both.sum((1, 2, 3)).clamp(min=1)


def score(predict: Predict, people: People, limit: int = 0, size: int = 256) -> Scores:
    """Measure a prediction on all people, or on the first `limit`, in pictures of `size` pixels."""
    rows = []
    for person in range(min(len(people), limit or len(people))):
        views = people.views(np.array([person]), np.arange(people.views_per_person)[None], size)
        rows.append(compare(predict(views), views))
    return {name: torch.stack([row[name] for row in rows]).double().numpy() for name in MEASURES}


def view_names(people: People) -> list[str]:
    """Names of the views: "input", then yaw and, where it is not 0, pitch in degrees; "#2" is the
    second view from there."""
    cameras = people.views(np.array([0]), np.arange(people.views_per_person)[None]).world_to_camera
    names = ["input"]
    for camera in cameras[0, 1:].double():
        x, y, z = (-camera[:3, :3].T @ camera[:3, 3]).tolist()
        yaw, pitch = np.degrees([np.arctan2(x, -z), np.arctan2(-y, np.hypot(x, z))]).round()
        name = f"{yaw:.0f}" + (f"/{pitch:.0f}" if pitch else "")
        number = sum(other.partition("#")[0] == name for other in names) + 1
        names.append(f"{name}#{number}" if number > 1 else name)
    return names


def _groups(names: list[str]) -> dict[str, list[int]]:
    """Columns of a summary: the views of each yaw, then, if they differ, those of each pitch."""
    yaws: dict[str, list[int]] = {}
    pitches: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        yaw, _, pitch = name.partition("#")[0].partition("/")
        yaws.setdefault(yaw, []).append(index)
        if index:
            pitches.setdefault(f"pitch {pitch or 0}", []).append(index)
    return yaws | (pitches if len(pitches) > 1 else {})


def per_yaw(scores: Scores, names: list[str]) -> dict[str, dict[str, float]]:
    """Means over people of each of MEASURES at the input, at each yaw and, where there are several,
    at each pitch; and as "psnr, interval" half of the 95 % interval of the first."""
    groups = _groups(names)
    result = {}
    for name in MEASURES:
        columns = {key: scores[name][:, members].mean(1) for key, members in groups.items()}
        result[name] = {
            key: float(values.mean())
            for key, values in columns.items()
            if not np.isnan(values).any()
        }
        if name == "psnr" and len(scores[name]) > 1:
            result["psnr, interval"] = {k: _half_interval(v) for k, v in columns.items()}
    return {name: row for name, row in result.items() if row}


def _half_interval(values: NDArray[np.float64]) -> float:
    """Half of the 95 % interval of a mean."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def summary(scores: Scores, names: list[str]) -> dict[str, float]:
    """PSNR per yaw (and, where there are several, per pitch), and means over all views but the
    input; `ci`: half of a 95 % interval of the mean PSNR over people."""
    per_view = scores["psnr"].mean(0)
    result = {name: float(per_view[members].mean()) for name, members in _groups(names).items()}
    per_person = scores["psnr"][:, 1:].mean(1)
    result["mean"] = float(per_person.mean())
    if len(per_person) > 1:
        result["ci"] = _half_interval(per_person)
    for name in MEASURES[1:]:
        values = scores[name][:, 1:]
        if not np.isnan(values).any():
            result[name] = float(values.mean())
    return result
