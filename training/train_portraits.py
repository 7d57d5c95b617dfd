"""Stage 2: go on training the lifter with real portraits, which have no second view.

    visavis-train portraits --portraits DIR --people DIR --out DIR [--start FILE] [--steps N]

Every step has two rendered people for each portrait, so that what was learnt in stage 1 is kept. Of
portraits three things are asked: the input view must give back the portrait; a novel view, lifted
again as if it were a photograph, must give back the portrait too, the only true picture there is to
compare a novel view with; and patches of novel views must look like those of portraits to a
discriminator.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.camera import NOMINAL_DISTANCE, viewpoint_camera
from models.lifter import Layers, LiftedGaussians, Lifter, to_gaussians
from models.viewpoint import Viewpoint
from models.weights import load_lifter
from training.augment import camera_picture, random_background
from training.critic import Critic, Discriminator, on
from training.dataset import FOCAL, CorpusError, People
from training.evaluate import HeldOut
from training.lifted_views import splat_lifted
from training.losses import gradient_l1, luma, ssim
from training.portraits import Portraits
from training.predictions import Networks
from training.run import Learner, Workers, add_options, chosen_device, cosine, generators, train
from training.train_lifter import Recipe, part_loss
from training.variants import Variant

ADVERSARIAL = 0.01
"""Weight of the discriminator's opinion."""
SETTLED = 200
"""Steps at the start in which the discriminator learns alone, but at most a fifth of all."""
FRONT = viewpoint_camera(Viewpoint()).world_to_camera
RENDERED = Recipe(depth=0.01, surface=0.02, detail=8.0, sharpen=1.0, repainted=0.0)
"""For the rendered half of a batch: weights beside which the real half was found to count."""


def lift(network: nn.Module, image: Tensor, mask: Tensor) -> LiftedGaussians:
    """Gaussians of portraits [B, 3, 256, 256] with their masks [B, 1, 256, 256]."""
    with torch.autocast(image.device.type, torch.bfloat16, cache_enabled=False):
        front, back = network(image, mask, image.new_ones(len(image)))
    distance = image.new_full((len(image),), NOMINAL_DISTANCE)
    return to_gaussians(Layers(front.float(), back.float()), image, distance)


def view(gaussians: LiftedGaussians, source: Tensor, target: Tensor) -> Tensor:
    """Premultiplied RGBA [B, 4, 256, 256] as cameras `target` [B, 4, 4] see what those of `source`
    [B, 4, 4] lifted."""
    focal = source.new_full((len(source), 1), FOCAL)
    splatted = splat_lifted(gaussians, source, target[:, None], focal, 256)[:, 0]
    return torch.cat([splatted[:, :3], splatted[:, 5:]], 1)


def novel_cameras(rng: np.random.Generator, count: int) -> Tensor:
    """world_to_camera from 10 to 35 degrees beside the front. [count, 4, 4]"""
    yaws = rng.uniform(10, 35, count) * rng.choice([-1, 1], count)
    pitches = rng.uniform(-10, 10, count)
    return torch.stack(
        [
            viewpoint_camera(Viewpoint(yaw=float(yaw), pitch=float(pitch))).world_to_camera
            for yaw, pitch in zip(yaws, pitches, strict=True)
        ]
    )


def picture_error(picture: Tensor, truth: Tensor) -> Tensor:
    """L1, structure and edges of premultiplied pictures on one backdrop. [B, 4, H, W]"""
    structure = 1 - ssim(luma(picture[:, :3]), luma(truth[:, :3])).mean()
    edges = gradient_l1(picture[:, :3], truth[:, :3]).mean()
    return F.l1_loss(picture, truth) + 0.2 * structure + 0.3 * edges


def portrait_loss(
    network: nn.Module,
    critic: Discriminator,
    image: Tensor,
    mask: Tensor,
    rng: np.random.Generator,
    noise: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
    """What is asked of portraits.

    Args:
        network: the lifter.
        critic: judges novel views.
        image: [B, 3, 256, 256]
        mask: [B, 1, 256, 256]

    Returns:
        The loss, its parts, and for the discriminator novel views and portraits. [B, 4, 256, 256]
    """
    count = len(image)
    device = next(network.parameters()).device
    source, target = FRONT.expand(count, 4, 4).to(device), novel_cameras(rng, count).to(device)
    seen = camera_picture(image, noise).to(device)
    image, mask = image.to(device), mask.to(device)
    gaussians = lift(network, seen, mask)
    backdrop = torch.rand(count, 3, 1, 1, generator=noise).to(device)
    truth = on(torch.cat([image * mask, mask], 1), backdrop)
    kept = picture_error(on(view(gaussians, source, source), backdrop), truth)

    novel = view(gaussians, source, target)
    # As if it were a photograph: how the network made it is not for the second lift to tell.
    photograph, silhouette = novel[:, :3].detach(), novel[:, 3:].detach().clamp(0, 1)
    photograph = photograph + (1 - silhouette) * random_background(count, 256, noise).to(device)
    again = lift(network, photograph.clamp(0, 1), silhouette)
    returned = picture_error(on(view(again, target, source), backdrop), truth)

    judged = on(novel, backdrop)
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        score, _ = critic(judged.to(memory_format=torch.channels_last))
    fooled = -score.mean()
    parts = {"kept": kept, "returned": returned, "fooled": fooled}
    return kept + 0.5 * returned + ADVERSARIAL * fooled, parts, judged.detach(), truth


@torch.no_grad()
def measure_portraits(network: Lifter, portraits: Portraits) -> dict[str, float]:
    """PSNR in dB over the person of the input view, and of it lifted again from 20 degrees: of the
    very portraits that are trained on."""
    kept, returned = [], []
    source = FRONT[None]
    for index in range(len(portraits)):
        image = portraits.image[index : index + 1].float() / 255
        mask = portraits.mask[index : index + 1].float() / 255
        truth = torch.cat([image * mask, mask], 1)
        gaussians = lift(network, image, mask)
        kept.append(_psnr(view(gaussians, source, source), truth))
        for yaw in (-20.0, 20.0):
            target = viewpoint_camera(Viewpoint(yaw=yaw)).world_to_camera[None]
            novel = view(gaussians, source, target)
            silhouette = novel[:, 3:].clamp(0, 1)
            again = lift(network, (novel[:, :3] + (1 - silhouette) * 0.5).clamp(0, 1), silhouette)
            returned.append(_psnr(view(again, target, source), truth))
    return {"portraits_kept": float(np.mean(kept)), "portraits_returned": float(np.mean(returned))}


def _psnr(picture: Tensor, truth: Tensor) -> float:
    person = (truth[:, 3:] > 0.5).float()
    error = ((on(picture, torch.tensor(0.5)) - on(truth, torch.tensor(0.5)))[:, :3] ** 2) * person
    return float(-10 * torch.log10(error.sum() / person.sum() / 3))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train portraits`."""
    add_options(parser, steps=1000, batch=8, rate=1e-4, seed=3)
    parser.add_argument("--portraits", type=Path, required=True, help="folder of pictures")


def run(chosen: argparse.Namespace) -> None:
    """Do what `visavis-train portraits` asks for."""
    torch.manual_seed(chosen.seed)
    device = chosen_device(chosen)
    people = People(chosen.people)
    portraits = Portraits(chosen.portraits)
    for name, reason in portraits.refused:
        print(f"{name} is left out: {reason}", flush=True)
    if Variant.of(chosen.start).layers != 2:
        raise CorpusError(f"{chosen.start} was trained with one layer. Give weights of both.")
    network = load_lifter(chosen.start).to(memory_format=torch.channels_last).requires_grad_(True)
    network.train()
    smooth = Lifter().to(memory_format=torch.channels_last)
    critic = Critic(device)
    learner = Learner(network.to(device), chosen.rate)
    unseen = HeldOut(chosen.held_out)
    workers = Workers(chosen.threads, device)
    share = max(2, chosen.batch // workers.count)
    settled = min(SETTLED, chosen.steps // 5)

    def advance(step: int) -> dict[str, float]:
        shown: dict[int, tuple[Tensor, Tensor]] = {}

        def part(worker: int) -> tuple[Tensor, dict[str, float]]:
            rng, noise = generators(chosen.seed, step, worker)
            rendered, parts = part_loss(network, people, rng, noise, 1.0, share // 2, RENDERED)
            image, mask = portraits.draw(rng, noise, max(1, share // 4))
            real, real_parts, *pair = portrait_loss(
                network, critic.network, image, mask, rng, noise
            )
            shown[worker] = pair[0], pair[1]
            parts |= {name: float(value.detach()) for name, value in real_parts.items()}
            return rendered + real, parts

        losses = workers.gradients(learner.parameters, part)
        if step >= settled:
            learner.learn(step, cosine(step - settled, chosen.steps - settled))
        return losses | critic.learn(workers, shown)

    def measure() -> dict[str, float]:
        learner.average.copy_to(smooth)
        measured = measure_portraits(smooth, portraits)
        return measured | unseen.measure(Networks(smooth), 10)

    parts = learner.parts | critic.parts
    train("portraits", chosen, people, parts, advance, measure)
