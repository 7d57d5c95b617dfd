"""A long two-way call: does memory or delay grow, do frames stop?

Two people in a room, each watching the other's live avatar with a moving view.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page

from benchmarks import call_delay
from benchmarks.call_avatar import calling
from benchmarks.call_delay import SWING, SWING_SECONDS, Sample
from benchmarks.call_marks import resident_bytes
from benchmarks.call_run import Server, percentiles

TILE = ".tile video"
"""The other person's picture."""
MINUTE = 60.0
SETTLED = 5.0
"""Minutes after which memory may grow no more."""
FEW = 8
"""Readings of a call that is too short for one each minute."""


@dataclass
class Bounds:
    """What counts as growth.

    Args:
        memory: megabytes after the call has settled.
        delay: milliseconds of the median, by a straight line through the readings.
        fps: least reading as part of the median.
    """

    memory: float = 20.0
    delay: float = 10.0
    fps: float = 0.8


def soak(
    browser: Browser,
    server: Server,
    minutes: float,
    say: Callable[[str], None],
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """Call for so long; gives the series and a verdict."""
    interval = MINUTE if minutes >= 2 * SETTLED else MINUTE * minutes / FEW
    settled = SETTLED if minutes > 2 * SETTLED else minutes / 2
    with (
        calling(browser, server) as (first, _),
        calling(browser, server, first.input_value("#link")) as (second, _),
    ):
        pages = [first, second]
        for page in pages:
            call_delay.watch(page, TILE)
            page.evaluate(f"bench.drive({SWING}, {SWING_SECONDS})")
        readings = []
        begin = last = time.monotonic()
        for _ in range(max(2, round(MINUTE * minutes / interval))):
            for page in pages:
                page.evaluate("bench.reset()")
            server.forget()
            pages[0].wait_for_timeout(1e3 * interval)
            now = time.monotonic()
            reading = read(server, pages, now - last, (now - begin) / MINUTE)
            last = now
            readings.append(reading)
            say(
                f"  minute {reading['minute']:.1f}: {reading['rss_mb']:.1f} MB,"
                f" p50 {reading['motion_to_photon_p50_ms']} ms, {reading['fps']} fps,"
                f" {reading['relifts_per_second']} re-lifts/s, {reading['tasks']} tasks,"
                f" {reading['threads']} threads"
            )
    return {
        "minutes": minutes,
        "settled_after_minutes": settled,
        "readings": readings,
        **verdict(readings, settled, bounds or Bounds()),
    }


def read(server: Server, pages: list[Page], seconds: float, minute: float) -> dict[str, Any]:
    """One reading of everything."""
    marks = server.marks()
    samples = [Sample(page.evaluate("bench.take()"), {}, marks, seconds, None) for page in pages]
    delays = [value for sample in samples for value in call_delay.delays(sample)]
    fps = [call_delay.presented_fps(sample.page["frames"]) for sample in samples]
    used = sum(row[3] is not None for row in marks["avatars"])
    return {
        "minute": round(minute, 2),
        "rss_mb": round(resident_bytes(server.process.pid) / 1e6, 1),
        "motion_to_photon_p50_ms": percentiles(delays)["p50"],
        "motion_to_photon_p95_ms": percentiles(delays)["p95"],
        "fps": round(min(fps), 1),
        "relifts_per_second": round(used / seconds / len(pages), 1),
        "tasks": marks["tasks"],
        "threads": len(marks["threads"]),
    }


def verdict(readings: list[dict[str, Any]], settled: float, bounds: Bounds) -> dict[str, Any]:
    """Whether memory and delay stayed and frames came, by the readings after `settled` minutes."""
    late = [reading for reading in readings if reading["minute"] >= settled]
    memory = [reading["rss_mb"] for reading in late]
    minutes = [reading["minute"] for reading in late]
    delay = [reading["motion_to_photon_p50_ms"] for reading in late]
    fps = [reading["fps"] for reading in late]
    if len(late) < 2 or None in delay:
        return {"steady": False, "why": "too few readings, or no frame that shows a viewpoint"}
    growth = max(memory) - memory[0]
    drift = float(np.polyfit(minutes, delay, 1)[0]) * (minutes[-1] - minutes[0])
    steady = {
        "memory": growth <= bounds.memory,
        "delay": drift <= bounds.delay,
        "fps": min(fps) >= bounds.fps * float(np.median(fps)) and min(fps) > 0,
        "tasks": late[-1]["tasks"] <= late[0]["tasks"] + 5,
        "threads": late[-1]["threads"] <= late[0]["threads"] + 2,
    }
    return {
        "memory_growth_mb": round(growth, 1),
        "delay_growth_ms": round(drift, 1),
        "least_fps": min(fps),
        "steady": all(steady.values()),
        "steady_in": steady,
    }
