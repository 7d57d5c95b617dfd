"""Each kernel of a piece of work by the profiler, beside what nothing can go below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_checks import cuda
from benchmarks.gpu_run import rounded
from benchmarks.gpu_scenes import BenchRequest, swinging
from benchmarks.gpu_times import (
    GAUSSIAN_BYTES,
    PER_BLENDING,
    PER_PAIR,
    PER_READING,
    PER_YUV,
    YUV_BYTES,
    batch_of,
    beside_limits,
    pairs_of,
)
from benchmarks.kernels import camera, head_and_wall
from cuda_kernels.gpu_splatter import DEPTH_BITS, DIGIT_BITS
from cuda_kernels.layout import BOX_BYTES, ITEM_BYTES, gradient_bytes, splat_bytes
from cuda_kernels.splat import splat
from models.gpu_avatar import GpuAvatar
from models.gpu_batches import Quality
from models.gpu_engine import GpuEngine
from models.gpu_slots import PORTRAIT
from models.portrait_blend import FINEST
from models.refiner import RENDER

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


def _project_slots(load: Load) -> tuple[float, float]:
    least, operations = _project(load)
    return least + load.views * load.gaussians * float(BOX_BYTES + ITEM_BYTES), operations


def _sorted_items(load: Load) -> float:
    """Items that all passes together sort: Gaussians by depth, then pairs by tile."""
    tile_passes = -(-(load.pixels // TILE - 1).bit_length() // DIGIT_BITS)
    passes = -(-DEPTH_BITS // DIGIT_BITS)
    return float(load.views * (passes * load.gaussians + tile_passes * load.pairs))


def _count_digits(load: Load) -> tuple[float, float]:
    items = _sorted_items(load)
    return items * ITEM_BYTES, items * 3


def _scatter_by_digit(load: Load) -> tuple[float, float]:
    # An item is read twice, the second time from a cache; a lane looks at each bit of its digit.
    items = _sorted_items(load)
    return items * 2 * ITEM_BYTES, items * 4 * DIGIT_BITS


def _sum_pairs(load: Load) -> tuple[float, float]:
    n = float(load.views * load.gaussians)
    return n * (ITEM_BYTES + BOX_BYTES), n * 10


def _emit_pairs(load: Load) -> tuple[float, float]:
    read, operations = _sum_pairs(load)
    pairs = load.views * load.pairs
    return read + pairs * ITEM_BYTES, operations + pairs * 30.0


def _list_tiles(load: Load) -> tuple[float, float]:
    pairs = load.views * load.pairs
    return pairs * (ITEM_BYTES + 4.0) + load.views * load.pixels / TILE * 4, pairs * 2.0


def _refiner_input(load: Load) -> tuple[float, float]:
    pixels = load.views * load.pixels
    portrait = 4 * 5 * PORTRAIT * PORTRAIT
    return pixels * (PICTURE_BYTES + 2.0 * RENDER) + portrait, pixels * float(PER_READING)


def _blend_portrait(load: Load) -> tuple[float, float]:
    pixels = load.views * load.pixels
    portrait = 4 * 4 * min(max(load.pixels, PORTRAIT**2), FINEST**2)
    return pixels * (4 * 2 + 2 * 4 * 4.0) + portrait, pixels * float(PER_BLENDING)


def _rgb_to_yuv(load: Load) -> tuple[float, float]:
    pixels = float(load.views * load.pixels)
    return pixels * YUV_BYTES, pixels * PER_YUV


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
    "project_slots": _project_slots,
    "project": _project,
    "count_digits": _count_digits,
    "scatter_by_digit": _scatter_by_digit,
    "sum_pairs": _sum_pairs,
    "emit_pairs": _emit_pairs,
    "list_tiles": _list_tiles,
    "composite_backward": _composite_backward,
    "composite_forward": _composite,
    "refiner_input": _refiner_input,
    "blend_portrait": _blend_portrait,
    "rgb_to_yuv": _rgb_to_yuv,
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


def with_limits(
    rows: list[dict[str, Any]], load: Load, rates: dict[str, float] | None
) -> list[dict[str, Any]]:
    """Rows of `profiled`; our own kernels beside what nothing can go below."""
    for row in rows:
        found = next((key for key in LEAST if str(row["kernel"]).startswith(key)), None)
        if found is not None and rates is not None:
            row |= beside_limits(float(row["ms"]), *LEAST[found](load), rates, "float32")
    return rows


def of_graph(
    engine: GpuEngine, avatar: GpuAvatar, batch: int, rates: dict[str, float] | None
) -> list[dict[str, Any]]:
    """All kernels of the graph that makes refined frames."""
    engine.render([BenchRequest(avatar, view) for view in swinging(batch)])
    graphs = engine._graphs[batch]
    splatter: Any = graphs.chain._full._splatter
    load = Load(
        int(engine.slots.counts[avatar.slot]),
        round(float(splatter._kept.float().mean())),
        batch,
        engine.size**2,
    )
    with engine._queue.working():
        return with_limits(profiled(graphs.replays[Quality.REFINED]), load, rates)


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
        rows += [{"of": name, **row} for row in with_limits(profiled(work), load, rates)]
    return rows
