"""A run of measurements that ends in time and says of each figure why it is missing, if it is."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models.gpu_setup import gpu_problem

RESULTS = Path(__file__).parent / "results"
NO_GPU = "no GPU"


class NotMeasured(Exception):
    """Why a figure is missing."""


class Run:
    """Does one step after another and keeps what comes out.

    Args:
        seconds: that the whole may take; steps that would begin later, or in too little time, are
            left out.
    """

    def __init__(self, seconds: float) -> None:
        self._begin = time.monotonic()
        self._seconds = seconds
        self.problem = gpu_problem()
        self.results: dict[str, Any] = {}

    @property
    def gpu(self) -> bool:
        return self.problem is None

    @property
    def left(self) -> float:
        """Seconds."""
        return self._begin + self._seconds - time.monotonic()

    def step(
        self, name: str, work: Callable[[], Any], gpu: bool = True, needs: float = 10.0
    ) -> Any:
        """Do some work and keep its result, or why there is none.

        Args:
            name: of the result.
            work: gives something for JSON.
            gpu: whether it needs a GPU.
            needs: seconds that must be left.

        Returns:
            The result, None where there is none.
        """
        start = time.monotonic()
        try:
            if gpu and not self.gpu:
                raise NotMeasured(NO_GPU)
            if self.left < needs:
                raise NotMeasured("no time was left")
            print(f"{time.monotonic() - self._begin:6.1f} s  {name}", flush=True)
            self.results[name] = work()
        except NotMeasured as reason:
            self.results[name] = {"not measured": str(reason)}
            return None
        except Exception as error:  # one figure that cannot be had must not cost all others
            lines = str(error).strip().splitlines() or [""]
            self.results[name] = {"not measured": f"{type(error).__name__}: {lines[0]}"}
            print(f"          failed: {type(error).__name__}: {lines[0]}", flush=True)
            return None
        finally:
            self.results.setdefault("seconds", {})[name] = round(time.monotonic() - start, 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return self.results[name]

    def figure(self, *path: str | int) -> Any:
        """A number of the results, or None."""
        found: Any = self.results
        for key in path:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def write(self, folder: Path = RESULTS) -> Path:
        """Write what there is, under the GPU's name."""
        folder.mkdir(parents=True, exist_ok=True)
        name = torch.cuda.get_device_name() if self.gpu else "no gpu"
        path = folder / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")
        path.write_text(json.dumps(self.results, indent=2) + "\n")
        return path


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        facts |= {
            "gpu": properties.name,
            "memory": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "l2": properties.L2_cache_size,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "driver": _driver(),
        }
    return facts


def _driver() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return lines[0] if lines else "unknown"


def rounded(value: float, digits: int = 4) -> float:
    """To so many digits that count."""
    return float(f"{value:.{digits}g}")
