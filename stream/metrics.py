"""Figures for Prometheus, one set per server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stream.gpu_load import GpuLoad
from stream.gpu_metrics import GpuMetrics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TIMES = (0.001, 0.002, 0.004, 0.008, 0.012, 0.016, 0.024, 0.033, 0.05, 0.1, 0.2, 0.5)
"""Bounds in seconds; 33 ms is one frame."""


RELIFT_TIMES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
"""Bounds in seconds; up to 150 ms lips and words are together."""

STAGES = ("rasterise", "refine", "i420")
"""The engine's stages that every frame goes through."""


class Metrics:
    """What the server counts. Any thread may count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"visavis_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"visavis_{name}", text, registry=self.registry)

        self.calls = gauge("calls", "Calls that are open")
        self.rooms = gauge("rooms", "Rooms that somebody is in")
        self.receivers = gauge("receivers", "Receivers that are connected or connecting")
        self.bitrate = gauge("video_bits_per_second", "Video sent to all receivers")
        self.budget_used = gauge(
            "frame_budget_used_ratio",
            "Measured time of a picture for each receiver, part of the frame budget; or NaN",
        )
        self.lifting_used = gauge(
            "lift_time_used_ratio",
            "Measured time to follow each caller often enough, part of the threads' time; or NaN",
        )
        self.effort = gauge(
            "effort_given_up",
            "For moving views: 0 nothing, 1 refining, 2 half the rate too, 3 half the size too",
        )
        self.refused = counter(
            "refused", "Calls and receivers turned away because the server is busy", "reason"
        )
        self.ended = counter("calls_ended", "Calls that have ended")
        self.avatars = counter("avatars", "Avatars built or refused", "result")
        self.sent = counter("frames_sent", "Frames given to an encoder")
        self.raw = counter("frames_raw", "Of these, frames that were not refined")
        self.dropped = counter("frames_dropped", "Frames rendered but not sent", "reason")
        self.held = counter(
            "frames_held", "Camera frames by which the avatar could not follow the caller", "code"
        )
        self.resumed = counter("calls_resumed", "Callers who came back with a new connection")
        self.viewpoints = counter("viewpoints", "Viewpoint messages", "result")
        self.left_out = counter(
            "gaussians_left_out",
            "Pairs of a Gaussian and a tile that pictures had no room for; 0 is all well",
        )
        self.render_failures = counter("render_failures", "Batches that the engine failed on")
        self.relift = Histogram(
            "visavis_relift_seconds",
            "From the arrival of a camera frame until the avatar that follows it is in use",
            buckets=RELIFT_TIMES,
            registry=self.registry,
        )
        self.stage = Histogram(
            "visavis_stage_seconds",
            "Time of one stage; rasterise, refine and i420 as the engine tells, per batch",
            ("stage",),
            buckets=TIMES,
            registry=self.registry,
        )

    def watch_gpus(self, load: Callable[[], GpuLoad]) -> None:
        """Show the GPUs' load too, as it is when the figures are asked for."""
        self.registry.register(GpuMetrics(load))

    def rendered(self, seconds: float, stages: Mapping[str, float]) -> None:
        """A batch was rendered.

        Args:
            seconds: of the whole batch.
            stages: milliseconds of each of the engine's stages.
        """
        self.stage.labels("render").observe(seconds)
        for name in STAGES:
            if name in stages:
                self.stage.labels(name).observe(stages[name] / 1e3)

    def followed(self, seconds: float) -> None:
        """A camera frame was lifted, or found not to be fit: seconds of a thread."""
        self.stage.labels("follow").observe(seconds)

    def relifted(self, seconds: float) -> None:
        """An avatar that follows its caller came into use so long after its camera frame."""
        self.relift.observe(seconds)

    def encoded(self, seconds: float) -> None:
        """A frame was encoded."""
        self.stage.labels("encode").observe(seconds)

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)
