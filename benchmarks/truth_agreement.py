r"""How well do neighbouring views of the truth itself agree? By OpenGL, and blurred step by step.

    python -m benchmarks.truth_agreement --facekit ict_facekit.npz --seeds 910000:910024 \
        --assets unseen

`visavis-train evaluate` warps a view onto its neighbour 5 degrees on, and counts the difference as
disagreement. The warp blurs what it moves, and light that changes with the direction disagrees by
nature. So the truth does not agree with itself either: this prints how far, by the same measure and
with its exact depth, and how much sharpness (gradients over those of the truth) it must lose to
agree better.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from training.evaluate import table
from training.people.arguments import add_assets, add_facekit, add_seeds
from training.people.facekit import FaceKit
from training.people.person import sample_person
from training.people.renderer import Renderer
from training.people.views import orbit
from training.predictions import on_grey
from training.stability import STEP, YAWS, warp

BLURS = (0.0, 0.4, 0.5, 0.6, 0.8, 1.2, 2.0)
"""Standard deviations of a Gaussian, pixels."""
DISTANCE = 0.75
"""Metres, as in the test layout."""
SIZE = 256


def agreement(renderer: Renderer) -> np.ndarray:
    """Of the loaded person at each of YAWS: dB and sharpness for each of BLURS. [Y, B, 2]"""
    rows = []
    for yaw in YAWS:
        views = [orbit(yaw, 0, DISTANCE), orbit(yaw + STEP, 0, DISTANCE)]
        pictures, depths = zip(*(renderer.render(view) for view in views), strict=True)
        depth = torch.from_numpy(np.stack(depths))
        cameras = torch.from_numpy(np.stack([v.world_to_camera for v in views])).float()
        truth = [picture.astype(np.float32) / 255 for picture in pictures]
        both = warp(_stacked(truth), depth, cameras)[1]  # the same pixels for every blur
        person = F.max_pool2d(_stacked(truth)[:1, 3:], 9, 1, 4)[0, 0, :-1, :-1] > 0.02
        row = []
        for sigma in BLURS:
            seen = [cv2.GaussianBlur(x, (0, 0), sigma) if sigma else x for x in truth]
            moved = on_grey(warp(_stacked(seen), depth, cameras)[0])
            shown = on_grey(_stacked(seen)[0])
            error = ((moved - shown) ** 2).mean(0)[both].mean()
            dx, dy = shown.diff(dim=-1)[:, :-1], shown.diff(dim=-2)[..., :-1]
            gradient = torch.sqrt(dx * dx + dy * dy)[:, person].mean()
            row.append((float(-10 * torch.log10(error)), float(gradient)))
        rows.append([(decibel, gradient / row[0][1]) for decibel, gradient in row])
    return np.array(rows)


def _stacked(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """[2, 4, S, S]"""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_facekit(parser)
    add_seeds(parser)
    add_assets(parser)
    chosen = parser.parse_args()
    kit = FaceKit.load(chosen.facekit)
    renderer, rows = Renderer(kit, SIZE), []
    for seed in chosen.seeds:
        renderer.load(sample_person(kit, seed, assets=chosen.assets))
        rows.append(agreement(renderer))
    means = np.array(rows).mean((0, 1))
    print(
        table(
            {
                f"{sigma:g}": {"sharpness": sharp, "neighbours agree, dB": decibel}
                for sigma, (decibel, sharp) in zip(BLURS, means, strict=True)
            },
            "truth, blurred by pixels",
        )
    )


if __name__ == "__main__":
    main()
