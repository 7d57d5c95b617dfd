"""Write the averaged weights of a checkpoint as the package ships them, with a model card.

visavis-train export CHECKPOINT --network lifter|refiner --out FILE [--card JSON]
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


def averaged(checkpoint: Path, name: str) -> Lifter | Refiner:
    """The network of a checkpoint with its averaged weights."""
    network = NETWORKS[name]()
    state = torch.load(checkpoint, weights_only=True)
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), state["average"], strict=True):
            parameter.copy_(weight)
    return network.eval().requires_grad_(False)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train export`."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--network", choices=sorted(NETWORKS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="JSON to put into the model card")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train export` asks for."""
    network = averaged(options.checkpoint, options.network)
    save_weights(network, options.out)
    state = torch.load(options.checkpoint, weights_only=True)
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
