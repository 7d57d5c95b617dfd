"""Motion-to-photon: from the moment a page sends a viewpoint until it has a frame that shows it.

Whatever the server, the page is measured alike: the frame's number is read from its pixels when
`requestVideoFrameCallback` hands it out. Of every frame the newest viewpoint counts, once. The end
is the browser's callback, not photons: a screen adds its own time.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page

from benchmarks.call_engines import SWING
from benchmarks.call_run import NotMeasured, Server, opened, percentiles, until
from benchmarks.call_server import CALL
from benchmarks.call_stamp import unwrapped

SWING_SECONDS = 4.0
"""There and back."""
WARM_UP = 2.5
"""Seconds of movement before the measurement: encoders and buffers settle."""
VIDEO = "#video"


@dataclass(frozen=True)
class Way:
    """One way from the engine to the page.

    Args:
        name: of the result.
        server: that the page is opened at.
        path: of the page.
    """

    name: str
    server: Server
    path: str


@dataclass
class Sample:
    """What one visit has given.

    Args:
        page: as `bench.take()` gives it.
        inbound: the change of the page's own figures.
        server: the server's marks.
        seconds: that were measured.
        own: what the page itself says of motion-to-photon, where it does.
    """

    page: dict[str, Any]
    inbound: dict[str, float]
    server: dict[str, Any]
    seconds: float
    own: dict[str, Any] | None


def ours(server: Server) -> Way:
    return Way("visavis", server, f"/c/{CALL}")


def stock(
    server: Server,
    codec: str,
    *,
    no_jitter_buffer: bool = False,
    raw: bool = False,
    suffix: str = "",
) -> Way:
    extra = ""
    if no_jitter_buffer:
        suffix, extra = f"{suffix}, page asks for no jitter buffer", "&no-jitter-buffer"
    if raw:
        suffix, extra = f"{suffix}, raw pictures", f"{extra}&raw"
    return Way(f"stock aiortc, {codec.upper()}{suffix}", server, f"/?codec={codec}{extra}")


@contextmanager
def visit_with(browser: Browser, way: Way) -> Iterator[Page]:
    """Open the page for the length of a block, and see that its connection ends with it."""
    try:
        with opened(browser, way.server.url + way.path) as page:
            yield page
    finally:
        if way.path.startswith("/?"):
            way.server.ask("DELETE", "/offer")


def visit(browser: Browser, way: Way, seconds: float) -> Sample:
    """Open the page, move, and measure."""
    with visit_with(browser, way) as page:
        watch(page)
        return measure(page, way.server, seconds)


def watch(page: Page, video: str = VIDEO) -> None:
    """Wait for the first frames of a video and note them from now on."""
    until(page, f'bench.watch("{video}")', what="the page has a video")
    until(page, "bench.frames.length > 5", what="the page shows frames")


def measure(page: Page, server: Server, seconds: float, warm_up: float = WARM_UP) -> Sample:
    """Let a page that shows frames move for a while."""
    page.evaluate(f"bench.drive({SWING}, {SWING_SECONDS})")
    page.wait_for_timeout(1e3 * warm_up)
    server.forget()
    page.evaluate("bench.reset()")
    before, begin = page.evaluate("bench.inbound()"), time.monotonic()
    page.wait_for_timeout(1e3 * seconds)
    taken = page.evaluate("bench.take()")
    elapsed = time.monotonic() - begin
    marks = server.marks()
    own = page.evaluate("window.visavis?.stats?.()?.motionToPhoton ?? null")
    page.evaluate("bench.halt()")
    after = taken["inbound"]
    change = {
        name: after[name] - before[name]
        for name in after or {}
        if isinstance(after[name], int | float)
        and isinstance((before or {}).get(name), int | float)
    }
    return Sample(taken, change, marks, elapsed, own)


def shown(sample: Sample) -> list[tuple[list[Any], int]]:
    """Frames with the number of the viewpoint that each shows, told by its pixels."""
    sent = sample.page["sent"]
    if not sent:
        raise NotMeasured("the page sent no viewpoint")
    found, near = [], sent[0][0]
    for frame in sample.page["frames"]:
        if frame[7] is not None:
            near = unwrapped(frame[7], near)
            found.append((frame, near))
    return found


def joined(sample: Sample) -> list[tuple[list[Any], list[Any]]]:
    """Frames, each with the sending of the newest viewpoint that it is the first to show."""
    sent = {row[0]: row for row in sample.page["sent"]}
    pairs, newest = [], -1
    for frame, number in shown(sample):
        if number > newest:
            newest = number
            if number in sent:
                pairs.append((frame, sent[number]))
    return pairs


def agreeing(sample: Sample) -> tuple[int, int]:
    """Of how many frames the server's message says what the pixels say, and of how many not."""
    told = {row[0]: row[1] for row in sample.page["told"]}
    same = other = 0
    for frame, number in shown(sample):
        # An encoder may round the stamp by one tick.
        said = next((told[frame[1] + d] for d in (0, -1, 1) if frame[1] + d in told), None)
        if said is not None:
            same, other = same + (said == number), other + (said != number)
    return same, other


def delays(sample: Sample) -> list[float]:
    """Milliseconds."""
    return [frame[0] - row[1] for frame, row in joined(sample)]


def delays_by_kind(sample: Sample) -> tuple[list[float], list[float]]:
    """Milliseconds of refined frames, and of raw ones."""
    refined = {row[0]: row[4] for row in sample.server["viewpoints"]}
    kinds: tuple[list[float], list[float]] = ([], [])
    for frame, row in joined(sample):
        if row[0] in refined:
            kinds[0 if refined[row[0]] else 1].append(frame[0] - row[1])
    return kinds


def presented_fps(frames: list[list[Any]]) -> float:
    """`presentedFrames` also counts frames whose callback was skipped."""
    if len(frames) < 2:
        return 0.0
    count = frames[-1][6] - frames[0][6]
    return float(1e3 * count / (frames[-1][0] - frames[0][0]))


def summary(samples: list[Sample]) -> dict[str, Any]:
    """The figures of one way over all its visits."""
    every = [delays(sample) for sample in samples]
    rows = [row for sample in samples for row in sample.server["viewpoints"]]
    frames = [frame for sample in samples for frame in sample.page["frames"]]
    stamped = sum(frame[7] is not None for frame in frames)
    raw = sum(not row[4] for row in rows)
    kinds = [delays_by_kind(sample) for sample in samples]
    return {
        "motion_to_photon_ms": percentiles(list(itertools.chain(*every))),
        "of_refined_frames_ms": percentiles([ms for refined, _ in kinds for ms in refined]),
        "of_raw_frames_ms": percentiles([ms for _, raw_ones in kinds for ms in raw_ones]),
        "p50_of_each_visit_ms": [percentiles(values)["p50"] for values in every],
        "presented_fps": round(
            float(np.mean([presented_fps(sample.page["frames"]) for sample in samples])), 1
        ),
        "raw_share": round(raw / len(rows), 3) if rows else None,
        "frames": len(frames),
        "frames_whose_number_could_not_be_read": len(frames) - stamped,
        "messages_that_agree_or_not": list(map(sum, zip(*map(agreeing, samples), strict=True))),
        "page_says_ms": [sample.own["p50"] for sample in samples if sample.own],
        "bits_per_second": round(
            float(np.mean([8 * s.inbound.get("bytesReceived", 0) / s.seconds for s in samples]))
        ),
        "key_frames": int(sum(s.inbound.get("keyFramesDecoded", 0) for s in samples)),
        "freezes": int(sum(s.inbound.get("freezeCount", 0) for s in samples)),
    }


def compare(
    browser: Browser, ways: list[Way], repeats: int, seconds: float, say: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """Visit every way several times, in turns, each round in the other order."""
    samples: dict[str, list[Sample]] = {way.name: [] for way in ways}
    for number in range(repeats):
        for way in ways if number % 2 == 0 else reversed(ways):
            sample = visit(browser, way, seconds)
            samples[way.name].append(sample)
            found, fps = percentiles(delays(sample)), presented_fps(sample.page["frames"])
            say(
                f"  {number + 1}/{repeats} {way.name}: p50 {found['p50']} ms, p95 {found['p95']},"
                f" {fps:.1f} fps, {found['count']} frames"
            )
    return samples
