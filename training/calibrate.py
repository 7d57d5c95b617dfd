"""Measure what the networks need to compute in eight bits, and write it beside their weights.

    visavis-train calibrate --people DIR [--lifter FILE] [--refiner FILE]

People that were trained on will do: what counts is how large the numbers in a network become. A
calibration belongs to its weights; without one, engines compute in 16 or 32 bits. See
`models.quantised`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from models.errors import VisavisError
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
            help="weights. One alone: only that one is calibrated, beside the other one that "
            f"engines take (default: both of those: {folder / file})",
        )
    parser.add_argument(
        "--count", type=whole(1), default=48, help="of portraits, and of persons refined"
    )


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train calibrate` asks for."""
    both = options.lifter is None and options.refiner is None
    chosen = {
        "lifter": options.lifter or weights_folder() / LIFTER,
        "refiner": options.refiner or weights_folder() / REFINER,
    }
    wanted = [name for name in chosen if both or getattr(options, name) is not None]
    for name in wanted:
        if not os.access(chosen[name].parent, os.W_OK):
            raise VisavisError(
                f"{calibration_file(chosen[name])} cannot be written. Copy the weights to a folder "
                "of your own, name them, and set VISAVIS_WEIGHTS to it."
            )
    people = People(options.people)
    lifter, refiner = load_lifter(chosen["lifter"]), load_refiner(chosen["refiner"])
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    found = {}
    seen = observing(lifter)
    for _ in range(-(-options.count // BATCH)):
        sample = draw(people, rng, noise, BATCH)
        seen(sample.image, sample.mask, sample.given)
    found["lifter"] = measured(seen)

    refined = observing(refiner)
    networks = Networks(lifter, refined, NOISE_LEVEL)
    views = np.arange(min(VIEWS, people.views_per_person))[None]
    for person in rng.choice(len(people), min(options.count, len(people)), replace=False):
        networks(people.views(np.array([person]), views))
    found["refiner"] = measured(refined)
    for name in wanted:
        save_calibration(found[name], chosen[name])
        print(calibration_file(chosen[name]))
