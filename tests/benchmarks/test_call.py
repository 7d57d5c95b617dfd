"""The call benchmark in short, with an engine that draws a bar: that every figure is there and can
be trusted, and a call of a minute. Nothing asks here how fast anything is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from benchmarks import (
    call_avatar,
    call_camera,
    call_cpu,
    call_delay,
    call_report,
    call_soak,
    call_stamp,
    call_terms,
)
from benchmarks.call_delay import Sample
from benchmarks.call_engines import FILM_FRAMES, SIZE
from benchmarks.call_run import Run, Server, serving
from stream.offline import read_portrait
from tests.browser.chromium import open_browser

SECONDS = 3.0
SOAK_MINUTES = 1.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    film = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    call_camera.write_film(film, read_portrait("demo"))
    with open_browser(film) as browser:
        yield browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving("benchmarks.call_server", ("--engine", "bar"), tmp_path / "server.log") as server:
        yield server


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Server]:
    with serving("benchmarks.call_stock", ("--engine", "bar"), tmp_path / "stock.log") as server:
        yield server


def check_sample(sample: Sample) -> None:
    """That frames came, each with its viewpoint, and that each could be followed on its way."""
    found = call_delay.summary([sample])
    assert found["presented_fps"] > 0
    assert found["frames"] > 0
    assert found["frames_whose_number_could_not_be_read"] < found["frames"] / 5
    assert found["motion_to_photon_ms"]["count"] > found["frames"] / 5
    assert 0 < found["motion_to_photon_ms"]["p50"] <= found["motion_to_photon_ms"]["p95"]
    terms = call_terms.table([sample])
    assert terms["frames"] > 0
    whole = sum(terms[name]["mean"] for name in call_terms.TERMS)
    assert whole == pytest.approx(terms["sum"]["mean"], abs=0.2)
    for name in ("tick", "render", "encode", "decode"):
        assert terms[name]["p50"] >= 0, name
    # One machine, one clock: nothing arrives before it was sent.
    assert min(terms["least_of_channel_and_network_ms"]) > -1


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_motion_to_photon_of_both_servers(browser: Browser, server: Server, stock: Server) -> None:
    ways = [
        call_delay.ours(server),
        call_delay.stock(stock, "h264"),
        call_delay.stock(stock, "vp8"),
    ]
    samples = call_delay.compare(browser, ways, 1, SECONDS, print)
    assert list(samples) == [way.name for way in ways]
    for visits in samples.values():
        check_sample(visits[0])
    mine = samples["visavis"][0]
    # The page knows what a frame shows from a message, the benchmark from its pixels.
    assert mine.own is not None and mine.own["count"] > 0
    same, other = call_delay.agreeing(mine)
    assert same > 0 and other <= same / 10


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_processor_time_of_both_servers(browser: Browser, tmp_path: Path) -> None:
    film = tmp_path / "film.npy"
    np.save(film, moving_film())
    arguments = ("--engine", "film", "--film", f"{film}", "--no-stamp")
    with (
        serving("benchmarks.call_server", (*arguments, "--move"), tmp_path / "server.log") as ours,
        serving("benchmarks.call_stock", arguments, tmp_path / "stock.log") as stock,
    ):
        ways = [call_delay.ours(ours), call_delay.stock(stock, "h264")]
        found = call_cpu.compare(browser, ways, 1, SECONDS, print)
    for name, row in found.items():
        assert row["frames"] > 0 and row["frames_per_second"] > 0, name
        assert 0 < row["cpu_ms_per_frame"] < 1000, name
        assert 0 < row["encode_own_thread_cpu_ms"] <= row["cpu_ms_per_frame"], name


def moving_film() -> Any:
    """A light bar that wanders over noise. uint8 [N, 384, 256]"""
    noise = np.random.default_rng(5).integers(60, 120, (SIZE * 3 // 2, SIZE), np.uint8)
    film = np.repeat(noise[None], FILM_FRAMES, axis=0)
    for index, frame in enumerate(film):
        left = round((1 + math.sin(2 * math.pi * index / FILM_FRAMES)) * SIZE * 0.4)
        frame[:SIZE, left : left + SIZE // 8] = 220
    return film


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_a_live_avatar_is_followed_from_the_camera(browser: Browser, server: Server) -> None:
    sample, caller = call_avatar.measure(browser, server, SECONDS)
    check_sample(sample)
    found = call_avatar.summary(sample, caller)
    assert found["relifts_per_second"] > 0
    assert found["avatars_joined"] > 0
    stations = [found[name]["p50"] for name in ("to_the_follower_ms", "camera_to_avatar_ms")]
    assert 0 < stations[0] <= stations[1] < call_avatar.AGE_LIMIT * 1e3


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_a_two_way_call(browser: Browser, server: Server) -> None:
    bounds = call_soak.Bounds(memory=60, delay=500, fps=0.0)
    found = call_soak.soak(browser, server, SOAK_MINUTES, print, bounds)
    assert len(found["readings"]) == call_soak.FEW
    for reading in found["readings"]:
        assert reading["fps"] > 0, found
        assert reading["relifts_per_second"] > 0, found
        assert reading["motion_to_photon_p50_ms"] is not None, found
    assert found["steady"], found


@pytest.mark.parametrize("number", [0, 1, 2730, call_stamp.NUMBERS - 1])
@pytest.mark.parametrize("shape", [(40, 320), (40, 320, 3)])
def test_a_number_in_the_pixels_comes_back(number: int, shape: tuple[int, ...]) -> None:
    picture = np.full(shape, 90, np.uint8)
    assert call_stamp.read(picture, 20) is None
    call_stamp.stamp(picture, number, 20)
    noisy = picture + np.random.default_rng(number).normal(0, 12, shape)
    assert call_stamp.read(np.clip(noisy, 0, 255).astype(np.uint8), 20) == number


@pytest.mark.parametrize("light", [0, 255])
def test_a_picture_without_a_number_has_none(light: int) -> None:
    assert call_stamp.read(np.full((40, 320), light, np.uint8), 20) is None


def test_numbers_go_on_after_the_last() -> None:
    assert call_stamp.unwrapped(3, 4095) == 4099
    assert call_stamp.unwrapped(4095, 4097) == 4095


def readings(memory: list[float], delay: list[float], fps: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "minute": float(number),
            "rss_mb": memory[number],
            "motion_to_photon_p50_ms": delay[number],
            "fps": fps[number],
            "tasks": 30,
            "threads": 15,
        }
        for number in range(len(memory))
    ]


STEADY = [25.0] * 10


@pytest.mark.parametrize(
    ("memory", "delay", "fps", "fault"),
    [
        ([100.0] * 10, STEADY, STEADY, None),
        ([100.0 + 30 * (number > 7) for number in range(10)], STEADY, STEADY, "memory"),
        ([100.0 + 30 * (number > 2) for number in range(10)], STEADY, STEADY, None),
        ([100.0] * 10, [25.0 + 4 * number for number in range(10)], STEADY, "delay"),
        ([100.0] * 10, STEADY, [*STEADY[:-1], 3.0], "fps"),
    ],
)
def test_what_counts_as_growth(
    memory: list[float], delay: list[float], fps: list[float], fault: str | None
) -> None:
    found = call_soak.verdict(readings(memory, delay, fps), 5.0, call_soak.Bounds())
    assert found["steady"] is (fault is None)
    assert [name for name, well in found["steady_in"].items() if not well] == [fault] * bool(fault)


def test_targets_say_whether_they_are_reached() -> None:
    results: dict[str, Any] = {
        call_report.DELAY: {
            "ways": {"visavis": {"motion_to_photon_ms": {"p50": 30.0, "p95": 90.0}}},
            "ratios": {"stock aiortc, H264": 0.4},
        },
        call_report.LIVE: {"not measured": "no camera"},
    }
    results["targets"] = call_report.judge(results)
    verdicts = {name: row["verdict"] for name, row in results["targets"].items()}
    assert verdicts["motion to photon, p50"] == "reached"
    assert verdicts["motion to photon, p95"] == "not reached"
    assert verdicts["motion to photon, p50 against stock aiortc, H264"] == "reached"
    assert verdicts["camera to avatar, p50"] == "not measured"
    printed = call_report.text(results)
    assert "not reached  motion to photon, p95: 90 (target <= 70 ms)" in printed
    assert "no camera" in printed


def test_raw_frames_are_said_beside_the_delay() -> None:
    visavis = {"motion_to_photon_ms": {"p50": 30.0, "p95": 60.0}, "raw_share": 0.5}
    results: dict[str, Any] = {call_report.DELAY: {"ways": {"visavis": visavis}, "ratios": {}}}
    assert "50 %" in call_report.judge(results)["motion to photon, p50"]["note"]


def test_a_part_that_fails_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.call_run.yardstick", lambda: SimpleNamespace())
    run = Run()
    run.part("first", lambda: 1 / 0)
    run.part("second", dict)
    assert run.results["first"]["not measured"] == "ZeroDivisionError: division by zero"
    assert "not measured" not in run.results["second"]
