"""How close are rendered views of held-out people to the truth? One command, JSON and a table.

    visavis-train evaluate --people DIR [--lifter FILE] [--refiner FILE] [--json OUT]

DIR holds people in the test layout: view 0 is the input, views 1..7 the yaws -45..45 by 15.
Pictures are composed on grey. PSNR and SSIM (window 11) are taken over the person, dilated by 4
pixels; sharpness is the mean gradient magnitude there over the truth's; IoU is that of the
silhouettes at 0.5.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_kernels.splat import splat
from models.lifter import Layers, Lifter, to_gaussians
from models.refiner import Refiner, refine, relative_depth
from models.weights import load_lifter, load_refiner
from training.dataset import People, Views, intrinsics, relative_cameras
from training.losses import ssim

YAWS = (-45, -30, -15, 0, 15, 30, 45)
GREY = 0.5


def on_grey(rgba: Tensor) -> Tensor:
    """Premultiplied [..., 4, H, W] over grey. [..., 3, H, W]"""
    return rgba[..., :3, :, :] + (1 - rgba[..., 3:, :, :]) * GREY


def lift(network: Lifter, views: Views, given: bool = True) -> tuple[Layers, Tensor]:
    """Raw maps of the input views on grey, and those pictures [B, 3, S, S]."""
    rgba = views.rgba[:, 0]
    image = on_grey(rgba)
    mask = rgba[:, 3:] if given else torch.zeros_like(rgba[:, 3:])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        front, back = network(image, mask, torch.full((len(image),), float(given)))
    return Layers(front.float(), back.float()), image


def render(network: Lifter, views: Views, given: bool = True) -> Tensor:
    """Splat the lifted input into every view, channels as `splat`'s. [B, V, 6, S, S]"""
    layers, image = lift(network, views, given)
    gaussians = to_gaussians(layers, image, views.distance[:, 0])
    cameras = relative_cameras(views.world_to_camera[:, 0], views.world_to_camera)
    size = image.shape[-1]
    return splat(
        gaussians.means,
        gaussians.axes,
        gaussians.opacities,
        gaussians.colors,
        cameras,
        intrinsics(size, cameras.shape[:2]),
        size,
        size,
        threads=torch.get_num_threads(),
    )


def compare(picture: Tensor, alpha: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Measures per view: pictures on grey [V, 3, H, W], alpha [V, H, W], true RGBA [V, 4, H, W]."""
    target = on_grey(truth)
    person = (F.max_pool2d(truth[:, 3:], 9, 1, 4) > 0.02).float()
    area = person.sum((1, 2, 3))
    error = ((picture - target) ** 2).mean(1, keepdim=True)
    similarity = ssim(picture, target, 11).mean(1, keepdim=True)

    def gradient(p: Tensor) -> Tensor:
        dx, dy = p.diff(dim=-1)[..., :-1, :], p.diff(dim=-2)[..., :-1]
        return (torch.sqrt(dx * dx + dy * dy) * person[..., :-1, :-1]).sum((1, 2, 3))

    inside, true_inside = alpha > 0.5, truth[:, 3] > 0.5
    return {
        "psnr": -10 * torch.log10((error * person).sum((1, 2, 3)).clamp(min=1e-6) / area),
        "ssim": (similarity * person).sum((1, 2, 3)) / area,
        "iou": (inside & true_inside).sum((1, 2)) / (inside | true_inside).sum((1, 2)),
        "sharpness": gradient(picture) / gradient(target),
    }


def evaluate(
    predict: Callable[[Views], tuple[Tensor, Tensor]], people: People, limit: int = 0
) -> dict[str, float]:
    """Mean measures over people.

    Args:
        predict: from the views of one person to pictures on grey [8, 3, S, S] and alphas [8, S, S].
        people: in the test layout.
        limit: so many people at most; 0 for all.
    """
    rows = []
    for person in range(min(len(people), limit or len(people))):
        views = people.views(np.array([person]), np.arange(8)[None])
        picture, alpha = predict(views)
        rows.append(compare(picture, alpha, views.rgba[0]))
    mean = {key: torch.stack([row[key] for row in rows]).mean(0) for key in rows[0]}
    result = {"input": float(mean["psnr"][0])}
    result |= {str(yaw): float(value) for yaw, value in zip(YAWS, mean["psnr"][1:], strict=True)}
    result["mean"] = float(mean["psnr"][1:].mean())
    return result | {key: float(mean[key][1:].mean()) for key in ("ssim", "iou", "sharpness")}


def predict_raw(network: Lifter, given: bool = True) -> Callable[[Views], tuple[Tensor, Tensor]]:
    """Predictions of the lifter alone."""

    def predict(views: Views) -> tuple[Tensor, Tensor]:
        splatted = render(network, views, given)[0]
        alpha = splatted[:, 5]
        return splatted[:, :3] + (1 - alpha[:, None]) * GREY, alpha

    return predict


def predict_refined(
    lifter: Lifter, refiner: Refiner, level: float
) -> Callable[[Views], tuple[Tensor, Tensor]]:
    """Predictions of both networks at a noise level."""

    def predict(views: Views) -> tuple[Tensor, Tensor]:
        source = views.rgba[:, 0]
        raw = relative_depth(render(lifter, views)[0], views.distance[0])
        portrait = torch.cat([on_grey(source) * source[:, 3:], source[:, 3:]], 1)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 4, *raw.shape[-2:], generator=generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tokens = refiner.encode_portrait(portrait).expand(len(raw), -1, -1, -1, -1)
            refined = refine(
                refiner, raw, noise.expand(len(raw), -1, -1, -1), level, tokens
            ).float()
        return on_grey(refined), refined[:, 3]

    return predict


def predict_input(views: Views) -> tuple[Tensor, Tensor]:
    """The input picture repeated for every view."""
    return on_grey(views.rgba[0, :1]).expand(8, -1, -1, -1), views.rgba[0, :1, 3].expand(8, -1, -1)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Rows of measures as a Markdown table."""
    names = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for label, row in rows.items():
        digits = (
            f"{row[name]:.3f}" if name in ("ssim", "iou", "sharpness") else f"{row[name]:.2f}"
            for name in names
        )
        lines.append(f"| {label} | " + " | ".join(digits) + " |")
    return "\n".join(lines)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train evaluate`."""
    parser.add_argument("--people", type=Path, required=True, help="folder in the test layout")
    parser.add_argument("--lifter", type=Path, help="weights; default: those that ship")
    parser.add_argument("--refiner", type=Path, help="weights; default: those that ship")
    parser.add_argument("--levels", type=float, nargs="*", default=[0.0, 0.3], help="of noise")
    parser.add_argument("--limit", type=int, default=0, help="people at most; 0: all")
    parser.add_argument("--json", type=Path, help="also write the rows here")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train evaluate` asks for."""
    people = People(options.people)
    lifter, refiner = load_lifter(options.lifter), load_refiner(options.refiner)
    predictions = {
        "input repeated": predict_input,
        "raw": predict_raw(lifter),
        "raw, no mask given": predict_raw(lifter, given=False),
    }
    for level in options.levels:
        predictions[f"refined, sigma {level:g}"] = predict_refined(lifter, refiner, level)
    rows = {
        label: evaluate(predict, people, options.limit) for label, predict in predictions.items()
    }
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
