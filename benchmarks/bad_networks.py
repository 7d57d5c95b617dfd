"""What bad networks do to a receiver's video: a real Chromium, a real server, a relay between them.

    python -m benchmarks.bad_networks [--seconds 10] [--out FILE]

The engine draws noise, so that the video takes all the bits it may (256 x 256 pixels, 30 pictures
per second, 0.7 Mbit/s), and the view moves all the time. Prints one line per network and, at the
end, all of it as JSON. The browser is the system's Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.browser import fake_camera
from tests.browser.bad_network import VideoWatch, lead_through
from tests.browser.bar_server import serving
from tests.browser.chromium import open_browser
from tests.browser.receiver_page import ReceiverPage
from tests.stream.busy_engine import BusyEngine
from tests.stream.udp_relay import BLACK, CLEAR, RelayThread, Way, relaying

NETWORKS = {
    "clear": CLEAR,
    "loss 2 %": Way(loss=0.02),
    "loss 5 %": Way(loss=0.05),
    "loss 10 %": Way(loss=0.10),
    "loss 5 %, 40 ms each way": Way(loss=0.05, delay=0.04),
    "40 ms each way, jitter 10 ms": Way(delay=0.04, jitter=0.01),
    "40 ms each way, jitter 30 ms": Way(delay=0.04, jitter=0.03),
    "reordering 5 %": Way(reordered=0.05),
}
LIMIT = Way(rate=400_000)
LIMIT_SECONDS, FREE_SECONDS = 12, 40
SETTLE_SECONDS = 3.0
BLACKOUTS, BLACKOUT_SECONDS = 3, 2.0


def move(page: Page, seconds: float) -> None:
    """Look around for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        key = "ArrowRight" if time.monotonic() % 2 < 1 else "ArrowLeft"
        page.keyboard.press(key)
        page.wait_for_timeout(60)


class Bench:
    """One page behind one relay."""

    def __init__(self, receiver: ReceiverPage, network: RelayThread) -> None:
        self.receiver = receiver
        self.page = receiver.page
        self.network = network
        self.watch = VideoWatch(self.page)

    def steady(self, way: Way, seconds: float) -> dict[str, Any]:
        self.network.relay.set(way)
        move(self.page, SETTLE_SECONDS)
        counts = self.network.relay.down.counts
        lost = counts.lost
        self.watch.restart()
        move(self.page, seconds)
        photon = self.receiver.stats()["motionToPhoton"]
        return {
            **self.watch.summary(seconds),
            "relay_lost": counts.lost - lost,
            "photon_p50_ms": round(photon["p50"] or 0),
            "photon_p95_ms": round(photon["p95"] or 0),
            "load": round(os.getloadavg()[0], 1),
        }

    def blackout(self) -> dict[str, Any]:
        self.network.relay.set(CLEAR)
        move(self.page, SETTLE_SECONDS)
        before = self.page.evaluate("connections.length")
        self.watch.restart()
        self.network.relay.set(BLACK)
        move(self.page, BLACKOUT_SECONDS)
        self.network.relay.set(CLEAR)
        ended = time.time() * 1e3
        move(self.page, 3)
        later = [when - ended for when in self.watch.presented() if when > ended]
        return {
            "first_picture_ms": round(min(later)) if later else None,
            "new_connections": self.page.evaluate("connections.length") - before,
            "load": round(os.getloadavg()[0], 1),
        }

    def limited(self) -> list[dict[str, Any]]:
        """Second by second: the bits that arrive, the longest gap, the latest latency."""
        seconds = []
        for second in range(LIMIT_SECONDS + FREE_SECONDS):
            self.network.relay.set(LIMIT if second < LIMIT_SECONDS else CLEAR)
            self.watch.restart()
            move(self.page, 1)
            found = self.watch.summary(1)
            names = ("kbit_per_second", "longest_gap_ms", "pictures_per_second", "buffer_ms")
            seconds.append({name: found[name] for name in names})
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="per network")
    parser.add_argument("--out", type=Path, help="file for the JSON as well")
    wanted = parser.parse_args()
    film = Path(tempfile.mkdtemp()) / "camera.mjpeg"
    fake_camera.write_film(film, 0)
    found: dict[str, Any] = {}
    with (
        open_browser(film) as browser,
        serving(BusyEngine()) as address,
        relaying() as network,
    ):
        found["browser"] = browser.version
        page = browser.new_context().new_page()
        lead_through(page, network)
        bench = Bench(ReceiverPage(page, f"{address}/c/demo"), network)
        move(page, SETTLE_SECONDS)
        for name, way in NETWORKS.items():
            found[name] = bench.steady(way, wanted.seconds)
            print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
        found["blackout 2 s"] = [bench.blackout() for _ in range(BLACKOUTS)]
        print("blackout 2 s", found["blackout 2 s"], file=sys.stderr, flush=True)
        found["400 kbit/s, then free"] = bench.limited()
    text = json.dumps(found, indent=1)
    print(text)
    if wanted.out is not None:
        wanted.out.write_text(text)


if __name__ == "__main__":
    main()
