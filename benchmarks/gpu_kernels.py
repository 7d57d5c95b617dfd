"""Each kernel of a piece of work by the profiler, beside what nothing can go below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_checks import cuda
from benchmarks.gpu_run import rounded
from benchmarks.gpu_times import GAUSSIAN_BYTES, PER_PAIR, batch_of, beside_limits, pairs_of
from benchmarks.kernels import camera, head_and_wall
from cuda_kernels.layout import gradient_bytes, splat_bytes
from cuda_kernels.splat import splat
from models.gpu_engine import GpuEngine

TILE = 256
"""Pixels."""
PICTURE_BYTES = 4 * 6
"""Of a pixel: colours, uncertainty, depth, alpha."""
RUNS = 10


@dataclass(frozen=True)
class Load:
    """How much a splatting has to do: Gaussians, pairs of one with a tile per view, views, pixels
    of a view."""

    gaussians: int
    pairs: int
    views: int
    pixels: int


def _project(load: Load) -> tuple[float, float]:
    each = GAUSSIAN_BYTES / load.views + splat_bytes(4)
    return load.views * load.gaussians * each, load.views * load.gaussians * 120.0


def _composite(load: Load) -> tuple[float, float]:
    read = load.pairs * 4 + load.gaussians * splat_bytes(4)
    return load.views * (read + load.pixels * PICTURE_BYTES), (
        load.views * load.pairs * TILE * float(PER_PAIR)
    )


def _composite_backward(load: Load) -> tuple[float, float]:
    read = load.pairs * 4 + load.gaussians * (splat_bytes(4) + 2 * gradient_bytes(4))
    # The picture and its gradient are read; a pair costs about three times as much as forward.
    return load.views * (read + 2 * load.pixels * PICTURE_BYTES), (
        load.views * load.pairs * TILE * 3.0 * PER_PAIR
    )


def _project_backward(load: Load) -> tuple[float, float]:
    each = load.views * (splat_bytes(4) + gradient_bytes(4)) + 2 * GAUSSIAN_BYTES
    return load.gaussians * float(each), load.views * load.gaussians * 250.0


LEAST = {
    "project_backward": _project_backward,
    "project": _project,
    "composite_backward": _composite_backward,
    "composite_forward": _composite,
}
"""The fewest bytes and operations of kernels, by how their names begin; longer names first."""


def profiled(work: Callable[[], Any]) -> list[dict[str, Any]]:
    """The kernels of some work on the current stream: name, how often, milliseconds together."""
    from torch.profiler import ProfilerActivity, profile

    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(RUNS):
            work()
        torch.cuda.synchronize()
    rows = [
        {
            "kernel": row.key[:80],
            "calls": row.count // RUNS,
            "ms": rounded(row.device_time_total / 1e3 / RUNS),
        }
        for row in trace.key_averages()
        if row.device_time_total > 0
    ]
    return sorted(rows, key=lambda row: -float(row["ms"]))


def of_graph(engine: GpuEngine, batch: int, quality: str) -> list[dict[str, Any]]:
    """All kernels of a captured graph."""
    replays = engine._graphs[batch].replays
    with engine._queue.working():
        return profiled(next(work for kind, work in replays.items() if kind.value == quality))


def of_splatting(rates: dict[str, float], views: int = 16) -> list[dict[str, Any]]:
    """The kernels of the batch rasteriser, and of splatting there and back for training."""
    grid, size = 362, 512
    scene = head_and_wall(grid)
    cameras = [camera(-20 + 40 * k / max(1, views - 1), size) for k in range(views)]
    load = Load(grid * grid, pairs_of(scene, cameras[views // 2], size), views, size * size)
    leaves = [
        scene[name].to(cuda())[None].requires_grad_()
        for name in ("means", "axes", "opacities", "colors")
    ]
    with_views = [torch.stack([pair[i] for pair in cameras])[None].to(cuda()) for i in (0, 1)]

    def training() -> None:
        splat(*leaves, *with_views, size, size, eps2d=0.3, near=0.1).sum().backward()

    rows = []
    for name, work in (("engine", batch_of(scene, cameras, size)), ("training", training)):
        for row in profiled(work):
            found = next((key for key in LEAST if str(row["kernel"]).startswith(key)), None)
            if found is not None:
                row |= beside_limits(float(row["ms"]), *LEAST[found](load), rates, "float32")
            rows.append({"of": name, **row})
    return rows
