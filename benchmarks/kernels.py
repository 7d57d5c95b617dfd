"""Times the kernels on the CPU and prints JSON.

    python -m benchmarks.kernels
    python -m benchmarks.kernels --prototype FOLDER/rast.cpp

The second also times another rasteriser, frame by frame in the same run, and prints how many times
as fast ours is. The scene is an ellipsoid head before a wall, one disc per pixel of a square grid;
the camera swings from -20 to 20 degrees. A time is that of the whole call (project, sort, bin,
composite): CPU time where one thread works, so that a busy machine matters less, else wall time.
"""

import argparse
import ctypes
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cuda_kernels.i420 import rgb_to_i420
from cuda_kernels.splat import splat
from cuda_kernels.splatter import Splatter

FOCAL = 1.2  # in half picture widths
EPS2D = 0.3
NEAR = 0.1
DISTANCE = 2.45  # metres, of the point that the camera turns about


def head_and_wall(grid: int) -> dict[str, Tensor]:
    """Discs of a head 2.2 m away and of a wall behind it; also as quaternions and scales."""
    g = torch.Generator().manual_seed(0)
    u = (torch.arange(grid) + 0.5) / grid * 2 - 1
    y, x = (t.flatten() for t in torch.meshgrid(u, u, indexing="ij"))
    r2 = (x / 0.55) ** 2 + (y / 0.75) ** 2
    head = 2.2 - 0.45 * (1 - r2).clamp(min=0).sqrt()
    z = torch.where(r2 < 1, head, 2.9 + 0.05 * torch.sin(6 * x))
    n = len(z)
    means = torch.stack([x * z / FOCAL, y * z / FOCAL, z], -1)
    means = means + 0.002 * torch.randn(n, 3, generator=g)
    scales = (z / FOCAL * (1.2 / grid))[:, None] * torch.exp(0.25 * torch.randn(n, 3, generator=g))
    scales[:, 2] = 0  # a disc
    quats = 0.15 * torch.randn(n, 4, generator=g)
    quats[:, 0] += 1
    quats = quats / quats.norm(dim=-1, keepdim=True)
    w, a, b, c = quats.unbind(-1)
    first = torch.stack([1 - 2 * (b * b + c * c), 2 * (a * b + w * c), 2 * (a * c - w * b)], -1)
    second = torch.stack([2 * (a * b - w * c), 1 - 2 * (a * a + c * c), 2 * (b * c + w * a)], -1)
    colors = 0.5 + 0.4 * torch.stack([torch.sin(7 * x), torch.cos(5 * y), torch.sin(9 * x * y)], -1)
    opacities = (0.91 + 0.02 * torch.randn(n, generator=g)).clamp(0.01, 0.99)
    return {
        "means": means,
        "axes": torch.stack([first * scales[:, :1], second * scales[:, 1:2]], 1),
        "opacities": opacities,
        "colors": colors,
        "scales": scales,
        "quats": quats,
    }


def camera(degrees: float, width: int) -> tuple[Tensor, Tensor]:
    a = math.radians(degrees)
    R = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    centre = torch.tensor([0, 0, DISTANCE])
    E = torch.eye(4)
    E[:3, :3], E[:3, 3] = R, centre - R @ centre
    f = FOCAL * width / 2
    return E, torch.tensor([[f, 0, width / 2], [0, f, width / 2], [0, 0, 1]])


Rasteriser = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]


def prototype(source: Path, width: int, threads: int) -> Rasteriser:
    """The rasteriser of a C++ file with the function `rast`, compiled as its own benchmark does."""
    library = Path(tempfile.mkdtemp()) / "prototype.so"
    flags = "-O3 -march=native -ffast-math -fopenmp -shared -fPIC".split()
    subprocess.run(["g++", *flags, str(source), "-o", str(library)], check=True)
    rast = ctypes.CDLL(str(library)).rast
    out, times = torch.zeros(width, width, 5), torch.zeros(4, dtype=torch.float64)

    def pointer(t: Tensor) -> ctypes.c_void_p:
        return ctypes.c_void_p(t.data_ptr())

    def run(scene: dict[str, Tensor], E: Tensor, K: Tensor) -> Tensor:
        R, t = E[:3, :3].contiguous(), E[:3, 3].contiguous()
        gaussians = [scene[k] for k in ("means", "scales", "quats", "opacities", "colors")]
        focal = ctypes.c_float(float(K[0, 0]))
        rast(
            len(scene["means"]),
            *(pointer(t) for t in (*gaussians, R, t)),
            *(focal, width, width, pointer(out), threads, pointer(times)),
        )
        return out

    return run


def timed(threads: int, call: Callable[..., Tensor | None], *arguments: Any) -> tuple[float, Any]:
    """Milliseconds that a call takes, and its result."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    start = clock()
    result = call(*arguments)
    return 1e3 * (clock() - start), result


def summary(times: list[float]) -> dict[str, float]:
    sample = torch.tensor(times)
    return {
        "median_ms": round(float(sample.median()), 3),
        "p95_ms": round(float(sample.quantile(0.95)), 3),
        "least_ms": round(float(sample.min()), 3),
    }


def forward(
    grid: int, width: int, threads: int, repeats: int, other: Rasteriser | None
) -> dict[str, object]:
    """Frames of a swinging camera; where there is another rasteriser, the two take turns."""
    scene = head_and_wall(grid)
    gaussians = [scene[k] for k in ("means", "axes", "opacities", "colors")]
    splatter = Splatter(
        grid * grid, width, width, channels=3, eps2d=EPS2D, near=NEAR, threads=threads
    )
    ours, theirs = [], []
    difference = 0.0
    for k in range(-3, repeats):  # three to warm up
        E, K = camera(-20 + 40 * max(k, 0) / max(repeats - 1, 1), width)
        spent, picture = timed(threads, splatter.render, *gaussians, E, K)
        ours.append(spent)
        if other is not None:
            spent, expected = timed(threads, other, scene, E, K)
            theirs.append(spent)
            gap = (picture[:3].permute(1, 2, 0) - expected[..., :3]).abs().flatten()
            difference = max(difference, float(gap.quantile(0.99)))
    result: dict[str, object] = {
        "kernel": "splat forward",
        "gaussians": grid * grid,
        "size": width,
        "threads": threads,
        **summary(ours[3:]),
        "left_out": splatter.left_out,
    }
    if other is not None:
        pairs = sorted(b / a for a, b in zip(ours[3:], theirs[3:], strict=True))
        result["prototype"] = summary(theirs[3:])
        result["times_as_fast"] = round(pairs[len(pairs) // 2], 2)
        result["difference_q99"] = round(difference, 6)
    return result


def training(grid: int, width: int, threads: int, repeats: int) -> dict[str, object]:
    """Two sets with two views each, four channels, forward and backward, per view."""
    scene = head_and_wall(grid)
    colors = torch.cat([scene["colors"], scene["colors"][:, :1]], -1)
    leaves = [scene["means"], scene["axes"], scene["opacities"], colors]
    leaves = [t[None].repeat(2, *(1 for _ in t.shape)).requires_grad_() for t in leaves]
    cameras = [camera(degrees, width) for degrees in (-15.0, 15.0)]
    E = torch.stack([e for e, _ in cameras])[None].repeat(2, 1, 1, 1)
    K = torch.stack([k for _, k in cameras])[None].repeat(2, 1, 1, 1)
    there, back = [], []
    for _ in range(repeats + 1):
        spent, pictures = timed(
            threads, lambda: splat(*leaves, E, K, width, width, threads=threads)
        )
        there.append(spent / 4)
        back.append(timed(threads, pictures.sum().backward)[0] / 4)
    return {
        "kernel": "splat forward and backward, per view of 2 x 2",
        "gaussians": grid * grid,
        "size": width,
        "threads": threads,
        "forward": summary(there[1:]),
        "backward": summary(back[1:]),
    }


def conversion(width: int, dtype: torch.dtype, last: bool, repeats: int) -> dict[str, object]:
    layout = torch.channels_last if last else torch.contiguous_format
    rgb = torch.rand(1, 3, width, width).to(dtype).contiguous(memory_format=layout)
    out = torch.empty(1, width * 3 // 2, width, dtype=torch.uint8)
    times = [timed(1, lambda: rgb_to_i420(rgb, out=out))[0] for _ in range(repeats + 3)]
    return {
        "kernel": "rgb to i420",
        "size": width,
        "input": str(dtype).removeprefix("torch.") + (" channels last" if last else " planes"),
        **summary(times[3:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels on the CPU; prints JSON.")
    parser.add_argument("--prototype", type=Path, help="another rasteriser's C++ file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="65,536 discs at 256 x 256 alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    rows = [(256, 256)] if options.quick else [(128, 256), (256, 256), (256, 512), (362, 512)]
    results = []
    for grid, width in rows:
        other = prototype(options.prototype, width, options.threads) if options.prototype else None
        results.append(forward(grid, width, options.threads, options.repeats, other))
    if not options.quick:
        results.append(training(181, 128, options.threads, 5))
        results.append(training(256, 256, options.threads, 5))
        for dtype, last in ((torch.float32, False), (torch.bfloat16, True)):
            results.append(conversion(256, dtype, last, options.repeats))
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    print(json.dumps({"machine": machine, "results": results}, indent=2))


if __name__ == "__main__":
    main()
