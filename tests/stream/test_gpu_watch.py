"""The thread that watches the GPUs: what others are given, whatever the driver does."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pynvml
import pytest

from stream import gpu_watch
from stream.gpu_watch import GpuWatch
from tests.stream.fake_nvml import Device, FakeNvml

LOST = pynvml.NVML_ERROR_GPU_IS_LOST


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A driver of one GPU."""
    nvml = FakeNvml(Device())
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    return nvml


@contextmanager
def watching(interval: float = 0.01, retry: float = 0.03) -> Iterator[GpuWatch]:
    watch = GpuWatch(interval, retry)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_before_the_first_look() -> None:
    assert GpuWatch().load().in_words() == "not available: the driver has not been asked yet"


def test_the_newest_load_comes_from_a_thread_of_its_own(nvml: FakeNvml) -> None:
    with watching() as watch:
        wait(lambda: watch.load().available)
        nvml.devices[0].utilisation = 3
        wait(lambda: watch.load().gpus[0].utilisation == 3)
        watch.load()
    assert nvml.threads == {"gpu-watch"}
    assert nvml.opened == 0, "the driver is let go of"


def test_a_gpu_that_vanishes_is_looked_for_less_often(
    nvml: FakeNvml, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with watching(retry=0.2) as watch:
        wait(lambda: watch.load().available)
        nvml.devices[0].lost = LOST
        wait(lambda: not watch.load().available)
        assert watch.load().in_words() == "not available: GPU 0: GPU is lost"
        first, begin = nvml.openings, time.monotonic()
        wait(lambda: nvml.openings >= first + 3)
        assert time.monotonic() - begin > 0.2, "it was asked as often as one that answers"
        nvml.devices[0].lost = None
        wait(lambda: watch.load().available)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "GPU load: not available: GPU 0: GPU is lost."),
        ("INFO", "GPU load: available."),
    ]


def test_one_of_two_comes_back_while_the_other_is_watched(nvml: FakeNvml) -> None:
    nvml.devices.append(Device(lost=LOST))
    with watching() as watch:
        wait(lambda: len(watch.load().gpus) == 1)
        nvml.devices[1].lost = None
        wait(lambda: len(watch.load().gpus) == 2)
        assert watch.load().reason is None


def test_a_machine_without_a_driver_is_not_worth_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with watching() as watch:
        wait(lambda: "installed" in watch.load().in_words())
    assert caplog.records == []


def test_a_driver_that_hangs(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_watch, "STALE", 0.1)
    monkeypatch.setattr(gpu_watch, "STOP_TIMEOUT", 0.1)
    hanging, answer = threading.Event(), threading.Event()
    with watching() as watch:
        wait(lambda: watch.load().available)

        def hang() -> None:
            hanging.set()
            answer.wait(20)

        nvml.before = hang
        wait(lambda: not watch.load().available)
        assert "the driver has not answered for" in watch.load().in_words()
        assert hanging.is_set()
    assert watch._thread.daemon and watch._thread.is_alive(), "nobody waits for it"
    answer.set()
    wait(lambda: not watch._thread.is_alive())
