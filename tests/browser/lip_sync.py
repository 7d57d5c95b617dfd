"""Measures lip-sync in a real Chromium that calls itself through a server and watches the call.

What is compared is the time that flashes take from the camera's track to the screen, and beeps from
the microphone's track to the loudspeaker, of one and the same browser with one clock. So the times
at which Chromium starts the film and the sound, which differ, do not matter; nor does the time that
a camera or a microphone takes itself, which no program can know.

By the browser's own reckoning, a flash is seen at the `expectedDisplayTime` of its frame. A beep is
heard when the browser takes its sample to play it in an `<audio>` element, and `outputLatency` of
the sound device later. Beside that, the sound is played through an `AudioContext`, which buffers
once more; there a beep is heard when `getOutputTimestamp` says that its sample leaves the device. A
monitor and a loudspeaker that are slow come on top, and so would a Bluetooth headset.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route

SCRIPT = Path(__file__).with_name("lip_sync.js")
HTML = """<!doctype html><title>Lip-sync</title>
<video muted autoplay playsinline></video><audio autoplay></audio>
<script src="/lip-sync-test/lip_sync.js"></script>"""

EARLY, LATE = -45.0, 60.0
"""Milliseconds between which sound may be off its picture (ITU-R BT.1359: what is noticed)."""

LONGEST_MS = 1000.0
"""A delay longer than that is no delay of this flash; gaps between flashes are longer."""


@dataclass(frozen=True)
class Spread:
    """Milliseconds of several measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(
            round(statistics.median(values), 1), round(min(values), 1), round(max(values), 1)
        )


@dataclass(frozen=True)
class LipSync:
    """What was measured.

    Args:
        error: of each flash, positive where sound is late.
        video: from the camera's track to the screen.
        audio: from the microphone's track to the loudspeaker, through an `<audio>` element.
        web_audio: the same through an `AudioContext`, which the page does not use.
        page: what the browser tells of its buffers.
    """

    error: list[float]
    video: list[float]
    audio: list[float]
    web_audio: list[float]
    page: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """Figures in milliseconds, for JSON."""
        spreads = {
            name: asdict(Spread.of(getattr(self, name)))
            for name in ("error", "video", "audio", "web_audio")
        }
        return {"flashes": len(self.error), **spreads, **self.page}


def open_call(page: Page, address: str, one_stream: bool = False) -> None:
    """Let an empty page call the server at `address`, and watch its own call.

    Args:
        page: of a browser with the film and the sound of `flash_film`.
        address: without a slash at the end.
        one_stream: let the browser take sound and picture for one stream, as they are not offered.
    """

    def answer(route: Route) -> None:
        script = route.request.url.endswith(".js")
        kind = "text/javascript" if script else "text/html"
        route.fulfill(body=SCRIPT.read_text() if script else HTML, content_type=kind)

    page.route("**/lip-sync-test/**", answer)
    page.goto(f"{address}/lip-sync-test/")
    page.evaluate(
        "async (options) => lipSync.watch(await lipSync.call(), options)",
        {"oneStream": one_stream},
    )


def measure(page: Page, flashes: int, warm_up: float, timeout: float) -> LipSync:
    """Wait for flashes and beeps at the other end of a call of `open_call`.

    Args:
        page: of the call.
        flashes: how many.
        warm_up: seconds that are left out at the beginning.
        timeout: seconds after which fewer must do.
    """
    page.wait_for_timeout(warm_up * 1000)
    begin = page.evaluate("performance.now()")
    end = time.monotonic() + timeout
    while True:
        page.wait_for_timeout(500)
        found = page.evaluate("lipSync.figures()")
        result = _compare(found, begin)
        if len(result.error) >= flashes or time.monotonic() > end:
            return result


def _compare(found: dict[str, Any], begin: float) -> LipSync:
    def delays(sent: str, came: str) -> dict[float, float]:
        """By the time at which it came, how long before it had been sent."""
        pairs = {}
        for time_ in found[came]:
            before = [s for s in found[sent] if time_ - LONGEST_MS < s <= time_]
            if before and time_ > begin:
                pairs[time_] = time_ - max(before)
        return pairs

    seen = delays("flashesSent", "flashesSeen")
    device = (found["outputLatency"] or 0.0) * 1000
    heard = {time_: delay + device for time_, delay in delays("beepsSent", "beepsTaken").items()}
    web_audio = delays("beepsSent", "beepsHeard")
    error = []
    for time_, video in seen.items():
        # The files do not start together: the next beep measures the sound of the same seconds.
        near = min(heard, key=lambda t: abs(t - time_), default=None)
        if near is not None and abs(near - time_) < 2 * LONGEST_MS:
            error.append(heard[near] - video)
    page = {key: found.get(key) for key in ("outputLatency", "playout", "buffers", "stats")}
    return LipSync(error, list(seen.values()), list(heard.values()), list(web_audio.values()), page)
