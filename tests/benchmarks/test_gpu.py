"""The GPU benchmark on a machine without a GPU, and its books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_checks
from benchmarks.gpu_report import table
from benchmarks.gpu_run import NO_GPU, NotMeasured, Run, rounded
from benchmarks.gpu_scenes import bench_portrait, random_discs
from benchmarks.gpu_times import beside_limits, receivers
from models.gpu_engine import GpuEngine
from tests.cuda_kernels.emulation import emulated


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two would wait for each other where other programs have the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("benchmarks.gpu_run.gpu_problem", lambda: "there is none")
    return Run(60)


def test_without_a_gpu_every_figure_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "compiles", dict)  # takes seconds; tested with the kernels
    gpu.measure(run, (512, 256))
    for name in (
        "limits",
        "rasteriser",
        "refiner's input",
        "blending with the portrait",
        "conversion",
        "chain at 512",
        "receivers at 256",
        "gsplat",
        "SD-Turbo",
    ):
        assert run.results[name] == {"not measured": NO_GPU}, name
    assert run.figure("check: kernels on the CPU", "splat", "largest") is not None
    printed = table(run, (512, 256))
    assert "| kernels on the CPU | passed |" in printed
    assert f"| lift | not measured: {NO_GPU} | <= 2 ms |" in printed
    assert "None" not in printed


def test_results_are_written_under_the_gpus_name(run: Run, tmp_path: Path) -> None:
    run.step("sum", lambda: 1 + 1, gpu=False)
    path = run.write(tmp_path / "results")
    assert path.name == "no-gpu.json"
    assert json.loads(path.read_text())["sum"] == 2


def test_a_figure_that_fails_does_not_cost_the_others(run: Run) -> None:
    def fail() -> Any:
        raise RuntimeError("broken\nin two lines")

    def missing() -> Any:
        raise NotMeasured("it is not installed")

    assert run.step("one", fail, gpu=False) is None
    assert run.step("two", missing, gpu=False) is None
    assert run.step("three", lambda: 3, gpu=False) == 3
    assert run.results["one"] == {"not measured": "RuntimeError: broken"}
    assert run.results["two"] == {"not measured": "it is not installed"}
    assert run.figure("one", "not measured", "more") is None


def test_what_would_end_too_late_is_left_out(run: Run) -> None:
    assert run.step("long", lambda: 1, gpu=False, needs=61) is None
    assert run.results["long"] == {"not measured": "no time was left"}


def test_a_failed_check_shows(run: Run) -> None:
    run.step("check: sums", lambda: gpu_checks.expect(1 + 1 == 3, "off by 1"), gpu=False)
    assert "| sums | FAILED: off by 1 |" in table(run, (512,))


def test_a_time_stands_beside_its_limits() -> None:
    rates = {"bytes per second": 1e12, "float32 operations per second": 5e13}
    row = beside_limits(0.01, 4e9 / 1e3, 1e8, rates, "float32")
    assert row["limit of bytes, ms"] == pytest.approx(0.004)
    assert row["limit of operations, ms"] == pytest.approx(0.002)
    assert row["part of the limit"] == pytest.approx(0.4)
    assert rounded(0.123456) == 0.1235


def test_receivers_are_counted_in_the_best_batch() -> None:
    rows = [{"receivers": 1, "ms": 2.0}, {"receivers": 8, "ms": 4.0}, {"receivers": 32, "ms": 30.0}]
    assert receivers(rows, "ms") == 64


def test_discs_are_new_at_every_call() -> None:
    first, second = (random_discs(3, 2, 10, 32, 32) for _ in range(2))
    assert not torch.equal(first.means, second.means)
    assert first.counts[-1] == 0 and first.slots.max() < 2


def test_nan_is_infinitely_far() -> None:
    assert gpu_checks.apart(torch.tensor([0.0, torch.nan]), torch.zeros(2))["largest"] == torch.inf


def test_checks_of_the_kernels_run_by_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "cuda", lambda: torch.device("cpu"))
    with emulated("shuffled"):
        assert set(gpu_checks.gpu_batch_splat()) == {"56x48", "64x64"}
        assert set(gpu_checks.gpu_refiner_input()) == {"float32", "bfloat16"}
        assert set(gpu_checks.gpu_blending()) == {"float32", "bfloat16"}
        assert set(gpu_checks.gpu_i420()) == {"I420", "NV12"}


def test_checks_of_the_engine_run_on_its_way_of_working() -> None:
    portrait = bench_portrait()
    engine = GpuEngine(64, slots=2, batches=(1, 4), device="cpu", dtype=torch.bfloat16)
    avatar = engine.lift(portrait)
    gaps = gpu_checks.graphs_against_eager(engine, avatar, portrait)
    assert len(gaps) == 6 and not any(gap["largest"] for gap in gaps.values())
    assert gpu_checks.alone_and_together(engine, avatar, portrait)["largest"] <= 2
    decibels = gpu_checks.engine_against_cpu(engine, avatar, portrait)["decibels"]
    assert min(decibels.values()) > 45  # bfloat16 against float32
    replay = engine._graphs[4].replays
    quality = next(iter(replay))
    replay[quality] = lambda: None
    with pytest.raises(gpu_checks.CheckFailed, match="x 4: off by"):
        gpu_checks.graphs_against_eager(engine, avatar, portrait)
