"""Train the lifter on rendered people.

    python -m training.train_lifter --people DIR --out DIR [--steps N] [--minutes M]

Resumes from OUT/lifter.pt when it is there. The first part of the schedule renders a quarter of
layer 1 at half resolution, in random phases; the rest renders everything at full resolution.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cuda_kernels.splat import splat
from models.lifter import HALF_FOV, Layers, LiftedGaussians, Lifter, to_gaussians
from training.augment import camera_picture, degraded_mask, random_background, random_colors
from training.dataset import People, Views, intrinsics, relative_cameras
from training.evaluate import evaluate, predict_raw
from training.losses import gradient_l1, ssim
from training.run import Average, Workers, cosine, generators, log, save_checkpoint

FINE = 0.72
"""Share of the schedule after which training goes on at full resolution."""


@dataclass
class Sample:
    """One batch: what the network sees, and the views it must explain."""

    image: Tensor  # [B, 3, 256, 256]
    mask: Tensor  # [B, 1, 256, 256]
    given: Tensor  # [B]
    views: Views  # view 0 is the input


def draw(
    people: People,
    rng: np.random.Generator,
    noise: torch.Generator,
    batch: int,
    again: float = 0.4,
) -> Sample:
    """An input view and two targets of each of `batch` people; in a share `again` of the cases one
    target is the input itself."""
    chosen = rng.integers(0, len(people), batch)
    source = rng.integers(0, 2, batch)
    count = people.views_per_person
    targets = np.stack([rng.permutation([v for v in range(count) if v != s])[:2] for s in source])
    repeat = rng.uniform(size=batch) < again
    targets[repeat, 1] = source[repeat]
    views = people.views(chosen, np.concatenate([source[:, None], targets], 1))
    views = views.mirrored(torch.rand(batch, generator=noise) < 0.5)
    views.rgba = random_colors(views.rgba, noise)
    alpha = views.rgba[:, 0, 3:]
    image = views.rgba[:, 0, :3] + (1 - alpha) * random_background(batch, 256, noise)
    given = (torch.rand(batch, generator=noise) < 0.8).float()
    mask = degraded_mask(alpha, noise) * given.view(-1, 1, 1, 1)
    return Sample(camera_picture(image, noise), mask, given, views)


def loss(
    splatted: Tensor,
    truth: Tensor,
    layers: Layers,
    gaussians: LiftedGaussians,
    sample: Sample,
    backdrop: Tensor,
    depth_weight: float,
    stride: int,
) -> tuple[Tensor, dict[str, float]]:
    """Photometric, silhouette, depth and uncertainty terms.

    Args:
        splatted: colours, uncertainty, depth, alpha. [B, V, 6, H, W]
        truth: premultiplied RGBA of the targets. [B, V, 4, H, W]
        layers: what the network returned.
        gaussians: what was splatted.
        sample: the batch.
        backdrop: one colour per person. [B, 1, 3, 1, 1]
        depth_weight: of the input view's depth.
        stride: of layer 1.
    """
    alpha = splatted[:, :, 5:]
    picture = (splatted[:, :, :3] + (1 - alpha) * backdrop).flatten(0, 1)
    target = (truth[:, :, :3] + (1 - truth[:, :, 3:]) * backdrop).flatten(0, 1)
    error = (picture - target).abs()
    color = error.mean()
    structure = 1 - ssim(picture, target).mean()
    edges = gradient_l1(picture, target)
    silhouette = (alpha - truth[:, :, 3:]).abs().mean()

    true_alpha = sample.views.rgba[:, 0, 3:]
    true_depth = sample.views.depth[:, 0]
    solid = F.avg_pool2d(true_alpha, 2) > 0.95
    if stride == 1:
        predicted = F.avg_pool2d(gaussians.depth, 2)
    else:
        predicted = gaussians.depth
        true_alpha = F.avg_pool2d(true_alpha, 2)
    depth = F.smooth_l1_loss(predicted[solid] * 100, true_depth[solid] * 100, beta=0.5) / 4
    opaque = F.binary_cross_entropy_with_logits(gaussians.opacity_logits, true_alpha)

    wrong = F.avg_pool2d(error.mean(1, keepdim=True).detach(), 5, 1, 2).mul(6).clamp(max=1)
    unsure = splatted[:, :, 3:4].flatten(0, 1)
    covered = alpha.detach().flatten(0, 1)
    uncertainty = (unsure - wrong * covered).abs().mean()

    bumps = corrugation(layers.front[:, :1], sample.views.rgba[:, 0, 3:])
    total = 0.01 * bumps + color + 0.2 * structure + 0.3 * edges + 0.3 * silhouette
    total = total + depth_weight * depth + 0.05 * opaque + 0.02 * uncertainty
    parts = dict(
        color=color,
        structure=structure,
        edges=edges,
        silhouette=silhouette,
        depth=depth,
        opaque=opaque,
    )
    return total, {
        name: float(value.detach())
        for name, value in (parts | {"uncertainty": uncertainty, "bumps": bumps}).items()
    }


def corrugation(depth: Tensor, alpha: Tensor) -> Tensor:
    """Mean second difference of the depth inside the person, in pixel footprints, at most 2 each.

    The pixels that the network puts out side by side are trained in different steps; without this
    they disagree, and the surface is ribbed.

    Args:
        depth: of layer 1 in units of 0.08 m. [B, 1, H, W]
        alpha: of the person. [B, 1, H, W]
    """
    unit = 0.08 / (2 * math.tan(HALF_FOV) / depth.shape[-1] * 0.75)
    inside = (alpha > 0.95).float()
    total = depth.new_zeros(())
    for dim in (-1, -2):
        bend = (depth.diff(dim=dim).diff(dim=dim) * unit).abs().clamp(max=2)
        where = inside.narrow(dim, 1, depth.shape[dim] - 2)
        total = total + (bend * where).sum() / where.sum().clamp(min=1)
    return total


def part_loss(
    network: nn.Module,
    people: People,
    rng: np.random.Generator,
    noise: torch.Generator,
    progress: float,
    batch: int,
) -> tuple[Tensor, dict[str, float]]:
    """Forward pass and loss of one worker's part of a step, at `progress` 0..1 of the schedule."""
    stride = 2 if progress < FINE else 1
    sample = draw(people, rng, noise, batch if stride == 2 else max(1, batch // 2))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        front, back = network(sample.image, sample.mask, sample.given)
    layers = Layers(front.float(), back.float())
    phase = (int(rng.integers(0, stride)), int(rng.integers(0, stride)))
    gaussians = to_gaussians(layers, sample.image, sample.views.distance[:, 0], stride, phase)
    cameras = sample.views.world_to_camera
    cameras = relative_cameras(cameras[:, 0], cameras[:, 1:])
    truth = sample.views.rgba[:, 1:]
    if stride == 2:
        truth = F.avg_pool2d(truth.flatten(0, 1), 2).unflatten(0, truth.shape[:2])
    size = truth.shape[-1]
    splatted = splat(
        gaussians.means,
        gaussians.axes,
        gaussians.opacities,
        gaussians.colors,
        cameras,
        intrinsics(size, cameras.shape[:2]),
        size,
        size,
    )
    backdrop = torch.rand(len(truth), 1, 3, 1, 1, generator=noise)
    depth_weight = 0.1 * max(0.1, 1 - 2 * progress)
    return loss(splatted, truth, layers, gaussians, sample, backdrop, depth_weight, stride)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True, help="folder of rendered people")
    parser.add_argument(
        "--held-out", type=Path, help="folder in the test layout, evaluated while training"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; 0: never")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2, help="each takes a part of the batch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(options.seed)
    network = Lifter().to(memory_format=torch.channels_last)
    average = Average(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    step, seconds = 0, 0.0
    checkpoint = options.out / "lifter.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average.weights = state["average"]
        step, seconds = state["step"], state["seconds"]
    people = People(options.people)
    workers, parameters = Workers(options.threads), list(network.parameters())
    held_out = People(options.held_out) if options.held_out else None
    smooth = Lifter().to(memory_format=torch.channels_last)

    start, sums, counted = time.monotonic(), dict[str, float](), 0
    while True:
        elapsed = time.monotonic() - start
        done = step >= options.steps or (options.minutes and elapsed > 60 * options.minutes)
        if step and (step % options.every == 0 or done):
            state = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.weights,
                "step": step,
                "seconds": seconds + elapsed,
                "settings": {
                    "batch": options.batch,
                    "rate": options.rate,
                    "seed": options.seed,
                    "people": len(people),
                },
            }
            save_checkpoint(checkpoint, state)
            record = {"step": step, "seconds": seconds + elapsed, "people": len(people)}
            record |= {name: value / max(1, counted) for name, value in sums.items()}
            if held_out is not None and (step % (2 * options.every) == 0 or done):
                average.copy_to(smooth)
                measured = evaluate(predict_raw(smooth), held_out, 10)
                record |= {f"held_out_{name}": value for name, value in measured.items()}
            log(options.out / "lifter.jsonl", record)
            sums, counted = {}, 0
            people.refresh()
        if done:
            break

        def part(worker: int, step: int = step) -> tuple[Tensor, dict[str, float]]:
            rng, noise = generators(options.seed, step, worker)
            share = options.batch // options.threads
            return part_loss(network, people, rng, noise, step / options.steps, share)

        parts = workers.gradients(parameters, part)
        nn.utils.clip_grad_norm_(parameters, 0.5)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * cosine(step, options.steps)
        optimizer.step()
        average.update(network, step)
        step += 1
        counted += 1
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value


if __name__ == "__main__":
    main()
