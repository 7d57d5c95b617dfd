"""Train the one-step diffusion refiner on what a frozen lifter makes of rendered people.

    visavis-train refiner --people DIR --out DIR [--lifter FILE] [--weaker FILE ...] [--steps N]

Resumes from OUT/refiner.pt when it is there; else `--start` begins with trained weights. A loss
that compares pixels can only blur what the network does not know. What rewards plausible detail (as
much of it as the truth has, a patch discriminator, the distance of its features) therefore counts
in proportion to the noise level: at level 0 the network is trained to be right, at the highest to
look right, and whoever runs it chooses between the two. Only the amount of detail counts a little
at level 0 too: without it the refined picture would be softer than the raw one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.lifter import Layers, Lifter, filled, to_gaussians
from models.refiner import RENDER, OneStepRefiner, Refiner, refiner_input
from models.reprojection import portrait_detail, readable
from models.weights import load_lifter, load_refiner
from training.critic import Critic, Discriminator, on
from training.dataset import People, intrinsics, relative_cameras
from training.evaluate import HeldOut
from training.lifted_views import splat_lifted
from training.losses import (
    charbonnier,
    detail_error,
    fine_detail_error,
    gradient_l1,
    luma,
    ssim,
)
from training.numbers import number
from training.predictions import Networks
from training.run import Learner, Workers, add_options, chosen_device, cosine, generators, train
from training.stability import warp
from training.train_lifter import draw, noised_twice
from training.variants import Variant

ADVERSARIAL = 0.2
"""Share of the schedule after which the discriminator joins."""
HIGHEST_LEVEL = 0.5
"""Noise levels are drawn from 0 to this; a fifth of them is 0."""
DETAIL, MORE_DETAIL = 6.0, 4 / 3
"""Weight of the amount of detail at level 0, and the part of it that the highest level adds."""
TWINS = 0.15
"""Share of the batches with a neighbour of each person's first target, and of those with that
target lifted from other noise: such a batch takes half as long again."""
NEIGHBOUR = (3.0, 6.0)
"""Degrees of yaw from a target to its neighbour."""
AGREE = 1.0
"""Weight of the disagreement of neighbours: small, as it is a tenth of the colours' error. Only
what exceeds that of the raw splats counts: the warp blurs what it moves, so to ask for less than
that would be to ask for blur."""
STEADY = 2.0
"""Weight of the difference that noise makes. It is an eighth of the colours' error, and most of its
gradient cancels between the two: with 0.3 it was a hundredth of all. Much more of it would ask for
what is steadiest, a picture that depends on its portrait in nothing."""
WEAKER = 0.25
"""Share of the batches that a weaker lifter makes, where there is one."""

Lift = tuple[Lifter, Variant]
"""A lifter, and how it is used."""


@dataclass
class Beside:
    """Where both pictures of a pair of neighbours show the same.

    Attributes:
        depth: of the raw splats, metres. [B, 2, S, S]
        cameras: world_to_camera. [B, 2, 4, 4]
        focal: in picture widths. [B]
    """

    depth: Tensor
    cameras: Tensor
    focal: Tensor


@dataclass
class Batch:
    """Renders and truths of one worker, ready for the refiner.

    After the N renders that have a truth come T twins, none or one of each person's first target,
    with the same noise. `beside` tells how they belong together; None: they show the same view.
    """

    render: Tensor  # [N + T, 10, 256, 256]
    portrait: Tensor  # [B, 4, 256, 256], or [2 B, ...] where there are two of each person
    whose: Tensor  # [N + T]: the portrait of each render
    truth: Tensor  # [N, 4, 256, 256]
    noise: Tensor  # [N + T, 4, 256, 256]
    level: Tensor  # [N + T, 1, 1, 1]
    backdrop: Tensor  # [N, 3, 1, 1]
    beside: Beside | None = None


def neighbours(cameras: Tensor, rng: np.random.Generator) -> Tensor:
    """Cameras [B, 4, 4] turned about the head's middle by some degrees of yaw, either way."""
    degrees = rng.uniform(*NEIGHBOUR, len(cameras)) * rng.choice([-1, 1], len(cameras))
    yaw = cameras.new_tensor(np.radians(degrees))
    turn = torch.eye(4).to(cameras).repeat(len(cameras), 1, 1)
    turn[:, 0, 0] = turn[:, 2, 2] = yaw.cos()
    turn[:, 0, 2], turn[:, 2, 0] = yaw.sin(), -yaw.sin()
    return cameras @ turn


@torch.no_grad()
def prepare(
    lift: Lift,
    people: People,
    rng: np.random.Generator,
    generator: torch.Generator,
    batch: int,
    fixed: float | None = None,
) -> Batch:
    """Draw people, lift them (with the errors that unseen people bring), and splat the targets.

    Args:
        lift: what lifts them.
        people: to draw from.
        batch: how many.
        fixed: the noise level; None draws one for each render.
    """
    lifter, variant = lift
    sample = draw(people, rng, generator, batch, again=0.25)
    chance = rng.uniform()
    beside, shaken = chance < TWINS, TWINS <= chance < 2 * TWINS
    image, mask, given = sample.image, sample.mask, sample.given
    cameras, distance, focal = (
        sample.views.world_to_camera,
        sample.views.distance,
        sample.views.focal,
    )
    if shaken:
        image = torch.cat(noised_twice(image, generator))
        mask, given, cameras, distance, focal = (
            torch.cat([x, x]) for x in (mask, given, cameras, distance, focal)
        )
    device = next(lifter.parameters()).device
    image, mask, given, cameras, distance, focal = (
        x.to(device) for x in (image, mask, given, cameras, distance, focal)
    )
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        front, back = lifter(image, mask, given)
    layers = filled(Layers(front.float(), back.float()), mask)
    front, back = layers.front, layers.back
    if not shaken and rng.uniform() < 0.6:  # two of one person would be mistaken differently
        front, back = mistaken(front, back, generator)
    gaussians = variant.kept(to_gaussians(Layers(front, back), image, distance[:, 0]))
    targets, distance, focal = cameras[:, 1:], distance[:, 1:], focal[:, 1:]
    if beside:
        targets = torch.cat([targets, neighbours(targets[:, 0], rng)[:, None]], 1)
        distance, focal = (torch.cat([x, x[:, :1]], 1) for x in (distance, focal))
    size = image.shape[-1]
    raw = splat_lifted(gaussians, cameras[:, 0], targets, focal, size)
    portrait = torch.cat([image * mask, mask], 1)
    moves = torch.linalg.inv(relative_cameras(cameras[:, 0], targets))
    shown, depth = readable(portrait, gaussians.depth), gaussians.depth
    detail = portrait_detail(raw, intrinsics(size, focal), moves, shown, depth)
    render = refiner_input(raw, distance, detail)

    views = sample.views.rgba.shape[1] - 1
    count, whose = batch * views, torch.arange(batch, device=device).repeat_interleave(views)
    level = HIGHEST_LEVEL * torch.rand(count, 1, 1, 1, generator=generator)
    level *= (torch.rand(count, 1, 1, 1, generator=generator) < 0.8).float()
    if fixed is not None:
        level = torch.full_like(level, fixed)
    level = level.to(device)
    noise = torch.randn(count, 4, size, size, generator=generator).to(device)
    result = Batch(
        render[:batch, :views].flatten(0, 1),
        portrait,
        whose,
        sample.views.rgba[:, 1:].flatten(0, 1).to(device),
        noise,
        level,
        torch.rand(count, 3, 1, 1, generator=generator).to(device),
    )
    if beside or shaken:
        twin = render[:, views] if beside else render[batch:, 0]
        result.render = torch.cat([result.render, twin])
        result.whose = torch.cat(
            [whose, torch.arange(len(image) - batch, len(image), device=device)]
        )
        result.noise = torch.cat([noise, noise[::views]])
        result.level = torch.cat([level, level[::views]])
    if beside:
        pair = [0, views]
        depth = raw[:, pair, 4] / raw[:, pair, 5].clamp(min=0.5)
        result.beside = Beside(depth, targets[:, pair], focal[:, 0])
    return result


def mistaken(front: Tensor, back: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Maps with wrong depth, thinner back layers and holes."""
    count, size = len(front), front.shape[-1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(front.device)

    bumps = F.interpolate(0.06 * normal(count, 1, 6, 6), size=(size, size), mode="bicubic")
    depth = front[:, :1] * (1 + 0.1 * normal(count, 1, 1, 1)) + bumps
    holes = (torch.rand(count, 1, 12, 12, generator=generator) < 0.02).float().to(front.device)
    holes = F.interpolate(3 * holes, size=(size, size), mode="bilinear")
    front = torch.cat([depth, front[:, 1:5], front[:, 5:6] - holes, front[:, 6:]], 1)
    behind = back[:, :1] + 0.3 * normal(count, 1, 1, 1)
    return front, torch.cat(
        [behind, back[:, 1:5], back[:, 5:6] + 0.2 * normal(count, 1, 1, 1), back[:, 6:]], 1
    )


def disagreement(pictures: Tensor, raw: Tensor, beside: Beside) -> Tensor:
    """How much more neighbours disagree when refined than raw, where both see. [B]

    Args:
        pictures: refined, premultiplied RGBA. [B, 2, 4, S, S]
        raw: the same views as they were splatted. [B, 2, 4, S, S]
        beside: how the views belong together.
    """
    both = torch.cat([raw, pictures], 2)  # what is solid is for the raw splats to say
    moved, seen = warp(both, beside.depth, beside.cameras, beside.focal)
    apart = (moved - both[:, 0]).abs()
    excess = (apart[:, 4:] - apart[:, :4]).clamp(min=0).mean(1) * seen
    result: Tensor = excess.sum((1, 2)) / seen.sum((1, 2)).clamp(min=1)
    return result


def generator_loss(
    network: OneStepRefiner,
    discriminator: Discriminator | None,
    batch: Batch,
    variant: Variant,
    detail: float = DETAIL,
    agree: float = AGREE,
) -> tuple[Tensor, dict[str, float], Tensor]:
    """The refiner's loss, its parts, and the refined pictures, detached. [N, 4, H, W]

    `detail` is the weight of the amount of detail, `agree` that of neighbours' disagreement.
    """
    with torch.autocast(batch.render.device.type, torch.bfloat16, cache_enabled=False):
        portrait = network.encode_portrait(batch.portrait.to(memory_format=torch.channels_last))
        every = variant.refine(
            network, batch.render, batch.noise, batch.level, portrait[batch.whose]
        ).float()
    count = len(batch.truth)
    refined, twins, level = every[:count], every[count:], batch.level[:count]
    picture, truth = on(refined, batch.backdrop), on(batch.truth, batch.backdrop)
    bright, wanted = luma(picture[:, :3]), luma(truth[:, :3])
    parts = {
        "color": charbonnier(picture[:, :3] - truth[:, :3]),
        "structure": 1 - ssim(bright, wanted, 9).mean((1, 2, 3)),
        "edges": gradient_l1(picture[:, :3], truth[:, :3]),
        "silhouette": charbonnier(refined[:, 3:] - batch.truth[:, 3:]),
        "detail": detail_error(picture[:, :3], truth[:, :3]),
        "fine": fine_detail_error(picture[:, :3], truth[:, :3], batch.render[:count, RENDER - 1 :]),
    }
    freedom = level.flatten() / HIGHEST_LEVEL
    total = parts["color"] + 0.2 * parts["structure"] + 0.3 * parts["silhouette"]
    total = total + 0.4 * (1 - 0.6 * freedom) * parts["edges"]
    total = total + detail * (1 + freedom * MORE_DETAIL) * (parts["detail"] + parts["fine"])
    if discriminator is not None:
        with torch.autocast(picture.device.type, torch.bfloat16, cache_enabled=False):
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
    shown |= {"agree": 0.0, "steady": 0.0}
    mean = total.mean()
    if len(twins):
        pairs = torch.stack([refined[:: count // len(twins)], twins], 1)
        if batch.beside is not None:
            clean = torch.cat([batch.render[:, :3], batch.render[:, 5:6]], 1)
            raw = torch.stack([clean[: count : count // len(twins)], clean[count:]], 1)
            name, weight, apart = "agree", agree, disagreement(pairs, raw, batch.beside).mean()
        else:
            name, weight, apart = "steady", STEADY, pairs.diff(dim=1).abs().mean()
        mean = mean + weight * apart
        shown[name] = float(apart.detach()) / TWINS  # so that logs show the mean of such batches
    return mean, shown, picture.detach()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train refiner`."""
    add_options(parser, steps=3000, batch=4, rate=5e-4, seed=2)
    parser.add_argument(
        "--lifter", type=Path, help="weights of the lifter; default: those that ship"
    )
    parser.add_argument(
        "--weaker",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="weights of lifters, of which one makes the renders of a quarter of the batches",
    )
    parser.add_argument(
        "--detail",
        type=number(0),
        default=DETAIL,
        help="weight of the amount of detail; more is sharper and less exact",
    )
    parser.add_argument(
        "--agree", type=number(0), default=AGREE, help="weight of the disagreement of neighbours"
    )
    parser.add_argument(
        "--no-portrait", action="store_true", help="leave out the portrait's tokens"
    )
    parser.add_argument(
        "--no-reprojection",
        action="store_true",
        help="leave out what the portrait shows of each pixel",
    )
    parser.add_argument(
        "--no-map", action="store_true", help="noise everywhere, not where information is missing"
    )
    parser.add_argument(
        "--fixed-level",
        type=number(0, HIGHEST_LEVEL),
        metavar="LEVEL",
        help="of noise, instead of one drawn",
    )


def run(chosen: argparse.Namespace) -> None:
    """Do what `visavis-train refiner` asks for."""
    torch.manual_seed(chosen.seed)
    device = chosen_device(chosen)
    variant = replace(
        Variant.of(chosen.lifter),
        portrait=not chosen.no_portrait,
        reprojection=not chosen.no_reprojection,
        map=not chosen.no_map,
    )
    unmoved = load_lifter(chosen.lifter)  # measured on the CPU
    main = load_lifter(chosen.lifter).to(device), variant
    weaker = [(load_lifter(path).to(device), Variant.of(path)) for path in chosen.weaker]
    network, smooth = (Refiner().to(memory_format=torch.channels_last) for _ in range(2))
    if chosen.start:
        network.load_state_dict(load_refiner(chosen.start).state_dict())
    critic = Critic(device)
    learner = Learner(network.to(device), chosen.rate, 0.998)
    people = People(chosen.people)
    measured = HeldOut(chosen.held_out)
    workers = Workers(chosen.threads, device)
    share = max(1, chosen.batch // workers.count)

    def advance(step: int) -> dict[str, float]:
        adversary = critic.network if step >= ADVERSARIAL * chosen.steps else None
        pictures: dict[int, tuple[Tensor, Tensor]] = {}

        def part(worker: int) -> tuple[Tensor, dict[str, float]]:
            rng, generator = generators(chosen.seed, step, worker)
            lift = main
            if weaker and rng.uniform() < WEAKER:
                lift = weaker[rng.integers(len(weaker))]
            batch = prepare(lift, people, rng, generator, share, chosen.fixed_level)
            total, parts, picture = generator_loss(
                network, adversary, batch, variant, chosen.detail, chosen.agree
            )
            pictures[worker] = picture, on(batch.truth, batch.backdrop)
            return total, parts

        losses = workers.gradients(learner.parameters, part)
        learner.learn(step, cosine(step, chosen.steps))
        if adversary is not None:
            losses |= critic.learn(workers, pictures)
        return losses

    def measure() -> dict[str, float]:
        learner.average.copy_to(smooth)
        level = 0.2 if chosen.fixed_level is None else chosen.fixed_level
        return measured.measure(Networks(unmoved, smooth, level, variant=variant), 8)

    parts = learner.parts | critic.parts
    train("refiner", chosen, people, parts, advance, measure if measured else None)
