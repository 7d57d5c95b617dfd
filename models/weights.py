"""The trained networks that ship with the package, and how others are loaded in their place.

Files are safetensors in half precision, each with a model card of the same name
(`lifter.safetensors`, `lifter.json`), and with what it takes to compute in eight bits
(`lifter_int8.json`, from `visavis-train calibrate`; see `models.quantised`). A folder with files of
these names replaces them: `VISAVIS_WEIGHTS=DIR`. A folder `refiner` in it holds the large refiner
(`models.sd_turbo`).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from models.errors import SetupError
from models.int8 import Range
from models.lifter import Lifter
from models.quantised import Calibration
from models.refiner import OneStepRefiner, Refiner
from models.sd_turbo_files import is_place, load_sd_turbo

FOLDER = Path(__file__).parent / "assets"
LIFTER, REFINER = "lifter.safetensors", "refiner.safetensors"
LARGE = "refiner"


def weights_folder() -> Path:
    """Where the weights are taken from."""
    return Path(os.environ.get("VISAVIS_WEIGHTS") or FOLDER)


def load_lifter(path: str | Path | None = None) -> Lifter:
    """The lifter, float32, ready to run.

    Args:
        path: of a safetensors file; None takes the one that ships.

    Raises:
        SetupError: the file is missing or is not a lifter's.
    """
    network = Lifter()
    _fill(network, Path(path or weights_folder() / LIFTER))
    return network


def load_refiner(path: str | Path | None = None) -> Refiner:
    """The refiner, float32, ready to run; see `load_lifter`."""
    network = Refiner()
    _fill(network, Path(path or weights_folder() / REFINER))
    return network


def open_refiner(
    path: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> OneStepRefiner:
    """The refiner, small or large, ready to run.

    Args:
        path: a safetensors file of the small one, or where the large one is: see
            `models.sd_turbo_files.load_sd_turbo`. None takes the folder `refiner` of
            `VISAVIS_WEIGHTS` where there is one, else the small one.
        device: where it is to compute.
        dtype: in which precision.

    Raises:
        SetupError: it is missing, is not a refiner's, or needs an extra that is not installed.
    """
    if path is None:
        folder = weights_folder()
        path = folder / LARGE if (folder / LARGE).is_dir() else folder / REFINER
    if not is_place(path):
        return load_refiner(path).to(device, dtype)
    return load_sd_turbo(path).to(device, dtype)


def save_weights(network: Lifter | Refiner, path: str | Path) -> None:
    """Write a network in half precision, with its sizes in the header."""
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, metadata={"config": repr(asdict(network.config))})


def calibration_file(path: Path) -> Path:
    """Where the calibration of weights is kept."""
    return path.with_name(f"{path.stem}_int8.json")


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write what the weights in the safetensors file `path` were measured to need, beside it."""
    path = Path(path)
    told = {
        "of": _digest(path),
        "ranges": {name: [one.scale, one.zero] for name, one in calibration.ranges.items()},
        "pictures": calibration.pictures,
    }
    calibration_file(path).write_text(json.dumps(told, indent=1) + "\n")


def load_calibration(path: str | Path) -> Calibration | None:
    """The calibration of the weights in a safetensors file; None if there is none, or one of other
    weights."""
    path = Path(path)
    try:
        told = json.loads(calibration_file(path).read_text())
        if told["of"] != _digest(path):
            return None
        ranges = {name: Range(*numbers) for name, numbers in told["ranges"].items()}
        return Calibration(ranges, told["pictures"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fill(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise SetupError(
            f"The weights {path.name} are not in {path.parent}. Install the package again, or set "
            "VISAVIS_WEIGHTS to the folder that holds them.",
            "no_weights",
        )
    try:
        state: dict[str, Any] = {name: value.float() for name, value in load_file(path).items()}
        network.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise SetupError(
            f"{path} does not hold weights of this version's {type(network).__name__.lower()}. "
            "Install the package again.",
            "bad_weights",
        ) from error
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.requires_grad_(False)
