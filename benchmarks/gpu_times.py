"""How long things take on the GPU: events around replays of graphs, warm, the median of many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_checks import cuda
from benchmarks.gpu_run import rounded
from benchmarks.gpu_scenes import (
    BLENDING,
    READING,
    BenchRequest,
    splats_and_portraits,
    swinging,
)
from benchmarks.kernels import camera, head_and_wall
from cuda_kernels.i420 import rgb_to_i420, rgb_to_nv12
from cuda_kernels.portrait_blend import blend_portrait
from cuda_kernels.portrait_detail import refiner_input
from cuda_kernels.splatter import Splatter
from models.camera import viewpoint_camera
from models.gpu_avatar import GpuAvatar
from models.gpu_engine import GpuEngine
from models.graphs import CudaQueue
from models.viewpoint import Viewpoint

MEASURE_SECONDS = 0.4
"""Of one figure, after the warm-up."""
WARM_UPS = 5
LEAST_RUNS, MOST_RUNS = 10, 200

PERIOD = 1e3 / 30
"""Milliseconds of a frame at 30 per second."""

PER_PAIR = 32
"""Operations for a pixel and a Gaussian: the quadratic form, an exponential, six channels."""
PER_READING = 130
"""Operations for a pixel of the refiner's input: a ray, four taps of five planes, a comparison."""
PER_BLENDING = 130
"""For a pixel that is blended with the portrait: a ray, four taps of four planes, the mixture."""
PER_YUV = 30
YUV_BYTES = 3 * 4 + 1.5
"""Of a pixel: three floats in, a frame out."""
GAUSSIAN_BYTES = 4 * (3 + 6 + 1 + 4)


def median_ms(work: Callable[[], Any], seconds: float = MEASURE_SECONDS) -> float:
    """Of the device, on the current stream."""
    for _ in range(WARM_UPS):
        work()
    torch.cuda.synchronize()
    pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
    start = time.perf_counter()
    while len(pairs) < LEAST_RUNS or (
        len(pairs) < MOST_RUNS and time.perf_counter() - start < seconds
    ):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        pairs.append((begin, end))
    times = sorted(begin.elapsed_time(end) for begin, end in pairs)
    return float(times[len(times) // 2])


@cache
def timing_queue() -> CudaQueue:
    """One for all timings: torch has 32 streams, and the next would share an engine's."""
    return CudaQueue(cuda())


def graph_ms(work: Callable[[], Any], repeats: int = 1) -> float:
    """Of one run of `work`, captured so often in one graph: no gaps between launches count."""
    queue = timing_queue()

    def often() -> None:
        for _ in range(repeats):
            work()

    replay = queue.capture(often)
    with queue.working():
        return median_ms(replay) / repeats


def limits() -> dict[str, float]:
    """What this GPU can do at most: bytes and operations per second."""
    size = 1 << 29
    here = torch.empty(size, dtype=torch.uint8, device=cuda()).random_()
    there = torch.empty_like(here)
    copy = graph_ms(lambda: there.copy_(here), 4)
    rates = {"bytes per second": rounded(2 * size / copy * 1e3)}
    n = 8192
    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        x, y = (torch.randn(n, n, device=cuda(), dtype=dtype) for _ in range(2))
        out = torch.empty_like(x)
        product = graph_ms(lambda x=x, y=y, out=out: torch.mm(x, y, out=out))
        rates[f"{name} operations per second"] = rounded(2 * n**3 / product * 1e3)
    n = 4096
    x, y = (torch.randn(n, n, device=cuda()) for _ in range(2))
    out = torch.empty_like(x)
    product = graph_ms(lambda: torch.mm(x, y, out=out))
    rates["float32 operations per second"] = rounded(2 * n**3 / product * 1e3)
    return rates


def beside_limits(
    milliseconds: float, bytes_: float, operations: float, rates: dict[str, float], kind: str
) -> dict[str, float]:
    """A time, and the two times that no version of the same work can go below."""
    memory = bytes_ / rates["bytes per second"] * 1e3
    arithmetic = operations / rates[f"{kind} operations per second"] * 1e3
    limit = max(memory, arithmetic)
    return {
        "ms": rounded(milliseconds),
        "limit of bytes, ms": rounded(memory),
        "limit of operations, ms": rounded(arithmetic),
        "part of the limit": rounded(limit / milliseconds, 3),
    }


def rasteriser(rates: dict[str, float]) -> list[dict[str, Any]]:
    """The batch rasteriser on the scene of `benchmarks.kernels`: a head before a wall."""
    rows = []
    for grid, size, views in ((256, 512, 1), (362, 512, 1), (256, 512, 16), (256, 256, 32)):
        scene = head_and_wall(grid)
        cameras = [camera(-20 + 40 * k / max(1, views - 1), size) for k in range(views)]
        pairs = pairs_of(scene, cameras[views // 2], size)
        milliseconds = graph_ms(batch_of(scene, cameras, size), 4)
        n = grid * grid
        read, written = GAUSSIAN_BYTES * n, 4 * 6 * size * size * views
        row = {"gaussians": n, "size": size, "views": views, "pairs per view": pairs}
        work = PER_PAIR * 256 * pairs * views
        row |= beside_limits(milliseconds, read + written, work, rates, "float32")
        rows.append(row)
    return rows


def batch_of(
    scene: dict[str, Tensor], cameras: Sequence[tuple[Tensor, Tensor]], size: int
) -> Callable[[], Any]:
    """Splatting all views of a scene into memory of its own."""
    from cuda_kernels.gpu_splatter import GpuSplatter

    device, views, n = cuda(), len(cameras), len(scene["means"])
    colors = torch.cat([scene["colors"], scene["colors"][:, :1]], 1)
    gaussians = [
        t.to(device)[None].contiguous()
        for t in (scene["means"], scene["axes"], scene["opacities"], colors)
    ]
    counts = torch.tensor([n], dtype=torch.int32, device=device)
    slots = torch.zeros(views, dtype=torch.int32, device=device)
    E, K = (torch.stack([pair[i] for pair in cameras]).to(device) for i in (0, 1))
    out = torch.empty(views, 6, size, size, device=device)
    splatter = GpuSplatter(views, 1, n, size, size, channels=4, eps2d=0.3, near=0.1, device=device)
    return lambda: splatter.render(*gaussians, counts, slots, E, K, out)


def pairs_of(scene: dict[str, Tensor], view: tuple[Tensor, Tensor], size: int) -> int:
    """Pairs of a Gaussian and a tile, counted by the CPU's kernels."""
    splatter = Splatter(len(scene["means"]), size, size, channels=3, eps2d=0.3, near=0.1)
    splatter.render(*(scene[k] for k in ("means", "axes", "opacities", "colors")), *view)
    return int(splatter._buffers.pairs[0])


def reading(rates: dict[str, float]) -> list[dict[str, Any]]:
    """The kernel that reads the portrait beside the splat, into bfloat16."""
    rows = []
    for size, views in ((512, 1), (512, 32)):
        tensors = [t.to(cuda()) for t in splats_and_portraits(views, 1, size, 256)]
        out = torch.empty(views, 10, size, size, device=cuda(), dtype=torch.bfloat16)

        def read(tensors: list[Tensor] = tensors, out: Tensor = out) -> None:
            refiner_input(*tensors, **READING, out=out)

        pixels = views * size * size
        least = pixels * (4 * 6 + 2 * 10) + 4 * 5 * 256 * 256
        row = {"size": size, "views": views}
        work = PER_READING * pixels
        rows.append(row | beside_limits(graph_ms(read, 8), least, work, rates, "float32"))
    return rows


def blending(rates: dict[str, float]) -> list[dict[str, Any]]:
    """The kernel that gives views the portrait's own pixels, at its dearest: from the front."""
    rows = []
    for size, views in ((512, 1), (512, 32)):
        splatted, K, moves, distances, pictures, _, slots = (
            t.to(cuda()) for t in splats_and_portraits(views, 1, size, size)
        )
        rgba = torch.rand(views, 4, size, size, device=cuda())
        read = (splatted, K, moves, distances, pictures, slots)

        def blend(rgba: Tensor = rgba, read: tuple[Tensor, ...] = read) -> None:
            blend_portrait(rgba, *read, **BLENDING)

        pixels = views * size * size
        least = pixels * (4 * 2 + 2 * 4 * 4) + 4 * 4 * size * size
        row = {"size": size, "views": views}
        work = PER_BLENDING * pixels
        rows.append(row | beside_limits(graph_ms(blend, 8), least, work, rates, "float32"))
    return rows


def conversion(rates: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    kinds = (("I420", rgb_to_i420), ("NV12", rgb_to_nv12))
    for size, views, (name, convert) in ((512, k, kind) for kind in kinds for k in (1, 32)):
        rgb = torch.rand(views, 3, size, size, device=cuda())
        out = torch.empty(views, size * 3 // 2, size, dtype=torch.uint8, device=cuda())
        milliseconds = graph_ms(lambda rgb=rgb, out=out, convert=convert: convert(rgb, out=out), 8)
        pixels = views * size * size
        row = {"to": name, "size": size, "views": views}
        limits = beside_limits(milliseconds, YUV_BYTES * pixels, PER_YUV * pixels, rates, "float32")
        rows.append(row | limits)
    return rows


def refiner_operations(engine: GpuEngine, batch: int) -> int:
    """Operations of the refiner for a batch, two for each multiplication and addition."""
    from torch.utils.flop_counter import FlopCounterMode

    look, device = engine.look, cuda()
    with engine._queue.working(), FlopCounterMode(display=False) as counter:
        render = torch.rand(batch, 10, engine.size, engine.size, device=device, dtype=look.dtype)
        noise = torch.randn(batch, 4, engine.size, engine.size, device=device, dtype=look.dtype)
        look.refiner.refine(render, noise, 0.05, engine.slots.tokens[:1].expand(batch, *[-1] * 4))
    return int(counter.get_total_flops())


def refiner(engine: GpuEngine, rates: dict[str, float]) -> list[dict[str, Any]]:
    """The refiner alone, with the weights that ship."""
    rows = []
    look, device = engine.look, cuda()
    kind = str(look.dtype).removeprefix("torch.")
    for batch in (1, 8, 32):
        shape = (batch, 4, engine.size, engine.size)
        render = torch.rand(batch, 10, *shape[2:], device=device).to(look.dtype)
        noise = torch.randn(1, *shape[1:], device=device).to(look.dtype).expand(shape)
        tokens = engine.slots.tokens.index_select(
            0, torch.zeros(batch, dtype=torch.int64, device=device)
        )
        out = torch.empty(shape, device=device, dtype=look.dtype)

        def step(
            render: Tensor = render,
            noise: Tensor = noise,
            tokens: Tensor = tokens,
            out: Tensor = out,
        ) -> None:
            out.copy_(look.refiner.refine(render, noise, 0.05, tokens))

        least = render.numel() * 2 + out.numel() * 2
        row = {"size": engine.size, "views": batch, "type": kind}
        operations = refiner_operations(engine, batch)
        row |= {"operations per frame": rounded(operations / batch)}
        rows.append(row | beside_limits(graph_ms(step), least, operations, rates, kind))
    return rows


def chain(engine: GpuEngine, avatar: GpuAvatar) -> list[dict[str, Any]]:
    """Everything from viewpoints in host memory to frames in host memory, for each batch."""
    rows = []
    for batch in sorted(engine._graphs):
        views = swinging(batch)
        row: dict[str, Any] = {"size": engine.size, "receivers": batch}
        for quality, how in (
            ("refined", {}),
            ("raw", {"refine": False}),
            ("coarse", {"coarse": True}),
        ):
            requests = [BenchRequest(avatar, view, **how) for view in views]
            engine.render(requests)
            graphs = engine._graphs[batch]
            replay = next(work for kind, work in graphs.replays.items() if kind.value == quality)
            with engine._queue.working():
                row[f"{quality}: graph, ms"] = rounded(median_ms(replay))
            row[f"{quality}: tick, ms"] = rounded(_wall_ms(engine, requests))
        rows.append(row)
    return rows


def _wall_ms(engine: GpuEngine, requests: list[BenchRequest]) -> float:
    """Of a whole call of `render`, seen from the host."""
    times = []
    for _ in range(40):
        start = time.perf_counter()
        engine.render(requests)
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 2]


def receivers(rows: list[dict[str, Any]], column: str) -> int:
    """How many get 30 frames per second, in the best of the batch sizes."""
    return max(int(PERIOD / row[column]) * row["receivers"] for row in rows)


def lift(engine: GpuEngine, portrait: Any) -> dict[str, float]:
    """From a portrait in host memory to its avatar in a slot."""
    engine.lift(portrait).close()
    with engine._queue.working():
        graph = median_ms(engine._lift_replay)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        engine.lift(portrait).close()
        times.append((time.perf_counter() - start) * 1e3)
    return {"graph, ms": rounded(graph), "call, ms": rounded(sorted(times)[len(times) // 2])}


def start(size: int) -> tuple[GpuEngine, dict[str, Any]]:
    """Start an engine: how long, and how much memory."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    begin = time.perf_counter()
    engine = GpuEngine(size)
    seconds = time.perf_counter() - begin
    return engine, {
        "seconds": rounded(seconds),
        "bytes": free - torch.cuda.mem_get_info()[0],
        "bytes of the slots": engine.slots.octets,
        "name": engine.name,
    }


def cameras_ms() -> float:
    """Of the host for one view's camera."""
    begin = time.perf_counter()
    for k in range(200):
        viewpoint_camera(Viewpoint(yaw=k / 10), 0.75, 512)
    return rounded((time.perf_counter() - begin) * 5)
