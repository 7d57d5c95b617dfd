"""A page whose connections to the server go through a relay, and what its video does meanwhile."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, Route

from tests.stream.udp_relay import RelayThread, without_candidates

KEEP = """
const Native = RTCPeerConnection;
window.connections = [];
window.RTCPeerConnection = class extends Native {
  constructor(...given) { super(...given); window.connections.push(this); }
};
window.presented = [];
addEventListener("DOMContentLoaded", () => {
  const video = document.getElementById("video");
  const note = () => {
    window.presented.push(performance.timeOrigin + performance.now());
    video.requestVideoFrameCallback(note);
  };
  video?.requestVideoFrameCallback(note);
});
"""
"""Keeps the page's connections, and the time of every picture that was presented, in ms."""

INBOUND = """async () => {
  const found = {};
  for (const one of (await connections.at(-1).getStats()).values()) {
    if (one.type === "inbound-rtp" && one.kind === "video") Object.assign(found, one);
  }
  return found;
}"""


SIGNALLING = re.compile(r"/(whip|whep|calls|rooms)(/|\?|$)")


def lead_through(page: Page, network: RelayThread) -> None:
    """All connections that a page will make go through a relay, and its requests as well: where
    nothing gets through in either direction, the server does not answer."""

    def carried(route: Route) -> None:
        relay = network.relay
        if relay.up.way.black and relay.down.way.black:
            route.abort("internetdisconnected")
        elif route.request.method == "POST":
            response = route.fetch(post_data=without_candidates(route.request.post_data or ""))
            if response.status == 201:
                route.fulfill(response=response, body=network.rewrite(response.text()))
            else:
                route.fulfill(response=response)
        elif route.request.method == "PATCH":  # candidates: they would be a way round the relay
            route.fulfill(status=204)
        else:
            route.fallback()

    page.add_init_script(KEEP)
    page.route(SIGNALLING, carried)


class VideoWatch:
    """What a page's video does from now on.

    Args:
        page: one that `lead_through` prepared, with its video on.
    """

    COUNTS = (
        "packetsReceived",
        "packetsLost",
        "nackCount",
        "retransmittedPacketsReceived",
        "pliCount",
        "freezeCount",
        "totalFreezesDuration",
        "framesDecoded",
        "framesDropped",
        "keyFramesDecoded",
        "bytesReceived",
        "jitterBufferDelay",
        "jitterBufferEmittedCount",
    )

    def __init__(self, page: Page) -> None:
        self._page = page
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._page.evaluate("presented.splice(0, presented.length - 1)")
        self._before = self._page.evaluate(INBOUND)

    def counts(self) -> dict[str, float]:
        """What getStats has counted since."""
        now = self._page.evaluate(INBOUND)
        return {name: now.get(name, 0) - self._before.get(name, 0) for name in self.COUNTS}

    def presented(self) -> list[float]:
        """When pictures were presented, in ms of the machine's clock; the first one before."""
        times: list[float] = self._page.evaluate("presented")
        return times

    def longest_gap(self) -> float:
        """Most milliseconds between two pictures, up to now."""
        now = self._page.evaluate("performance.timeOrigin + performance.now()")
        times = [*self.presented(), now]
        return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))

    def summary(self, seconds: float) -> dict[str, Any]:
        """The figures of so many seconds, for people."""
        counts = self.counts()
        emitted = max(1.0, counts["jitterBufferEmittedCount"])
        return {
            "pictures_per_second": round((len(self.presented()) - 1) / seconds, 1),
            "longest_gap_ms": round(self.longest_gap()),
            "freezes": counts["freezeCount"],
            "frozen_ms": round(counts["totalFreezesDuration"] * 1e3),
            "packets": counts["packetsReceived"],
            "lost": counts["packetsLost"],
            "nacks": counts["nackCount"],
            "retransmitted": counts["retransmittedPacketsReceived"],
            "plis": counts["pliCount"],
            "key_frames": counts["keyFramesDecoded"],
            "kbit_per_second": round(counts["bytesReceived"] * 8e-3 / seconds),
            "buffer_ms": round(counts["jitterBufferDelay"] / emitted * 1e3, 1),
        }
