"""The GPUs' load where people see it: /metrics, /healthz, the receivers' statistics, doctor."""

from __future__ import annotations

import functools
import json
import sys

import pynvml
import pytest

from stream import app, cli, doctor
from stream.findings import State
from stream.gpu_watch import GpuWatch
from tests.stream.conftest import Running, Start
from tests.stream.fake_nvml import GIGA, Device, FakeNvml
from tests.stream.peers import until
from tests.stream.test_gpu_load import driver_is_there


def install(monkeypatch: pytest.MonkeyPatch, *devices: Device) -> FakeNvml:
    nvml = FakeNvml(*devices)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    monkeypatch.setattr(app, "GpuWatch", functools.partial(GpuWatch, 0.02, 0.05))
    return nvml


async def samples(server: Running) -> dict[str, float]:
    """What /metrics says of GPUs."""
    lines = (await server.http.get("/metrics")).text.splitlines()
    split = [line.rsplit(" ", 1) for line in lines if line.startswith("visavis_gpu_")]
    return {name: float(value) for name, value in split}


async def test_metrics_have_units_and_labels(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    no_encoder = {"nvmlDeviceGetEncoderUtilization": pynvml.NVML_ERROR_NOT_SUPPORTED}
    install(monkeypatch, Device(), Device(failing=no_encoder, reasons=0))
    server = await start()
    await until(lambda: server.app.state.gpus.load().available, "the GPU")
    found = await samples(server)
    assert found["visavis_gpu_available"] == 1
    assert {name: value for name, value in found.items() if 'gpu="0"' in name and value} == {
        'visavis_gpu_utilisation_ratio{gpu="0"}': 0.62,
        'visavis_gpu_memory_used_bytes{gpu="0"}': 11 * GIGA,
        'visavis_gpu_memory_total_bytes{gpu="0"}': 140 * GIGA,
        'visavis_gpu_temperature_celsius{gpu="0"}': 54,
        'visavis_gpu_power_watts{gpu="0"}': 310.5,
        'visavis_gpu_power_limit_watts{gpu="0"}': 700,
        'visavis_gpu_encoder_utilisation_ratio{gpu="0"}': 0.12,
        'visavis_gpu_process_memory_bytes{gpu="0"}': 3 * GIGA,
        'visavis_gpu_process_utilisation_ratio{gpu="0"}': 0.4,
        'visavis_gpu_slowed{gpu="0",reason="power_cap"}': 1,
    }
    assert found['visavis_gpu_slowed{gpu="0",reason="thermal_hardware"}'] == 0
    second = [name for name in found if 'gpu="1"' in name]
    assert len(second) == len([name for name in found if 'gpu="0"' in name]) - 1
    assert not any("encoder" in name for name in second)
    assert (await server.http.get("/healthz")).json()["gpu"] == "available"


async def test_a_gpu_that_vanishes_in_a_call(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = install(monkeypatch, Device())
    server = await start(statistics_interval=0.1)
    receiver = await server.receiver(server.ready())
    await receiver.watch()

    def told() -> list[dict[str, object]]:
        return receiver.of_type("stats")[-1]["gpus"]  # type: ignore[no-any-return]

    await until(lambda: receiver.of_type("stats") and told(), "the GPU in the statistics")
    assert told() == [
        {
            "gpu": 0,
            "utilisation": 62.0,
            "memory_used": 11 * GIGA,
            "memory_total": 140 * GIGA,
            "temperature": 54.0,
            "power": 310.5,
            "power_limit": 700.0,
            "encoder": 12.0,
            "slowed": ["power_cap"],
        }
    ]
    nvml.devices[0].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    await until(lambda: told() == [], "the GPU to vanish")
    assert await samples(server) == {"visavis_gpu_available": 0}
    health = await server.http.get("/healthz")
    assert health.status_code == 200, "calls go on"
    assert health.json()["gpu"] == "not available: GPU 0: GPU is lost"
    count = receiver.count
    await until(lambda: receiver.count > count + 3, "more pictures")
    nvml.devices[0].lost = None
    await until(told, "the GPU to come back")
    assert (await samples(server))["visavis_gpu_available"] == 1


async def test_receivers_are_told_of_the_gpus_in_use(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Device(processes={}), Device())
    server = await start(statistics_interval=0.1)
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    stats = receiver.of_type
    await until(lambda: stats("stats") and stats("stats")[-1]["gpus"], "the GPU")
    assert [gpu["gpu"] for gpu in stats("stats")[-1]["gpus"]] == [1]


@pytest.mark.skipif(driver_is_there(), reason="this machine has a GPU")
async def test_this_machine_says_that_it_has_none(start: Start) -> None:
    """Nothing is replaced here."""
    server = await start(statistics_interval=0.1)
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    gpus = server.app.state.gpus
    await until(lambda: "asked" not in gpus.load().in_words(), "the first look")
    words = (await server.http.get("/healthz")).json()["gpu"]
    assert words.startswith("not available: ") and "\n" not in words
    assert await samples(server) == {"visavis_gpu_available": 0}
    await until(lambda: receiver.of_type("stats"), "statistics")
    assert receiver.of_type("stats")[-1]["gpus"] == []


def test_doctor_shows_the_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nvml = install(monkeypatch, Device(), Device(name="NVIDIA L4"))
    nvml.devices[1].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    monkeypatch.setattr("models.gpu_setup.gpu_problem", lambda: "cupy is not installed")
    found, lost, engine = doctor.graphics()
    assert (found.name, found.state, lost.state) == ("GPU 0", State.OK, State.NOTE)
    assert found.text.startswith(
        "NVIDIA H200, driver 580.95.05, 62 % busy, 11.0 of 140.0 GB used, 54 °C, 310 of 700 W"
    )
    assert found.facts["memory_total"] == 140 * GIGA and found.facts["temperature"] == 54
    assert lost.text == "not available: GPU 1: GPU is lost"
    assert engine.text == "the processor does the work: cupy is not installed"
    monkeypatch.setattr("models.gpu_setup.gpu_problem", lambda: None)
    assert doctor.graphics()[-1].state is State.OK
    assert nvml.opened == 0
    assert cli.main(["doctor", "--json"]) == 0
    machine = json.loads(capsys.readouterr().out)["machine"]
    assert [finding["name"] for finding in machine][-3:] == ["GPU 0", "GPU", "GPU engine"]


def test_doctor_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch).down = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    (finding,) = doctor.graphics()
    assert finding.state is State.NOTE
    assert finding.text == "not available: Driver Not Loaded; the processor does the work"
