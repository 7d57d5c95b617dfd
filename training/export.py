"""Write the averaged weights of a checkpoint as the package ships them, with a model card.

    visavis-train export CHECKPOINT [CHECKPOINT ...] --network lifter|refiner --out FILE

Of several checkpoints that went on from one another, the mean is taken: it is often as good as the
better one in each respect. The weights that they began with (.safetensors) may be one of them.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models.lifter import Lifter
from models.refiner import Refiner
from models.weights import load_lifter, load_refiner, save_weights
from training.dataset import CorpusError
from training.variants import read_card, settings

NETWORKS: dict[str, type[Lifter] | type[Refiner]] = {"lifter": Lifter, "refiner": Refiner}
LOADERS: dict[str, Callable[[Path], Lifter | Refiner]] = {
    "lifter": load_lifter,
    "refiner": load_refiner,
}


def load_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """What `training.run` saved of a network.

    Raises:
        CorpusError: the file is no checkpoint, or is one of another network.
        OSError: it cannot be read.
        SetupError: the same of a file of weights, of which only the settings are known, and these
            only where it has a model card.
    """
    if path.suffix == ".safetensors":
        weights = LOADERS[name](path).parameters()
        state = {"average": [weight.detach() for weight in weights], "file": path.name}
        return state | ({"settings": told} if (told := settings(path)) else {})
    wanted = [parameter.shape for parameter in NETWORKS[name]().parameters()]
    try:
        state = torch.load(path, weights_only=True)
        found = [weight.shape for weight in state["average"]]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError):
        raise CorpusError(f"{path} is not a checkpoint of visavis-train.") from None
    if found != wanted:
        raise CorpusError(f"{path} is a checkpoint of another network than the {name}.")
    return dict(state)


def averaged(name: str, *checkpoints: Path) -> Lifter | Refiner:
    """The network of a checkpoint with its averaged weights, or the mean of several."""
    network = NETWORKS[name]()
    states = [load_checkpoint(path, name)["average"] for path in checkpoints]
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
    if not options.out.parent.is_dir():
        raise CorpusError(f"There is no folder {options.out.parent}. Make it first.")
    network = averaged(options.network, *options.checkpoints)
    states = [load_checkpoint(path, options.network) for path in options.checkpoints]
    told = [
        {key: state[key] for key in ("step", "seconds", "settings", "file") if key in state}
        for state in states
    ]
    card = {
        "network": options.network,
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": told[-1].get("step", 0),
        "seconds": round(told[-1].get("seconds", 0)),
        "settings": next((t["settings"] for t in reversed(told) if "settings" in t), {}),
        "licence": "Apache-2.0",
    }
    if len(states) > 1:
        card["mean of"] = told
    if options.card:
        card |= read_card(options.card)
    save_weights(network, options.out)
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
