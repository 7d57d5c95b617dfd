"""Where a training computes, and what it leaves on disk for machines without that."""

import argparse
import sys
import threading
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from models.errors import SetupError
from training import run
from training.run import Average, Workers, add_options, chosen_device, on_cpu

GPU = torch.device("cuda")


def choose(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, steps=1, batch=1, rate=1e-3, seed=1)
    return parser.parse_args(["--people", "a", "--out", "b", *words])


@pytest.mark.parametrize(
    ("words", "gpu", "device"),
    [
        ([], False, "cpu"),
        ([], True, "cuda"),
        (["--device", "cpu"], True, "cpu"),
        (["--device", "cuda"], True, "cuda"),
    ],
)
def test_device(words: list[str], gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(run, "gpu_problem", lambda: None)
    assert chosen_device(choose(*words)).type == device


@pytest.mark.parametrize("gpu", [False, True])
def test_what_a_gpu_needs_is_said(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setitem(sys.modules, "cupy", None)
    words = r"pip install 'visavis\[cuda\]'" if gpu else "finds no NVIDIA GPU"
    with pytest.raises(SetupError, match=f"No GPU can be trained on: .*{words}.*--device cpu"):
        chosen_device(choose("--device", "cuda"))


def test_workers_share_the_batch_and_a_gpu_takes_it_whole() -> None:
    batch, weight = torch.arange(12.0), nn.Parameter(torch.tensor(2.0))
    seen: dict[str, set[int]] = {"cpu": set(), "cuda": set()}
    for device in (torch.device("cpu"), GPU):
        workers = Workers(3, device)
        share = len(batch) // workers.count

        def compute(
            worker: int, kind: str = device.type, share: int = share
        ) -> tuple[Tensor, dict[str, float]]:
            seen[kind].add(threading.get_ident())
            part = (weight * batch[worker * share : (worker + 1) * share]).mean()
            return part, {"part": float(part.detach())}

        parts = workers.gradients([weight], compute)
        assert weight.grad == pytest.approx(5.5)
        assert parts == {"part": pytest.approx(11.0)}
    assert threading.get_ident() not in seen["cpu"]
    assert seen["cuda"] == {threading.get_ident()}


def test_states_leave_the_device_they_were_on() -> None:
    """On the CPU they stay what they are; `meta` cannot be copied from, and says so."""
    network = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 1, 1, 1)).sum().backward()
    optimizer.step()
    for holder in (network, optimizer, Average(network)):
        state = holder.state_dict()
        moved = on_cpu(state)
        assert type(moved) is type(state)
        assert repr(moved) == repr(state)
    weights = network.state_dict()
    assert isinstance(weights, OrderedDict)
    assert on_cpu(weights)._metadata == weights._metadata  # type: ignore[attr-defined]
    nested = {"a": [torch.ones(1, device="meta")]}
    # torch's own error for copying from a device without memory: proof that `on_cpu` reaches the
    # tensors in nested lists, where no other device is at hand.
    with pytest.raises(NotImplementedError, match="meta"):
        on_cpu(nested)


def test_an_average_stays_on_its_device() -> None:
    average = Average(nn.Conv2d(1, 1, 1, device="meta"))
    average.load_state_dict([torch.ones(1, 1, 1, 1), torch.ones(1)])
    assert all(w.device.type == "meta" for w in average.weights)
    with pytest.raises(ValueError):
        average.load_state_dict([torch.ones(1)])
