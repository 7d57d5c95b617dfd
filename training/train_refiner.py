"""Train the one-step diffusion refiner on what a frozen lifter makes of rendered people.

    python -m training.train_refiner --people DIR --out DIR [--lifter FILE] [--steps N]

Resumes from OUT/refiner.pt when it is there. A loss that compares pixels can only blur what the
network does not know; so, after a start with such losses alone, a patch discriminator and the
distance of its features reward plausible detail.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cuda_kernels.splat import splat
from models.lifter import Layers, Lifter, to_gaussians
from models.refiner import Refiner, refine, relative_depth
from models.weights import load_lifter
from training.dataset import People, intrinsics, relative_cameras
from training.evaluate import evaluate, predict_refined
from training.losses import charbonnier, gradient_l1, ssim
from training.run import Average, Workers, cosine, generators, log, save_checkpoint
from training.train_lifter import draw

ADVERSARIAL = 0.2
"""Share of the schedule after which the discriminator joins."""
HIGHEST_LEVEL = 0.5
"""Noise levels are drawn from 0 to this; a fifth of them is 0."""


class Discriminator(nn.Module):
    """Tells patches of true pictures from refined ones; spectrally normalised."""

    def __init__(self, base: int = 32) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        widths = (4, base, 2 * base, 4 * base)
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(a, b, 4, stride=2, padding=1))
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores per patch and the features of each layer, for pictures with alpha [B, 4, H, W]."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.head(x).float(), features


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
    cameras = sample.views.world_to_camera
    cameras = relative_cameras(cameras[:, 0], cameras[:, 1:])
    size = sample.image.shape[-1]
    render = splat(
        gaussians.means,
        gaussians.axes,
        gaussians.opacities,
        gaussians.colors,
        cameras,
        intrinsics(size, cameras.shape[:2]),
        size,
        size,
    )
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


def on(rgba: Tensor, backdrop: Tensor) -> Tensor:
    """Compose on a plain colour and keep alpha. [N, 4, H, W]"""
    alpha = rgba[:, 3:]
    return torch.cat([rgba[:, :3] + (1 - alpha) * backdrop, alpha], 1)


def generator_loss(
    network: Refiner, discriminator: Discriminator | None, batch: Batch
) -> tuple[Tensor, dict[str, float], Tensor]:
    """The refiner's loss, its parts, and the refined pictures, detached. [N, 4, H, W]"""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        portrait = network.encode_portrait(batch.portrait.to(memory_format=torch.channels_last))
        portrait = portrait.repeat_interleave(len(batch.render) // len(batch.portrait), 0)
        refined = refine(network, batch.render, batch.noise, batch.level, portrait).float()
    picture, truth = on(refined, batch.backdrop), on(batch.truth, batch.backdrop)
    parts = {
        "color": charbonnier(picture[:, :3] - truth[:, :3]),
        "structure": 1 - ssim(picture[:, :3], truth[:, :3], 9).mean(),
        "edges": gradient_l1(picture[:, :3], truth[:, :3]),
        "silhouette": charbonnier(refined[:, 3:] - batch.truth[:, 3:]),
    }
    total = (
        parts["color"] + 0.2 * parts["structure"] + 0.4 * parts["edges"] + 0.3 * parts["silhouette"]
    )
    if discriminator is not None:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            score, features = discriminator(picture.to(memory_format=torch.channels_last))
            with torch.no_grad():
                _, wanted = discriminator(truth.to(memory_format=torch.channels_last))
        parts["fooled"] = -score.mean()
        distances = [
            (a.float() - b.float()).abs().mean() / (b.float().abs().mean() + 1e-4)
            for a, b in zip(features, wanted, strict=True)
        ]
        parts["features"] = torch.stack(distances).mean()
        total = total + 0.006 * parts["fooled"] + 0.03 * parts["features"]
    return total, {name: float(value.detach()) for name, value in parts.items()}, picture.detach()


def discriminator_loss(
    discriminator: Discriminator, picture: Tensor, truth: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Hinge loss of refined against true pictures."""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        fake, _ = discriminator(picture.to(memory_format=torch.channels_last))
        real, _ = discriminator(truth.to(memory_format=torch.channels_last))
    total = F.relu(1 + fake).mean() + F.relu(1 - real).mean()
    return total, {"told apart": float(total.detach())}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True, help="folder of rendered people")
    parser.add_argument("--held-out", type=Path, help="folder in the test layout")
    parser.add_argument(
        "--lifter", type=Path, help="weights of the lifter; default: those that ship"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; 0: never")
    parser.add_argument("--batch", type=int, default=4, help="people; each is seen from two sides")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=2, help="each takes a part of the batch")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(options.seed)
    lifter = load_lifter(options.lifter)
    network = Refiner().to(memory_format=torch.channels_last)
    critic = Discriminator().to(memory_format=torch.channels_last)
    average = Average(network, 0.998)
    optimizer = torch.optim.AdamW(
        network.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    critic_optimizer = torch.optim.Adam(critic.parameters(), 4e-4, betas=(0.5, 0.9))
    step, seconds = 0, 0.0
    checkpoint = options.out / "refiner.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        critic.load_state_dict(state["critic"])
        critic_optimizer.load_state_dict(state["critic_optimizer"])
        average.weights = state["average"]
        step, seconds = state["step"], state["seconds"]
    people = People(options.people)
    held_out = People(options.held_out) if options.held_out else None
    workers, parameters = Workers(options.threads), list(network.parameters())
    smooth = Refiner().to(memory_format=torch.channels_last)

    start, sums, counted = time.monotonic(), dict[str, float](), 0
    while True:
        elapsed = time.monotonic() - start
        done = step >= options.steps or (options.minutes and elapsed > 60 * options.minutes)
        if step and (step % options.every == 0 or done):
            state = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "critic": critic.state_dict(),
                "critic_optimizer": critic_optimizer.state_dict(),
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
                measured = evaluate(predict_refined(lifter, smooth, 0.3), held_out, 8)
                record |= {f"held_out_{name}": value for name, value in measured.items()}
            log(options.out / "refiner.jsonl", record)
            sums, counted = {}, 0
            people.refresh()
        if done:
            break
        adversary = critic if step >= ADVERSARIAL * options.steps else None
        pictures: dict[int, tuple[Tensor, Tensor]] = {}

        def part(
            worker: int,
            step: int = step,
            adversary: Discriminator | None = adversary,
            pictures: dict[int, tuple[Tensor, Tensor]] = pictures,
        ) -> tuple[Tensor, dict[str, float]]:
            rng, generator = generators(options.seed, step, worker)
            batch = prepare(
                lifter, people, rng, generator, max(1, options.batch // options.threads)
            )
            total, parts, picture = generator_loss(network, adversary, batch)
            pictures[worker] = picture, on(batch.truth, batch.backdrop)
            return total, parts

        critic.eval()  # the workers share it: its spectral norms are brought up to date below
        parts = workers.gradients(parameters, part)
        nn.utils.clip_grad_norm_(parameters, 0.5)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * cosine(step, options.steps)
        optimizer.step()
        average.update(network, step)
        if adversary is not None:
            critic.train()
            with torch.no_grad():
                critic(torch.zeros(1, 4, 16, 16))
            critic.eval()

            def judged(
                worker: int, pictures: dict[int, tuple[Tensor, Tensor]] = pictures
            ) -> tuple[Tensor, dict[str, float]]:
                return discriminator_loss(critic, *pictures[worker])

            parts |= workers.gradients(list(critic.parameters()), judged)
            critic_optimizer.step()
        step += 1
        counted += 1
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value


if __name__ == "__main__":
    main()
