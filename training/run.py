"""What every training run shares: options, seeds by step, schedules, an averaged copy, the loop.

Each step draws from generators seeded by (run seed, step, worker), so a resumed run goes on exactly
as the unbroken one; on a GPU it draws the same, and sums in another order.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import SetupError
from models.gpu_setup import gpu_problem
from training.dataset import CorpusError, People
from training.numbers import number, whole

CPU = torch.device("cpu")

UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What torch raises for files that hold something else."""

UNIMPORTANT = ("minutes", "every")
"""Options that have no influence on the weights, and are not stored with them."""


def generators(seed: int, step: int, worker: int) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one worker in one step."""
    source = np.random.default_rng([seed, step, worker])
    return source, torch.Generator().manual_seed(int(source.integers(0, 2**62)))


def chosen_device(chosen: argparse.Namespace) -> torch.device:
    """Where `--device` says to compute.

    Args:
        chosen: parsed by `add_options`.

    Raises:
        SetupError: a GPU is asked for and there is none, or there is one that the kernels cannot
            run on.
    """
    if chosen.device == "cpu" or (chosen.device != "cuda" and not torch.cuda.is_available()):
        return CPU
    problem = gpu_problem()
    if problem is not None:
        raise SetupError(f"No GPU can be trained on: {problem}. With --device cpu the CPU trains.")
    return torch.device("cuda")


class Workers:
    """Threads that each compute the gradients of a part of the batch, on one core each.

    Convolution gradients of one part on two cores spin at barriers: on a busy machine that was
    measured to be three times slower than two parts side by side. A GPU wants the batch whole:
    there the calling thread is the only worker.

    Args:
        count: of threads.
        device: where they compute.

    Attributes:
        count: into how many parts the batch is to be divided.
    """

    def __init__(self, count: int, device: torch.device = CPU) -> None:
        self._map: Callable[..., Iterable[Any]] = map
        self.count = 1
        if device.type == "cpu":
            torch.set_num_threads(1)
            self.count = count
            pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
            self._map = pool.map

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

        results = list(self._map(work, range(self.count)))
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

    def state_dict(self) -> list[Tensor]:
        return self.weights

    def load_state_dict(self, state: list[Tensor]) -> None:
        self.weights = [new.to(old.device) for new, old in zip(state, self.weights, strict=True)]


class Learner:
    """A network, its optimizer, and its average.

    Args:
        network: to be trained.
        rate: of learning, before the schedule's factor.
        decay: of the average.
    """

    def __init__(self, network: nn.Module, rate: float, decay: float = 0.999) -> None:
        self.network = network
        self.average = Average(network, decay)
        self.parameters = list(network.parameters())
        self._rate = rate
        self._optimizer = torch.optim.AdamW(
            self.parameters, rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
        )

    def learn(self, step: int, factor: float) -> None:
        """Follow the gradients, with `factor` times the rate."""
        nn.utils.clip_grad_norm_(self.parameters, 0.5)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * factor
        self._optimizer.step()
        self.average.update(self.network, step)

    @property
    def parts(self) -> dict[str, Stateful]:
        """For the checkpoint."""
        return {"network": self.network, "optimizer": self._optimizer, "average": self.average}


class Stateful(Protocol):
    """What a checkpoint holds the state of: networks, optimizers, averages."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add the options that all trainings have.

    Args:
        parser: of the command.
        defaults: of `steps`, `batch`, `rate` and `seed`.
    """
    parser.add_argument("--people", type=Path, required=True, help="folder of rendered people")
    parser.add_argument(
        "--held-out",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders in the test layout, evaluated while training",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--start", type=Path, help="weights to begin with, instead of random ones")
    parser.add_argument("--steps", type=whole(1))
    parser.add_argument("--minutes", type=number(0), default=0, help="stop after so long; 0: never")
    parser.add_argument("--batch", type=whole(1), help="people in a step")
    parser.add_argument("--rate", type=number(0))
    parser.add_argument("--threads", type=whole(1), default=2, help="each takes a part of a batch")
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto: the GPU where there is one; it takes whole batches, whatever --threads says",
    )
    parser.add_argument("--seed", type=whole(0))
    parser.add_argument("--every", type=whole(1), default=200, help="steps between checkpoints")
    parser.set_defaults(**defaults)


def train(
    name: str,
    chosen: argparse.Namespace,
    people: People,
    parts: Mapping[str, Stateful],
    advance: Callable[[int], dict[str, float]],
    measure: Callable[[], dict[str, float]] | None,
) -> None:
    """Advance step by step to the end of the schedule or of the time, from the last checkpoint on.

    Every `chosen.every` steps OUT/NAME.pt is written, the means of what `advance` returned are
    appended to OUT/NAME.jsonl, every other time with what `measure` returns, and people that have
    been rendered since are taken in.

    Args:
        name: of the network.
        chosen: parsed by `add_options`.
        people: what is trained on.
        parts: whose states the checkpoint holds, by name.
        advance: does one step and returns its losses.
        measure: evaluates the averaged network; its names go into the log as they are.
    """
    step, seconds = 0, 0.0
    checkpoint = chosen.out / f"{name}.pt"
    if checkpoint.exists():
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=CPU)
            for part, holder in parts.items():
                holder.load_state_dict(state[part])
            step, seconds = state["step"], state["seconds"]
        except UNREADABLE as error:
            raise CorpusError(
                f"{checkpoint} is not a checkpoint of this version's {name}. Choose another --out, "
                "or take it away."
            ) from error
        if chosen.start:
            print(f"{checkpoint} goes on; --start is not used.", file=sys.stderr, flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    start, sums, counted = time.monotonic(), dict[str, float](), 0
    while True:
        elapsed = time.monotonic() - start
        done = step >= chosen.steps or (chosen.minutes and elapsed > 60 * chosen.minutes)
        if step and (step % chosen.every == 0 or done):
            state = {part: on_cpu(holder.state_dict()) for part, holder in parts.items()}
            settings = {
                key: value
                for key, value in vars(chosen).items()
                if isinstance(value, int | float) and key not in UNIMPORTANT
            }
            state |= {"step": step, "seconds": seconds + elapsed}
            state |= {"settings": settings | {"people": len(people)}}
            save_checkpoint(checkpoint, state)
            record = {"step": step, "seconds": seconds + elapsed, "people": len(people)}
            record |= {key: value / max(1, counted) for key, value in sums.items()}
            if measure is not None and (step % (2 * chosen.every) == 0 or done):
                record |= measure()
            log(chosen.out / f"{name}.jsonl", record)
            sums, counted = {}, 0
            people.refresh()
        if done:
            break
        losses = advance(step)
        step, counted = step + 1, counted + 1
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + value


def on_cpu(state: Any) -> Any:
    """The state of a part with its tensors on the CPU, so that any machine can read it."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, list | tuple):
        return type(state)(on_cpu(value) for value in state)
    if isinstance(state, dict):
        # A copy: a network's state carries more than its items, an optimizer's is the live one.
        moved = copy.copy(state)
        moved.update((key, on_cpu(value)) for key, value in state.items())
        return moved
    return state


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
