"""The sender's processor time per frame, for encoding and transport.

The engine hands out pictures of a moving view that the real one made before, so that it costs next
to nothing and the encoder has its usual work. The page sends no viewpoints: they cost both servers
the same and would only blur the ratio. All threads of the server process count, and all that they
do, but for the one that tells our server that its view moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from playwright.sync_api import Browser

from benchmarks.call_delay import Way, presented_fps, visit_with, watch
from benchmarks.call_marks import by_name, processor_times
from benchmarks.call_server import MOVER

SETTLE = 5.0
"""Seconds before the measurement: stock aiortc begins anew at every change of the bitrate."""


def compare(
    browser: Browser, ways: list[Way], repeats: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Milliseconds of processor time per frame sent, in turns, each round in the other order."""
    found: dict[str, list[dict[str, Any]]] = {way.name: [] for way in ways}
    for number in range(repeats):
        for way in ways if number % 2 == 0 else reversed(ways):
            one = measure(browser, way, seconds)
            found[way.name].append(one)
            say(
                f"  {number + 1}/{repeats} {way.name}: {one['cpu_ms_per_frame']:.2f} ms per frame"
                f" at {one['frames_per_second']:.1f} frames/s"
            )
    return {name: summary(rows) for name, rows in found.items()}


def measure(browser: Browser, way: Way, seconds: float) -> dict[str, Any]:
    """One visit."""
    with visit_with(browser, way) as page:
        watch(page)
        page.wait_for_timeout(1e3 * SETTLE)
        way.server.forget()
        page.evaluate("bench.reset()")
        begin, before = time.monotonic(), page.evaluate("bench.inbound()")
        with processor_times(way.server.process.pid) as used:
            page.wait_for_timeout(1e3 * seconds)
        marks, taken = way.server.marks(), page.evaluate("bench.take()")
        elapsed = time.monotonic() - begin
        frames = len(marks["sent"])
    each = 1e3 / max(frames, 1)
    threads = by_name(used, marks["threads"])
    return {
        "cpu_ms_per_frame": (used[0] - threads.pop(MOVER, 0.0)) * each,
        "frames": frames,
        "frames_per_second": frames / elapsed,
        "presented_fps": presented_fps(taken["frames"]),
        "encode_wall_ms": float(np.mean([1e3 * (row[1] - row[0]) for row in marks["encodes"]])),
        "encode_own_thread_cpu_ms": float(np.mean([1e3 * row[2] for row in marks["encodes"]])),
        "bits_per_second": 8
        * (taken["inbound"]["bytesReceived"] - before["bytesReceived"])
        / elapsed,
        "threads_ms_per_frame": {name: seconds * each for name, seconds in threads.items()},
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one way over all its visits: the median of the repeats, and each."""
    names = [name for name in rows[0] if name != "threads_ms_per_frame"]
    threads = {name for row in rows for name in row["threads_ms_per_frame"]}
    return {
        **{name: round(float(np.median([row[name] for row in rows])), 3) for name in names},
        "cpu_ms_of_each_visit": [round(row["cpu_ms_per_frame"], 3) for row in rows],
        "threads_ms_per_frame": {
            name: round(
                float(np.median([row["threads_ms_per_frame"].get(name, 0.0) for row in rows])), 3
            )
            for name in sorted(threads)
        },
    }
