"""What is read of GPUs, and what is said when a driver does not tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from stream.gpu_load import LOOK_BACK, Gpu, GpuReader
from tests.stream.fake_nvml import GIGA, Device, FakeNvml

FIGURES = {
    # the driver's function: the figures that come from it
    "nvmlDeviceGetUtilizationRates": {"utilisation"},
    "nvmlDeviceGetMemoryInfo": {"memory_used", "memory_total"},
    "nvmlDeviceGetTemperature": {"temperature"},
    "nvmlDeviceGetPowerUsage": {"power"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit"},
    "nvmlDeviceGetEncoderUtilization": {"encoder"},
    "nvmlDeviceGetCurrentClocksEventReasons": {"slowed"},
    "nvmlDeviceGetComputeRunningProcesses": {"own_memory", "own_utilisation"},
    "nvmlDeviceGetProcessUtilization": {"own_utilisation"},
}
ALL = {name for names in FIGURES.values() for name in names}


def install(monkeypatch: pytest.MonkeyPatch, *devices: Device) -> FakeNvml:
    nvml = FakeNvml(*devices)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    return nvml


def known(gpu: Gpu) -> set[str]:
    return {name for name in ALL if getattr(gpu, name) is not None}


def test_every_figure_in_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Device(reasons=0x1 | 0x4 | 0x20))
    load = GpuReader().read()
    assert (load.available, load.reason, load.driver) == (True, None, "580.95.05")
    assert load.gpus == (
        Gpu(
            index=0,
            name="NVIDIA H200",
            utilisation=62.0,
            memory_used=11 * GIGA,
            memory_total=140 * GIGA,
            temperature=54.0,
            power=310.5,
            power_limit=700.0,
            encoder=12.0,
            slowed=("power_cap", "thermal_software"),
            own_memory=3 * GIGA,
            own_utilisation=40.0,
        ),
    )
    assert load.gpus[0].in_words() == (
        "62 % busy, 11.0 of 140.0 GB used, 54 °C, 310 of 700 W, encoder 12 %, "
        "slowed by power cap, thermal software"
    )


def test_an_idle_gpu_is_not_slowed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Device(reasons=pynvml.nvmlClocksEventReasonGpuIdle))
    assert GpuReader().read().gpus[0].slowed == ()


@pytest.mark.parametrize("function", FIGURES)
@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_UNKNOWN,
        pynvml.NVML_ERROR_NO_DATA,
    ],
)
def test_a_figure_that_is_refused_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, function: str, error: int
) -> None:
    install(monkeypatch, Device(failing={function: error}))
    load = GpuReader().read()
    assert load.available and load.reason is None
    assert known(load.gpus[0]) == ALL - FIGURES[function]
    (why,) = load.gpus[0].lacking.values()
    assert why == str(pynvml.NVMLError(error)) and "\n" not in why


def test_a_driver_that_knows_the_older_name_of_the_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"nvmlDeviceGetCurrentClocksEventReasons": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    install(monkeypatch, Device(failing=missing, reasons=0x40))
    assert GpuReader().read().gpus[0].slowed == ("thermal_hardware",)


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_UNKNOWN,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_UNINITIALIZED,
    ],
)
def test_a_gpu_that_vanishes_and_comes_back(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    nvml = install(monkeypatch, Device())
    reader = GpuReader()
    assert reader.read().available
    nvml.devices[0].lost = error
    for _ in range(3):
        load = reader.read()
        assert not load.available and load.gpus == ()
        assert str(pynvml.NVMLError(error)) in load.in_words()
        assert load.in_words().startswith("not available: ") and "\n" not in load.in_words()
    nvml.devices[0].lost = None
    load = reader.read()
    assert load.available and load.reason is None
    reader.close()
    assert nvml.opened == 0


@pytest.mark.parametrize("function", FIGURES)
def test_a_lost_gpu_is_lost_whatever_else_it_tells(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    install(monkeypatch, Device(failing={function: pynvml.NVML_ERROR_GPU_IS_LOST}))
    assert GpuReader().read().in_words() == "not available: GPU 0: GPU is lost"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not available: Driver Not Loaded"),
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "not available: NVML Shared Library Not Found"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "not available: Insufficient Permissions"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "RM has detected an NVML/RM version mismatch"),
        (pynvml.NVML_ERROR_DEPRECATED, "NVML Error with code 26"),
    ],
)
def test_a_driver_that_fails(monkeypatch: pytest.MonkeyPatch, error: int, words: str) -> None:
    nvml = install(monkeypatch, Device())
    nvml.down = error
    reader = GpuReader()
    assert words in reader.read().in_words()
    nvml.down = None
    assert reader.read().in_words() == "available"
    nvml.down = error  # and once it was there
    load = reader.read()
    assert not load.available and words.removeprefix("not available: ") in load.in_words()


def test_what_nobody_foresaw_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install(monkeypatch, Device())

    def fails() -> None:
        raise OSError("two\nlines")

    nvml.before = fails
    assert GpuReader().read().in_words() == "not available: two lines"


def test_one_gpu_of_two_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install(monkeypatch, Device(), Device(utilisation=7))
    reader = GpuReader()
    assert [gpu.index for gpu in reader.read().gpus] == [0, 1]
    nvml.devices[0].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    for _ in range(2):
        load = reader.read()
        assert [(gpu.index, gpu.utilisation) for gpu in load.gpus] == [(1, 7.0)]
        assert load.in_words() == "available, but GPU 0: GPU is lost"
        reader.close()  # the second time it is lost before it is found
    nvml.devices[0].lost = None
    assert [gpu.index for gpu in reader.read().gpus] == [0, 1]


def test_no_gpu_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert GpuReader().read().in_words() == "not available: there is no GPU"


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuReader().read().in_words() == "not available: nvidia-ml-py is not installed"


def test_a_process_that_the_driver_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Device(processes={1: 7}))
    load = GpuReader().read()
    assert (load.gpus[0].own_memory, load.gpus[0].own_utilisation) == (None, None)
    assert load.own == () and load.gpus[0].lacking == {}


def test_the_share_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install(monkeypatch, Device())
    (device,), reader, own = nvml.devices, GpuReader(), os.getpid()

    def share() -> Any:
        return reader.read().gpus[0].own_utilisation

    assert share() == 40.0
    device.samples = [(own, 9_000_000, 10), (own, 8_000_000, 90), (1, 9_000_000, 80)]
    assert share() == 10.0, "the newest counts"
    device.samples = [(own, 9_500_000, 2**32 - 1)]
    assert share() == 0.0, "no process has more than all"
    device.samples = []
    assert share() == 0.0, "nobody uses the GPU"
    assert nvml.asked_from == [0, *(at - LOOK_BACK for at in (5_000_000, 9_000_000, 9_500_000))]


def driver_is_there() -> bool:
    try:
        pynvml.nvmlInit()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return False
    return True


def test_this_machine_as_it_is() -> None:
    """In a process of its own, with nothing replaced."""
    code = "from stream.gpu_load import GpuReader; print(GpuReader().read().in_words())"
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    if driver_is_there():
        assert run.stdout.startswith("available")
    else:
        assert run.stdout.startswith("not available: ") and len(run.stdout.splitlines()) == 1
