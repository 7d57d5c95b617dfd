"""Camera-to-avatar: from a camera frame in the caller's page until renderings use the avatar made
of it; and motion-to-photon of a receiver at the same time.

Every camera frame has its number in its pixels. The page notes when the frame was captured, the
server when its follower was given the frame and when the avatar came into use. Both clocks are
those of one machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks import call_delay
from benchmarks.call_camera import CAMERA_BLOCK, CAMERA_FRAMES, CAMERA_WIDTH
from benchmarks.call_delay import Sample, Way
from benchmarks.call_run import NotMeasured, Server, opened, percentiles, until

PREVIEW = "#preview"
LIVE_SECONDS = 60.0
AGE_LIMIT = 4.0
"""Seconds that a camera frame may be old: half of what the film takes to repeat."""


@contextmanager
def calling(
    browser: Browser, server: Server, invitation: str | None = None
) -> Iterator[tuple[Page, str]]:
    """A caller's page that is live, and the name of its call.

    Args:
        browser: whose camera shows the portrait.
        server: to call at.
        invitation: link of the room to join; None opens a new one.
    """
    with opened(browser, invitation or server.url) as page:
        if invitation is not None:
            page.click("#join")
        until(page, "window.visavis?.stats().state === 'ready'", what="the camera is on")
        watched = f'bench.watchCamera("{PREVIEW}", {CAMERA_BLOCK}, {CAMERA_WIDTH})'
        until(page, watched, what="the page has a preview")
        page.click("#start")
        until(page, "visavis.stats().state === 'live'", LIVE_SECONDS, "the caller is live")
        yield page, page.evaluate("visavis.stats().call")


def measure(browser: Browser, server: Server, seconds: float) -> tuple[Sample, dict[str, Any]]:
    """One caller and one receiver who moves.

    Returns:
        what the receiver's page saw, and `bench.take()` of the caller's.
    """
    with calling(browser, server) as (caller, call):
        way = Way("with a caller", server, f"/c/{call}")
        with call_delay.visit_with(browser, way) as page:
            call_delay.watch(page)
            caller.evaluate("bench.reset()")
            sample = call_delay.measure(page, server, seconds)
            return sample, caller.evaluate("bench.take()")


def summary(sample: Sample, caller: dict[str, Any]) -> dict[str, Any]:
    """Camera-to-avatar in milliseconds and how often, beside what the receiver got."""
    rows = [row for row in sample.server["avatars"] if row[3] is not None]
    found = {
        "relifts_per_second": round(len(rows) / sample.seconds, 1),
        "receiver": call_delay.summary([sample]),
    }
    if rows:
        found |= delays(rows, sample.server["clock"], caller)
    return found


def delays(rows: list[Any], clock: float, caller: dict[str, Any]) -> dict[str, Any]:
    """From the capture to each station.

    Args:
        rows: avatars as in `Marks`, seconds.
        clock: what makes those the time of day.
        caller: `bench.take()` of the caller's page.

    Raises:
        NotMeasured: the camera's frames cannot be told apart.
    """
    captured: dict[int, list[float]] = {}
    told = 0
    for now, capture, _, number in caller["camera"]:
        if number is not None:
            told += capture is not None
            at = caller["origin"] + (now if capture is None else capture)
            captured.setdefault(number % CAMERA_FRAMES, []).append(at / 1e3)
    stations: list[tuple[float, float, float, float | None]] = []
    for number, begin, done, used, rendered in rows:
        before = [at for at in captured.get(number, []) if at <= begin + clock]
        if before and begin + clock - before[-1] < AGE_LIMIT:
            zero = before[-1] - clock
            shown = None if rendered is None else rendered - zero
            stations.append((begin - zero, done - zero, used - zero, shown))
    if not stations:
        raise NotMeasured(
            f"of {len(rows)} avatars none could be joined with one of {len(captured)} camera frames"
        )
    names = ("to_the_follower_ms", "lifted_ms", "camera_to_avatar_ms", "first_rendering_ms")
    columns = list(zip(*stations, strict=True))
    return {
        name: percentiles([1e3 * value for value in column if value is not None])
        for name, column in zip(names, columns, strict=True)
    } | {
        "begins_at": "captureTime of the browser" if told else "presentation in the preview",
        "avatars_joined": len(stations),
    }
