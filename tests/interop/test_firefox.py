"""The pages in Firefox: no H.264 without a download, so VP8 both ways."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.bar_server import SlowEngine, serving
from tests.interop.firefox import FirefoxPage, open_firefox

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

KEEP = """() => {
  const Native = RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); connections.push(this); }
  };
}"""

STREAM = """(async () => {
  const report = await connections.at(-1).getStats();
  const all = [...report.values()];
  const stream = all.find(({ type, kind }) => type === "%s" && kind === "video");
  return { codec: report.get(stream.codecId).mimeType, frames: stream.%s };
})()"""

COLUMN = """(() => {
  const video = document.getElementById("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const brush = canvas.getContext("2d");
  brush.drawImage(video, 0, 0);
  const row = brush.getImageData(0, canvas.height / 2, canvas.width, 1).data;
  const light = [...Array(canvas.width).keys()].filter((x) => row[4 * x] > 130);
  return light.reduce((sum, x) => sum + x, 0) / light.length / canvas.width;
})()"""
"""Where the middle of the bar is, 0 at the left edge and 1 at the right one."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(SlowEngine()) as address:
        yield address


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirefoxPage]:
    with open_firefox(tmp_path_factory.mktemp("firefox")) as page:
        page.before_load(KEEP)
        yield page


def call(server: str, slug: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/calls/{slug}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def test_firefox_watches_and_looks_around(server: str, firefox: FirefoxPage) -> None:
    firefox.goto(f"{server}/c/demo")
    firefox.until("document.getElementById('receiver').dataset.state === 'live'")
    assert abs(firefox.evaluate(COLUMN) - 0.5) < 0.02
    firefox.evaluate(
        "[...Array(5)].forEach(() => ['keydown', 'keyup'].forEach((kind) => document"
        ".dispatchEvent(new KeyboardEvent(kind, { key: 'ArrowRight', bubbles: true }))))"
    )
    firefox.until("visavis.stats().view.yaw > 10")
    firefox.until("visavis.stats().resting && visavis.stats().sent === visavis.stats().shown")
    stats = firefox.evaluate("visavis.stats()")
    assert abs(firefox.evaluate(COLUMN) - (stats["view"]["yaw"] + 60) / 120) < 0.02
    assert (stats["width"], stats["height"]) == (256, 256)
    # Firefox knows which picture shows which viewpoint: it gives their RTP timestamps.
    assert stats["motionToPhoton"]["count"] >= 1
    stream = firefox.evaluate(STREAM % ("inbound-rtp", "framesDecoded"))
    assert stream["codec"] == "video/VP8" and stream["frames"] > 5


def test_firefox_calls(server: str, firefox: FirefoxPage) -> None:
    firefox.goto(server)
    firefox.until("document.getElementById('start').checkVisibility()")
    firefox.evaluate("document.getElementById('start').click()")
    firefox.until("document.getElementById('caller').dataset.state === 'live'", 60)
    slug = firefox.evaluate("visavis.stats().call")
    assert call(server, slug)["state"] == "live"
    stream = firefox.evaluate(STREAM % ("outbound-rtp", "framesEncoded"))
    assert stream["codec"] == "video/VP8" and stream["frames"] > 5
    firefox.evaluate("document.getElementById('hangup').click()")
    firefox.until("document.getElementById('caller').dataset.state !== 'live'")
