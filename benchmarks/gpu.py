"""Checks and then times the GPU engine; writes benchmarks/results/GPU.json and prints a table.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --minutes 3 --sizes 512

Checks come first: kernels against float64 references with new random inputs, graphs against eager
work, poisoned outputs. Times are medians between events around replays of graphs, after a warm-up.
Each kernel stands beside two times that nothing can go below: its bytes over the bandwidth and its
operations over the peak, both measured in the same run. Where there is no GPU, what can be checked
without one is, and every other figure says so.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_checks, gpu_kernels, gpu_rivals, gpu_times
from benchmarks.gpu_report import table
from benchmarks.gpu_run import RESULTS, Run, machine
from benchmarks.gpu_scenes import BenchPortrait, bench_portrait
from models.gpu_engine import GpuEngine

SIZES = (512, 256, 1024)
"""In this order: the targets are set at 512."""

ENGINE_CHECKS = {
    "graphs against eager": gpu_checks.graphs_against_eager,
    "32 receivers against each alone": gpu_checks.alone_and_together,
    "no allocation, no synchronisation": gpu_checks.steady_state,
    "engine against the CPU": gpu_checks.engine_against_cpu,
}


def checks(run: Run) -> None:
    """What needs no engine."""
    run.step("check: kernels on the CPU", gpu_checks.cpu_kernels, gpu=False)
    run.step("check: kernels compile", gpu_checks.compiles, gpu=False)
    run.step("check: batch rasteriser", gpu_checks.gpu_batch_splat)
    run.step("check: splatting and its gradients", gpu_checks.gpu_splat_gradients)
    run.step("check: refiner's input", gpu_checks.gpu_refiner_input)
    run.step("check: views blended with the portrait", gpu_checks.gpu_blending)
    run.step("check: I420 and NV12", gpu_checks.gpu_i420)


def kernels(run: Run) -> None:
    rates = run.step("limits", gpu_times.limits)

    def with_rates(work: Any) -> Any:
        if rates is None:
            raise gpu_checks.NotMeasured("the limits were not measured")
        return work(rates)

    run.step("rasteriser", lambda: with_rates(gpu_times.rasteriser))
    run.step("kernels of splatting", lambda: with_rates(gpu_kernels.of_splatting))
    run.step("refiner's input", lambda: with_rates(gpu_times.reading))
    run.step("blending with the portrait", lambda: with_rates(gpu_times.blending))
    run.step("conversion", lambda: with_rates(gpu_times.conversion))


def engine_of(run: Run, size: int, portrait: BenchPortrait) -> None:
    """All that is measured with one engine."""
    held: list[GpuEngine] = []

    def begin() -> Any:
        engine, facts = gpu_times.start(size)
        held.append(engine)
        return facts

    run.step(f"start at {size}", begin, needs=40)
    if not held:
        of_engine = [f"{name} at {size}" for name in ("lift", "chain", "receivers")]
        if size == SIZES[0]:
            of_engine += ["refiner", *(f"check: {name}" for name in ENGINE_CHECKS)]
        run.results |= dict.fromkeys(of_engine, run.results[f"start at {size}"])
        return
    engine = held.pop()
    try:
        avatar = engine.lift(portrait)
        if size == SIZES[0]:
            for name, check in ENGINE_CHECKS.items():
                run.step(f"check: {name}", lambda check=check: check(engine, avatar, portrait))
        run.step(f"lift at {size}", lambda: gpu_times.lift(engine, portrait))
        rows = run.step(f"chain at {size}", lambda: gpu_times.chain(engine, avatar))
        if rows:
            run.results[f"receivers at {size}"] = {
                column: gpu_times.receivers(rows, column)
                for column in rows[0]
                if column.endswith(", ms")
            }
        if size == SIZES[0]:
            rates = run.figure("limits")
            run.step("refiner", lambda: gpu_times.refiner(engine, rates))
            for batch in (1, 16):
                run.step(
                    f"kernels of {batch} at {size}",
                    lambda batch=batch: gpu_kernels.of_graph(engine, avatar, batch, rates),
                )
            run.step("compiled", lambda: gpu_rivals.compiled_refiner(engine), needs=150)
    finally:
        engine.close()


def measure(run: Run, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(torch.seed())
    if run.problem is not None:
        print(f"No GPU: {run.problem}.")
    run.results |= {"machine": machine(), "no gpu": run.problem, "seed": torch.initial_seed()}
    checks(run)
    kernels(run)
    portrait = bench_portrait()
    run.results["portrait"] = portrait.origin
    for size in sizes:
        engine_of(run, size, portrait)
    run.step("camera on the host, ms", gpu_times.cameras_ms, gpu=False)
    kind = torch.bfloat16
    run.step("SD-Turbo", lambda: gpu_rivals.sd_turbo(512, kind), needs=40)
    # Last: both may take minutes, one to compile and one to be watched.
    run.step("gsplat", gpu_rivals.gsplat_rasteriser, needs=90)
    run.step("check: sanitizers", lambda: gpu_checks.sanitized(run.left - 10), needs=60)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=7.5, help="at most (default: 7.5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="of the pictures")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    run = Run(60 * options.minutes)
    measure(run, tuple(options.sizes))
    print(table(run, tuple(options.sizes)))
    print(run.write(options.output))
    failed = [
        name
        for name, result in run.results.items()
        if name.startswith("check: ") and "CheckFailed" in str(result)
    ]
    if failed:
        raise SystemExit(f"{len(failed)} checks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
