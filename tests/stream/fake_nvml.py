"""Stands in for the module `pynvml` on a machine with GPUs, which few machines that test have.

Structures, constants and errors are the real module's; only what would go to the driver is here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

GIGA = 1024**3


@dataclass
class Device:
    """One GPU, in the driver's own units.

    Args:
        failing: function: the error code that it fails with.
        lost: the error code that everything fails with, or None.
        samples: what the driver has to say of processes' shares: (pid, microseconds, percent).
    """

    name: str = "NVIDIA H200"
    utilisation: int = 62
    used: int = 11 * GIGA
    total: int = 140 * GIGA
    temperature: int = 54
    milliwatts: int = 310_500
    limit: int = 700_000
    encoder: int = 12
    reasons: int = 0x4
    processes: dict[int, int | None] = field(default_factory=lambda: {os.getpid(): 3 * GIGA, 1: 7})
    samples: list[tuple[int, int, int]] = field(
        default_factory=lambda: [(os.getpid(), 5_000_000, 40), (1, 5_000_000, 22)]
    )
    failing: dict[str, int] = field(default_factory=dict)
    lost: int | None = None


class FakeNvml:
    """The module.

    Args:
        devices: of the machine.
    """

    def __init__(self, *devices: Device) -> None:
        self.devices = list(devices)
        self.down: int | None = None
        """The error code that the driver fails with altogether, or None."""
        self.before: Callable[[], None] = lambda: None
        """Called before each question, by the thread that asks."""
        self.opened = 0
        self.openings = 0
        self.threads: set[str] = set()
        self.asked_from: list[int] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("nvml") and name[4:5].isupper() and callable(getattr(pynvml, name)):
            raise AssertionError(f"the test's driver has no {name}")
        return getattr(pynvml, name)

    def _driver(self) -> None:
        self.before()
        self.threads.add(threading.current_thread().name)
        if self.down is not None:
            raise pynvml.NVMLError(self.down)

    def _ask(self, function: str, handle: Device) -> Device:
        self._driver()
        if not self.opened:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        error = handle.lost if handle.lost is not None else handle.failing.get(function)
        if error is not None:
            raise pynvml.NVMLError(error)
        return handle

    def nvmlInit(self) -> None:
        self._driver()
        self.opened += 1
        self.openings += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1
        self._driver()

    def nvmlSystemGetDriverVersion(self) -> str:
        self._driver()
        return "580.95.05"

    def nvmlDeviceGetCount(self) -> int:
        self._driver()
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:
        return self._ask("nvmlDeviceGetHandleByIndex", self.devices[index])

    def nvmlDeviceGetName(self, handle: Device) -> str:
        return self._ask("nvmlDeviceGetName", handle).name

    def nvmlDeviceGetUtilizationRates(self, handle: Device) -> Any:
        device = self._ask("nvmlDeviceGetUtilizationRates", handle)
        return pynvml.c_nvmlUtilization_t(gpu=device.utilisation, memory=3)

    def nvmlDeviceGetMemoryInfo(self, handle: Device) -> Any:
        device = self._ask("nvmlDeviceGetMemoryInfo", handle)
        free = device.total - device.used
        return pynvml.c_nvmlMemory_t(total=device.total, free=free, used=device.used)

    def nvmlDeviceGetTemperature(self, handle: Device, sensor: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._ask("nvmlDeviceGetTemperature", handle).temperature

    def nvmlDeviceGetPowerUsage(self, handle: Device) -> int:
        return self._ask("nvmlDeviceGetPowerUsage", handle).milliwatts

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Device) -> int:
        return self._ask("nvmlDeviceGetEnforcedPowerLimit", handle).limit

    def nvmlDeviceGetEncoderUtilization(self, handle: Device) -> list[int]:
        return [self._ask("nvmlDeviceGetEncoderUtilization", handle).encoder, 100_000]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Device) -> int:
        return self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle).reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Device) -> int:
        return self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle).reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Device) -> list[SimpleNamespace]:
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses", handle).processes
        # The real module, too, gives a plain object, with None where the system does not tell.
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes.items()]

    def nvmlDeviceGetProcessUtilization(self, handle: Device, since: int) -> list[Any]:
        device = self._ask("nvmlDeviceGetProcessUtilization", handle)
        self.asked_from.append(since)
        newer = [sample for sample in device.samples if sample[1] > since]
        if not newer:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        sample = pynvml.c_nvmlProcessUtilizationSample_t
        return [sample(pid=pid, timeStamp=at, smUtil=share) for pid, at, share in newer]
