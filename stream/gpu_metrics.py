"""The GPUs' load for Prometheus. What is not available has no sample, rather than a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stream.gpu_load import SLOWED, GpuLoad

FIGURES = (
    # attribute of Gpu, name, divisor to Prometheus' base units, text
    ("utilisation", "utilisation_ratio", 100.0, "Part of the time in which any kernel ran, 0..1"),
    ("memory_used", "memory_used_bytes", 1.0, "Memory that all processes and the driver hold"),
    ("memory_total", "memory_total_bytes", 1.0, "Memory of the GPU"),
    ("temperature", "temperature_celsius", 1.0, "Temperature of the GPU"),
    ("power", "power_watts", 1.0, "Power that the GPU takes"),
    ("power_limit", "power_limit_watts", 1.0, "Power that the GPU may take"),
    ("encoder", "encoder_utilisation_ratio", 100.0, "Part of the time the encoder worked, 0..1"),
    ("own_memory", "process_memory_bytes", 1.0, "Memory that this process holds"),
    (
        "own_utilisation",
        "process_utilisation_ratio",
        100.0,
        "Part of the time in which this process's kernels ran, 0..1",
    ),
)


class GpuMetrics(Collector):
    """Gives the newest load whenever Prometheus asks.

    Args:
        load: gives it.
    """

    def __init__(self, load: Callable[[], GpuLoad]) -> None:
        self._load = load

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, each with a sample for every GPU that tells the figure."""
        load = self._load()
        yield GaugeMetricFamily(
            "visavis_gpu_available",
            "Whether the load of any GPU can be read (NVML); /healthz says why not",
            value=float(load.available),
        )
        for attribute, name, divisor, text in FIGURES:
            family = GaugeMetricFamily(f"visavis_gpu_{name}", text, labels=("gpu",))
            for gpu in load.gpus:
                value = getattr(gpu, attribute)
                if value is not None:
                    family.add_metric((str(gpu.index),), value / divisor)
            yield family
        slowed = GaugeMetricFamily(
            "visavis_gpu_slowed",
            "Whether the GPU's clocks are held down for this reason, 0 or 1",
            labels=("gpu", "reason"),
        )
        for gpu in load.gpus:
            if gpu.slowed is not None:
                for reason in SLOWED.values():
                    slowed.add_metric((str(gpu.index), reason), float(reason in gpu.slowed))
        yield slowed
