"""Whether there is a GPU that the engine can run on, and in which precision it is fastest."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch
from torch import nn

from models.gpu_rasteriser import batch_splatter
from models.graphs import Queue, milliseconds
from models.refiner import RENDER, OneStepRefiner

LARGE = 100_000_000
"""Parameters from which a network is not copied to try another precision."""
GAIN = 0.95
"""Part of bfloat16's time that float16 must do with, since its range is smaller."""


def gpu_problem() -> str | None:
    """Why no GPU can be used, as part of a sentence; None where one can."""
    if torch.version.cuda is None:
        return "the installed PyTorch is one without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU and driver"
    try:
        cupy: Any = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        return "cupy is not installed: pip install 'visavis[cuda]'"
    except Exception as error:  # cupy's own kinds, which cannot be named without it
        return f"cupy cannot use the driver ({_first_line(error)})"
    try:
        _try_kernels()
    except Exception as error:
        return f"the kernels cannot be compiled for it ({_first_line(error)})"
    return None


def _try_kernels() -> None:
    """Splat one disc."""
    device = torch.device("cuda", torch.cuda.current_device())
    one = torch.ones(1, 1, device=device)
    means = torch.tensor([[[0.0, 0.0, 1.0]]], device=device)
    axes = 0.1 * torch.eye(3, device=device)[:2].view(1, 1, 2, 3)
    slot, count = (torch.tensor([n], dtype=torch.int32, device=device) for n in (0, 1))
    world = torch.eye(4, device=device)[None]
    K = torch.tensor([[[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]], device=device)
    out = torch.full((1, 6, 16, 16), torch.nan, device=device)
    splatter = batch_splatter(1, 1, 1, 16, device)
    splatter.render(means, axes, one, one[..., None].expand(1, 1, 4).contiguous(), count, slot,
                    world, K, out)  # fmt: skip
    alpha = float(out[0, 5, 8, 8])
    if not 0.8 < alpha <= 1:
        raise RuntimeError(f"a disc came out with alpha {alpha:.3f}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def fastest_type(refiner: OneStepRefiner, queue: Queue, size: int, batch: int = 4) -> torch.dtype:
    """bfloat16, or float16 where that is measured faster on this GPU and gives finite pictures.

    Args:
        refiner: in float32, on any device.
        queue: of the GPU.
        size: of the pictures, pixels.
        batch: pictures at once.
    """
    if not isinstance(refiner, nn.Module) or (
        sum(p.numel() for p in refiner.parameters()) > LARGE or queue.device.type != "cuda"
    ):
        return torch.bfloat16
    times = {}
    for dtype in (torch.bfloat16, torch.float16):
        with queue.working():
            network: Any = copy.deepcopy(refiner).to(queue.device, dtype)
            render = torch.rand(batch, RENDER, size, size, device=queue.device).to(dtype)
            noise = torch.randn(1, 4, size, size, device=queue.device).to(dtype)
            portrait = torch.rand(batch, 4, 256, 256, device=queue.device).to(dtype)
            tokens = network.encode_portrait(portrait.to(memory_format=torch.channels_last))
            out = torch.zeros(batch, 4, size, size, device=queue.device, dtype=dtype)

        def step(
            network: Any = network,
            out: torch.Tensor = out,
            render: torch.Tensor = render,
            noise: torch.Tensor = noise,
            tokens: torch.Tensor = tokens,
        ) -> None:
            out.copy_(network.refine(render, noise, 0.05, tokens))

        time = milliseconds(queue, queue.capture(step))
        if bool(out.isfinite().all()):
            times[dtype] = time
    half, bfloat = times.get(torch.float16), times.get(torch.bfloat16)
    if half is not None and (bfloat is None or half < GAIN * bfloat):
        return torch.float16
    return torch.bfloat16
