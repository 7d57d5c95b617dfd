"""Train the large refiner, SD-Turbo, on the same renders and with the same losses as the small one.

    visavis-train sd-turbo --base DIR --people DIR --out DIR [--lifter FILE] [--steps N]

DIR is a pipeline of diffusers, such as a copy of stabilityai/sd-turbo; that name itself loads it
from the hub. Only low-rank additions (LoRA) and the decoder's skips are trained. Resumes from
OUT/sd_turbo.pt; what it has come to is written into OUT/refiner, for `visavis-train evaluate
--refiner OUT/refiner`, or for VISAVIS_WEIGHTS=OUT if weights of the lifter lie there too. Meant for
a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import SetupError
from models.sd_turbo import SdTurbo
from models.sd_turbo_files import load_sd_turbo, save_sd_turbo
from models.weights import load_lifter
from training.critic import Critic, on
from training.dataset import People
from training.evaluate import HeldOut
from training.numbers import number, whole
from training.predictions import Networks
from training.run import Learner, Workers, add_options, chosen_device, cosine, generators, train
from training.train_refiner import ADVERSARIAL, DETAIL, generator_loss, prepare
from training.variants import Variant

NAME, FOLDER = "sd_turbo", "refiner"
RANK = 8
LEVEL = 0.2
"""Of noise, at which held-out people are measured."""


class Trained(nn.Module):
    """What is trained of a network, alone: neither optimizer nor checkpoint holds the rest.

    Args:
        network: with additions that stand apart.
    """

    def __init__(self, network: SdTurbo) -> None:
        super().__init__()
        self.values = nn.ParameterList(network.trainable().values())


@contextmanager
def averaged(learner: Learner) -> Iterator[None]:
    """The averaged weights, where there is no room for a second network."""
    newest = [value.detach().clone() for value in learner.parameters]
    learner.average.copy_to(learner.network)
    try:
        yield
    finally:
        with torch.no_grad():
            for value, kept in zip(learner.parameters, newest, strict=True):
                value.copy_(kept)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train sd-turbo`."""
    add_options(parser, steps=10_000, batch=1, rate=2e-5, seed=4)
    parser.add_argument(
        "--base", default="stabilityai/sd-turbo", help="pipeline: a folder, or a name on the hub"
    )
    parser.add_argument("--size", type=whole(64), help="at which it works, pixels; default: 512")
    parser.add_argument("--rank", type=whole(1), default=RANK, help="of the low-rank additions")
    parser.add_argument(
        "--lifter", type=Path, help="weights of the lifter; default: those that ship"
    )
    parser.add_argument(
        "--detail",
        type=number(0),
        default=DETAIL,
        help="weight of the amount of detail; more is sharper and less exact",
    )
    parser.add_argument(
        "--sparing", action="store_true", help="compute more than once to need less memory"
    )


def run(chosen: argparse.Namespace) -> None:
    """Do what `visavis-train sd-turbo` asks for.

    Raises:
        SetupError: the extra or the pipeline is missing, or a checkpoint is of other sizes.
    """
    torch.manual_seed(chosen.seed)
    device = chosen_device(chosen)
    place = chosen.start or chosen.base
    network = load_sd_turbo(place, chosen.size, chosen.rank, merged=False).to(device)
    chosen.size, chosen.rank = network.config.size, network.config.rank
    _check(chosen)
    if chosen.sparing:
        network.unet.enable_gradient_checkpointing()
        network.unet.train()  # what it needs to do so; there is no dropout
    variant = Variant(Variant.of(chosen.lifter).layers)
    unmoved = load_lifter(chosen.lifter)  # measured on the CPU
    lift = load_lifter(chosen.lifter).to(device), variant
    learner, critic = Learner(Trained(network), chosen.rate, 0.998), Critic(device)
    people, measured = People(chosen.people), HeldOut(chosen.held_out)
    workers = Workers(chosen.threads, device)
    share = max(1, chosen.batch // workers.count)

    def advance(step: int) -> dict[str, float]:
        adversary = critic.network if step >= ADVERSARIAL * chosen.steps else None
        pictures: dict[int, tuple[Tensor, Tensor]] = {}

        def part(worker: int) -> tuple[Tensor, dict[str, float]]:
            rng, generator = generators(chosen.seed, step, worker)
            batch = prepare(lift, people, rng, generator, share)
            total, parts, picture = generator_loss(
                network, adversary, batch, variant, chosen.detail
            )
            pictures[worker] = picture, on(batch.truth, batch.backdrop)
            return total, parts

        losses = workers.gradients(learner.parameters, part)
        learner.learn(step, cosine(step, chosen.steps, 500))
        if adversary is not None:
            losses |= critic.learn(workers, pictures)
        return losses

    def measure() -> dict[str, float]:
        with averaged(learner):
            return measured.measure(Networks(unmoved, network, LEVEL, variant=variant), 8)

    parts = learner.parts | critic.parts
    train(NAME, chosen, people, parts, advance, measure if measured else None)
    with averaged(learner):
        save_sd_turbo(network, chosen.out / FOLDER)


def _check(chosen: argparse.Namespace) -> None:
    """Refuse a checkpoint that the chosen network cannot go on from."""
    checkpoint = chosen.out / f"{NAME}.pt"
    if not checkpoint.exists():
        return
    settings = torch.load(checkpoint, weights_only=True, map_location="cpu")["settings"]
    for name in ("rank", "size"):
        if settings.get(name) != getattr(chosen, name):
            raise SetupError(
                f"{checkpoint} was trained with --{name} {settings.get(name)}. Say so again, or "
                "choose another --out."
            )
