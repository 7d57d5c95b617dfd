"""What the GPUs are doing, as NVML tells: the driver's own library, through nvidia-ml-py.

Nothing here fails for what a driver does. A figure that cannot be had is None, with the reason
beside it; a GPU that cannot be had is left out, and `GpuLoad.reason` says why.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

GIGA = 1024**3

SLOWED = {
    # bit of nvmlClocksEventReason*: name. That a GPU is idle (bit 0) does not slow anything.
    0x002: "clock_setting",
    0x004: "power_cap",
    0x008: "hardware_slowdown",
    0x010: "sync_boost",
    0x020: "thermal_software",
    0x040: "thermal_hardware",
    0x080: "power_brake",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Why a GPU's clocks may be held down."""

LOOK_BACK = 2_000_000
"""Microseconds before the newest sample from which processes' shares are asked for: the driver
takes them now and then, and has none for an interval that is too short."""

UNHEARD = "the driver has not been asked yet"


@dataclass(frozen=True)
class Gpu:
    """One GPU at one moment. What the driver does not tell is None.

    Args:
        index: as NVML counts, from 0; CUDA_VISIBLE_DEVICES changes nothing.
        name: the product's.
        utilisation: percent of the last second or less in which any kernel ran.
        memory_used: bytes, of all processes and of the driver.
        memory_total: bytes.
        temperature: degrees Celsius.
        power: watts.
        power_limit: watts.
        encoder: percent of the time in which the video encoder worked.
        slowed: why its clocks are held down, names of `SLOWED`; empty if they are not.
        own_memory: bytes that this process holds; None also where the driver does not list the
            process: it uses no GPU, or runs in a container that numbers processes anew.
        own_utilisation: percent of the time in which this process's kernels ran.
        lacking: figure: why it is None.
    """

    index: int
    name: str
    utilisation: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    encoder: float | None = None
    slowed: tuple[str, ...] | None = None
    own_memory: int | None = None
    own_utilisation: float | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def memory_free(self) -> int | None:
        """Bytes that nobody holds."""
        if self.memory_used is None or self.memory_total is None:
            return None
        return self.memory_total - self.memory_used

    def in_words(self) -> str:
        """The figures in one line, without the name."""
        parts = []
        if self.utilisation is not None:
            parts.append(f"{self.utilisation:.0f} % busy")
        if self.memory_used is not None and self.memory_total is not None:
            used, total = self.memory_used / GIGA, self.memory_total / GIGA
            parts.append(f"{used:.1f} of {total:.1f} GB used")
        if self.temperature is not None:
            parts.append(f"{self.temperature:.0f} °C")
        if self.power is not None:
            limit = "" if self.power_limit is None else f" of {self.power_limit:.0f}"
            parts.append(f"{self.power:.0f}{limit} W")
        if self.encoder is not None:
            parts.append(f"encoder {self.encoder:.0f} %")
        if self.slowed:
            parts.append(f"slowed by {', '.join(self.slowed).replace('_', ' ')}")
        if self.lacking:
            parts.append(f"not available: {', '.join(self.lacking).replace('_', ' ')}")
        return ", ".join(parts)


@dataclass(frozen=True)
class GpuLoad:
    """All GPUs at one moment.

    Args:
        gpus: those that can be had.
        reason: why there are none, or which one is left out and why, in one line; None if nothing
            is amiss.
        driver: its version, if known.
    """

    gpus: tuple[Gpu, ...] = ()
    reason: str | None = None
    driver: str | None = None

    @property
    def available(self) -> bool:
        """Whether any GPU can be had."""
        return bool(self.gpus)

    @property
    def own(self) -> tuple[Gpu, ...]:
        """GPUs that this process is known to hold memory of."""
        return tuple(gpu for gpu in self.gpus if gpu.own_memory is not None)

    def in_words(self) -> str:
        """One line: "available", or "not available" and why."""
        if not self.available:
            return f"not available: {self.reason or 'there is no GPU'}"
        return "available" if self.reason is None else f"available, but {self.reason}"


class _Gone(Exception):
    """A GPU, or the whole driver, no longer answers; the text says why."""


class GpuReader:
    """Reads the load when asked. Belongs to one thread: a driver that hangs holds it up."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._driver: str | None = None
        self._handles: dict[int, tuple[Any, str]] = {}
        self._missing: dict[int, str] = {}
        self._newest: dict[int, int] = {}
        self._pid = os.getpid()

    def read(self) -> GpuLoad:
        """Ask the driver, and begin anew if it was not there the last time; never raises."""
        try:
            if self._nvml is None:
                self._open()
            gpus = tuple(filter(None, map(self._gpu, list(self._handles))))
        except Exception as error:
            # Whatever a driver or its library does: it is no reason for a call to end.
            self.close()
            return GpuLoad(reason=_one_line(error))
        reason = "; ".join(f"GPU {i}: {why}" for i, why in sorted(self._missing.items())) or None
        load = GpuLoad(gpus, reason, self._driver)
        if not gpus:
            self.close()
        return load

    def close(self) -> None:
        """Let go of the driver; the next `read` begins anew."""
        nvml, self._nvml = self._nvml, None
        self._handles, self._missing, self._newest = {}, {}, {}
        if nvml is not None:
            with contextlib.suppress(Exception):
                nvml.nvmlShutdown()

    def _open(self) -> None:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        self._nvml = nvml
        self._driver = str(nvml.nvmlSystemGetDriverVersion())
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                self._handles[index] = handle, str(nvml.nvmlDeviceGetName(handle))
            except nvml.NVMLError as error:  # one of several may be lost, or somebody else's
                self._missing[index] = _one_line(error)

    def _gpu(self, index: int) -> Gpu | None:
        handle, name = self._handles[index]
        nvml = self._nvml
        figures: dict[str, Any] = {}
        lacking: dict[str, str] = {}
        gone = (nvml.NVMLError_GpuIsLost, nvml.NVMLError_ResetRequired)

        def figure(name: str, ask: Callable[[], Any]) -> None:
            try:
                figures[name] = ask()
            except gone as error:
                raise _Gone(_one_line(error)) from error
            except (nvml.NVMLError_DriverNotLoaded, nvml.NVMLError_Uninitialized):
                raise
            except (nvml.NVMLError, nvml.NVMLLibraryMismatchError) as error:
                lacking[name] = _one_line(error)

        def memory() -> None:
            told = nvml.nvmlDeviceGetMemoryInfo(handle)
            figures["memory_total"] = int(told.total)
            figures["memory_used"] = int(told.used)

        try:
            figure("utilisation", lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
            figure("memory", memory)
            sensor = nvml.NVML_TEMPERATURE_GPU
            figure("temperature", lambda: float(nvml.nvmlDeviceGetTemperature(handle, sensor)))
            figure("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
            figure("power_limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3)
            figure("encoder", lambda: float(nvml.nvmlDeviceGetEncoderUtilization(handle)[0]))
            figure("slowed", lambda: _slowed(nvml, handle))
            figure("own_memory", lambda: self._own_memory(handle))
            if figures.get("own_memory") is not None:
                figure("own_utilisation", lambda: self._own_utilisation(index, handle))
            figures.pop("memory", None)
            if all(value is None for value in figures.values()):
                # A GPU that falls off the bus may answer every question with Unknown Error.
                raise _Gone(next(iter(lacking.values()), "it tells nothing"))
        except _Gone as error:
            del self._handles[index]
            self._missing[index] = str(error)
            return None
        return Gpu(index, name, **figures, lacking=lacking)

    def _own_memory(self, handle: Any) -> int | None:
        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        own = [process.usedGpuMemory for process in running if process.pid == self._pid]
        known = [int(used) for used in own if used is not None]
        return sum(known) if known else None

    def _own_utilisation(self, index: int, handle: Any) -> float:
        nvml = self._nvml
        newest = self._newest.get(index, 0)
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, max(0, newest - LOOK_BACK))
        except nvml.NVMLError_NotFound:
            return 0.0  # no process has used the GPU since then
        self._newest[index] = max([newest, *(int(sample.timeStamp) for sample in samples)])
        # Some drivers fill in numbers beyond every percentage for processes that have ended.
        own = [s for s in samples if s.pid == self._pid and s.smUtil <= 100]
        return float(max(own, key=lambda sample: sample.timeStamp).smUtil) if own else 0.0


def _slowed(nvml: Any, handle: Any) -> tuple[str, ...]:
    try:
        bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except nvml.NVMLError_FunctionNotFound:  # drivers before 535 know the older name alone
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    return tuple(name for bit, name in SLOWED.items() if bits & bit)


def _one_line(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return "nvidia-ml-py is not installed"
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text[:160]
