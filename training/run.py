"""What every training run shares: seeds by step, schedules, an averaged copy, checkpoints, a log.

Each step draws from generators seeded by (run seed, step, worker), so a resumed run goes on exactly
as the unbroken one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def generators(seed: int, step: int, worker: int) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one worker in one step."""
    source = np.random.default_rng([seed, step, worker])
    return source, torch.Generator().manual_seed(int(source.integers(0, 2**62)))


class Workers:
    """Threads that each compute the gradients of a part of the batch, on one core each.

    Convolution gradients of one part on two cores spin at barriers: on a busy machine that was
    measured to be three times slower than two parts side by side.
    """

    def __init__(self, count: int) -> None:
        torch.set_num_threads(1)
        self.count = count
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def gradients(
        self,
        parameters: list[nn.Parameter],
        compute: Callable[[int], tuple[Tensor, dict[str, float]]],
    ) -> dict[str, float]:
        """Set the parameters' gradients to the mean of those of every worker's loss.

        Returns:
            Mean of the named parts that `compute` returns beside its loss.
        """

        def work(worker: int) -> tuple[tuple[Tensor | None, ...], dict[str, float]]:
            total, parts = compute(worker)
            return torch.autograd.grad(total, parameters, allow_unused=True), parts

        results = list(self._pool.map(work, range(self.count)))
        (first, _), *others = results
        for index, parameter in enumerate(parameters):
            parameter.grad = first[index]
        for grads, _ in others:
            given = [(p.grad, g) for p, g in zip(parameters, grads, strict=True) if g is not None]
            torch._foreach_add_(*(list(side) for side in zip(*given, strict=True)))
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / self.count)
        return {
            name: sum(parts[name] for _, parts in results) / self.count for name in results[0][1]
        }


def cosine(step: int, steps: int, warmup: int = 100, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`."""
    progress = min(1.0, step / steps)
    return min(1.0, (step + 1) / warmup) * (
        floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    )


class Average:
    """Exponential moving average of a network's weights, with a short memory at the start."""

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights = [p.detach().clone() for p in network.parameters()]

    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(
                self.weights, [p.detach() for p in network.parameters()], 1 - decay
            )

    def copy_to(self, network: nn.Module) -> None:
        with torch.no_grad():
            for parameter, weight in zip(network.parameters(), self.weights, strict=True):
                parameter.copy_(weight)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def log(path: Path, record: dict[str, Any]) -> None:
    """Append one line of JSON and show it."""
    line = json.dumps(
        {
            key: round(value, 5) if isinstance(value, float) else value
            for key, value in record.items()
        }
    )
    print(line, flush=True)
    with path.open("a") as file:
        file.write(line + "\n")
