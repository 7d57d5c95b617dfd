"""Measure what the networks need to compute in eight bits, and write it beside their weights.

    visavis-train calibrate --people DIR [--lifter FILE] [--refiner FILE]

People that were trained on will do: what counts is how large the numbers in a network become. A
calibration belongs to its weights; without one, engines compute in 16 or 32 bits. See
`models.quantised`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from models.quantised import measured, observing
from models.refiner import NOISE_LEVEL
from models.weights import (
    LIFTER,
    REFINER,
    calibration_file,
    load_lifter,
    load_refiner,
    save_calibration,
    weights_folder,
)
from training.dataset import People
from training.numbers import whole
from training.predictions import Networks
from training.train_lifter import draw

BATCH = 4
VIEWS = 8
"""Of each person, refined."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train calibrate`."""
    parser.add_argument("--people", type=Path, required=True, help="folder of rendered people")
    folder = weights_folder()
    for name, file in (("lifter", LIFTER), ("refiner", REFINER)):
        parser.add_argument(
            f"--{name}",
            type=Path,
            default=folder / file,
            help="weights; default: those that engines take",
        )
    parser.add_argument(
        "--count", type=whole(1), default=48, help="of portraits, and of persons refined"
    )


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train calibrate` asks for."""
    people = People(options.people)
    lifter, refiner = load_lifter(options.lifter), load_refiner(options.refiner)
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    seen = observing(lifter)
    for _ in range(-(-options.count // BATCH)):
        sample = draw(people, rng, noise, BATCH)
        seen(sample.image, sample.mask, sample.given)
    save_calibration(measured(seen), options.lifter)

    refined = observing(refiner)
    networks = Networks(lifter, refined, NOISE_LEVEL)
    views = np.arange(min(VIEWS, people.views_per_person))[None]
    for person in rng.choice(len(people), min(options.count, len(people)), replace=False):
        networks(people.views(np.array([person]), views))
    save_calibration(measured(refined), options.refiner)
    for path in (options.lifter, options.refiner):
        print(calibration_file(path))
