"""Write the averaged weights of a checkpoint as the package ships them, with a model card.

    visavis-train export CHECKPOINT [CHECKPOINT ...] --network lifter|refiner --out FILE

Of several checkpoints that went on from one another, the mean is taken: it is often as good as the
better one in each respect.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from models.lifter import Lifter
from models.refiner import Refiner
from models.weights import save_weights

NETWORKS: dict[str, type[Lifter] | type[Refiner]] = {"lifter": Lifter, "refiner": Refiner}


def averaged(name: str, *checkpoints: Path) -> Lifter | Refiner:
    """The network of a checkpoint with its averaged weights, or the mean of several."""
    network = NETWORKS[name]()
    states = [torch.load(path, weights_only=True)["average"] for path in checkpoints]
    with torch.no_grad():
        for parameter, *weights in zip(network.parameters(), *states, strict=True):
            parameter.copy_(torch.stack(weights).mean(0))
    return network.eval().requires_grad_(False)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train export`."""
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--network", choices=sorted(NETWORKS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="JSON to put into the model card")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train export` asks for."""
    network = averaged(options.network, *options.checkpoints)
    save_weights(network, options.out)
    state = torch.load(options.checkpoints[-1], weights_only=True)
    card = {
        "network": options.network,
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": state["step"],
        "seconds": round(state["seconds"]),
        "settings": state.get("settings", {}),
        "licence": "Apache-2.0",
    }
    if options.card:
        card |= json.loads(options.card.read_text())
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
