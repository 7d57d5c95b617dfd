"""Train the one-step diffusion refiner on what a frozen lifter makes of rendered people.

    visavis-train refiner --people DIR --out DIR [--lifter FILE] [--steps N]

Resumes from OUT/refiner.pt when it is there; else `--start` begins with trained weights. A loss
that compares pixels can only blur what the network does not know. What rewards plausible detail (as
much of it as the truth has, a patch discriminator, the distance of its features) therefore counts
in proportion to the noise level: at level 0 the network is trained to be right, at the highest to
look right, and whoever runs it chooses between the two. Only the amount of detail counts a little
at level 0 too: without it the refined picture would be softer than the raw one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.lifter import Layers, Lifter, to_gaussians
from models.refiner import Refiner, refine, relative_depth
from models.weights import load_lifter, load_refiner
from training.critic import Critic, Discriminator, on
from training.dataset import People
from training.evaluate import held_out
from training.lifted_views import splat_lifted
from training.losses import charbonnier, detail_error, gradient_l1, luma, ssim
from training.predictions import Networks
from training.run import Learner, Workers, add_options, cosine, generators, train
from training.train_lifter import draw

ADVERSARIAL = 0.2
"""Share of the schedule after which the discriminator joins."""
HIGHEST_LEVEL = 0.5
"""Noise levels are drawn from 0 to this; a fifth of them is 0."""
DETAIL, MORE_DETAIL = 6.0, 8.0
"""Weight of the amount of detail at level 0, and what the highest level adds to it."""


@dataclass
class Batch:
    """Renders and truths of one worker, ready for the refiner."""

    render: Tensor  # [N, 6, 256, 256]
    portrait: Tensor  # [B, 4, 256, 256]; each serves N / B renders
    truth: Tensor  # [N, 4, 256, 256]
    noise: Tensor  # [N, 4, 256, 256]
    level: Tensor  # [N, 1, 1, 1]
    backdrop: Tensor  # [N, 3, 1, 1]


@torch.no_grad()
def prepare(
    lifter: Lifter, people: People, rng: np.random.Generator, generator: torch.Generator, batch: int
) -> Batch:
    """Draw people, lift them (with the errors that unseen people bring), and splat the targets."""
    sample = draw(people, rng, generator, batch, again=0.25)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        front, back = lifter(sample.image, sample.mask, sample.given)
    front, back = front.float(), back.float()
    if rng.uniform() < 0.6:
        front, back = mistaken(front, back, generator)
    distance = sample.views.distance
    gaussians = to_gaussians(Layers(front, back), sample.image, distance[:, 0])
    cameras, size = sample.views.world_to_camera, sample.image.shape[-1]
    focal = sample.views.focal[:, 1:]
    render = splat_lifted(gaussians, cameras[:, 0], cameras[:, 1:], focal, size)
    render = relative_depth(render, distance[:, 1:]).flatten(0, 1)
    count = len(render)
    level = HIGHEST_LEVEL * torch.rand(count, 1, 1, 1, generator=generator)
    level *= (torch.rand(count, 1, 1, 1, generator=generator) < 0.8).float()
    mask = sample.mask
    return Batch(
        render,
        torch.cat([sample.image * mask, mask], 1),
        sample.views.rgba[:, 1:].flatten(0, 1),
        torch.randn(count, 4, size, size, generator=generator),
        level,
        torch.rand(count, 3, 1, 1, generator=generator),
    )


def mistaken(front: Tensor, back: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Maps with wrong depth, thinner back layers and holes."""
    count, size = len(front), front.shape[-1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    bumps = F.interpolate(0.06 * normal(count, 1, 6, 6), size=(size, size), mode="bicubic")
    depth = front[:, :1] * (1 + 0.1 * normal(count, 1, 1, 1)) + bumps
    holes = (torch.rand(count, 1, 12, 12, generator=generator) < 0.02).float()
    holes = F.interpolate(3 * holes, size=(size, size), mode="bilinear")
    front = torch.cat([depth, front[:, 1:5], front[:, 5:6] - holes, front[:, 6:]], 1)
    behind = back[:, :1] + 0.3 * normal(count, 1, 1, 1)
    return front, torch.cat(
        [behind, back[:, 1:5], back[:, 5:6] + 0.2 * normal(count, 1, 1, 1), back[:, 6:]], 1
    )


def generator_loss(
    network: Refiner, discriminator: Discriminator | None, batch: Batch
) -> tuple[Tensor, dict[str, float], Tensor]:
    """The refiner's loss, its parts, and the refined pictures, detached. [N, 4, H, W]"""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        portrait = network.encode_portrait(batch.portrait.to(memory_format=torch.channels_last))
        portrait = portrait.repeat_interleave(len(batch.render) // len(batch.portrait), 0)
        refined = refine(network, batch.render, batch.noise, batch.level, portrait).float()
    picture, truth = on(refined, batch.backdrop), on(batch.truth, batch.backdrop)
    bright, wanted = luma(picture[:, :3]), luma(truth[:, :3])
    parts = {
        "color": charbonnier(picture[:, :3] - truth[:, :3]),
        "structure": 1 - ssim(bright, wanted, 9).mean((1, 2, 3)),
        "edges": gradient_l1(picture[:, :3], truth[:, :3]),
        "silhouette": charbonnier(refined[:, 3:] - batch.truth[:, 3:]),
        "detail": detail_error(picture[:, :3], truth[:, :3]),
    }
    freedom = batch.level.flatten() / HIGHEST_LEVEL
    total = parts["color"] + 0.2 * parts["structure"] + 0.3 * parts["silhouette"]
    total = total + 0.4 * (1 - 0.6 * freedom) * parts["edges"]
    total = total + (DETAIL + freedom * MORE_DETAIL) * parts["detail"]
    if discriminator is not None:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            score, features = discriminator(picture.to(memory_format=torch.channels_last))
            with torch.no_grad():
                _, true_features = discriminator(truth.to(memory_format=torch.channels_last))
        parts["fooled"] = -score.mean((1, 2, 3))
        distances = [
            (a.float() - b.float()).abs().mean((1, 2, 3)) / (b.float().abs().mean() + 1e-4)
            for a, b in zip(features, true_features, strict=True)
        ]
        parts["features"] = torch.stack(distances).mean(0)
        total = total + freedom * (0.02 * parts["fooled"] + 0.06 * parts["features"])
    shown = {name: float(value.detach().mean()) for name, value in parts.items()}
    return total.mean(), shown, picture.detach()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train refiner`."""
    add_options(parser, steps=3000, batch=4, rate=5e-4, seed=2)
    parser.add_argument(
        "--lifter", type=Path, help="weights of the lifter; default: those that ship"
    )


def run(chosen: argparse.Namespace) -> None:
    """Do what `visavis-train refiner` asks for."""
    torch.manual_seed(chosen.seed)
    lifter = load_lifter(chosen.lifter)
    network, smooth = (Refiner().to(memory_format=torch.channels_last) for _ in range(2))
    if chosen.start:
        network.load_state_dict(load_refiner(chosen.start).state_dict())
    critic = Critic()
    learner = Learner(network, chosen.rate, 0.998)
    people = People(chosen.people)
    measured = People(chosen.held_out) if chosen.held_out else None
    workers = Workers(chosen.threads)
    share = max(1, chosen.batch // chosen.threads)

    def advance(step: int) -> dict[str, float]:
        adversary = critic.network if step >= ADVERSARIAL * chosen.steps else None
        pictures: dict[int, tuple[Tensor, Tensor]] = {}

        def part(worker: int) -> tuple[Tensor, dict[str, float]]:
            rng, generator = generators(chosen.seed, step, worker)
            batch = prepare(lifter, people, rng, generator, share)
            total, parts, picture = generator_loss(network, adversary, batch)
            pictures[worker] = picture, on(batch.truth, batch.backdrop)
            return total, parts

        losses = workers.gradients(learner.parameters, part)
        learner.learn(step, cosine(step, chosen.steps))
        if adversary is not None:
            losses |= critic.learn(workers, pictures)
        return losses

    def measure() -> dict[str, float]:
        assert measured is not None
        learner.average.copy_to(smooth)
        return held_out(Networks(lifter, smooth, 0.2), measured, 8)

    parts = learner.parts | critic.parts
    train("refiner", chosen, people, parts, advance, measure if measured else None)
