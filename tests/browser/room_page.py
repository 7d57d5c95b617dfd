"""What a test does with the page of somebody who takes part in a room, or only watches it."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page

from tests.browser import grey_camera

LIVE_MS = 60_000

TOLERANCE = 15
"""Of a grey: browsers do not agree with decoders on whether black is 0 or 16."""

SHADE = """(number) => {
  const video = document.querySelectorAll(".tile video")[number];
  if (!video?.videoWidth) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const brush = canvas.getContext("2d");
  const { videoWidth: w, videoHeight: h } = video;
  brush.drawImage(video, w * 0.1, h * 0.85, w * 0.1, h * 0.1, 0, 0, 1, 1);
  return brush.getImageData(0, 0, 1, 1).data[1];
}"""
"""How light the ground of a tile's picture is, 0..255; see `bar_server.ShadeEngine`."""


class RoomPage:
    """The page of one person.

    Args:
        page: an empty page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    def caller(cls, page: Page, link: str, grey: int = 150) -> RoomPage:
        """Somebody with a camera, who is live when this returns.

        Args:
            page: an empty page.
            link: of the server, which opens a room, or of a room.
            grey: of the camera's picture.
        """
        grey_camera.give(page, grey)
        page.goto(link)
        if "/r/" in link:
            page.click("#join")
        page.click("#start")
        page.wait_for_selector('#caller[data-state="live"]', timeout=LIVE_MS)
        return cls(page)

    @classmethod
    def watcher(cls, page: Page, link: str) -> RoomPage:
        """Somebody who only watches a room."""
        page.goto(link)
        page.click("#watch")
        page.wait_for_selector('#caller[data-state="watching"]')
        return cls(page)

    @property
    def link(self) -> str:
        """The invite link."""
        return self.page.input_value("#link")

    def stats(self) -> dict[str, Any]:
        """What the page says of itself to programs."""
        found: dict[str, Any] = self.page.evaluate("visavis.stats()")
        return found

    def sees(self, *calls: str, timeout: float = 60) -> None:
        """Wait until exactly these calls are seen live, in this order of seats."""
        wanted = [[call, "live"] for call in calls]
        self.until(
            lambda: [[t["call"], t["state"]] for t in self.stats()["tiles"]] == wanted,
            f"{len(calls)} people in view",
            timeout,
        )

    def sees_shade(self, number: int, grey: int, timeout: float = 30) -> None:
        """Wait until a tile's picture is made of a camera picture of this grey."""
        seen = []
        end = time.monotonic() + timeout
        while not seen or abs((seen[-1] or 0) - grey) >= TOLERANCE:
            assert time.monotonic() < end, f"tile {number} is not as light as {grey}: {seen[-1]}"
            self.page.wait_for_timeout(100)
            seen.append(self.page.evaluate(SHADE, number))

    def until(self, condition: Any, words: str, timeout: float = 30) -> None:
        """Wait until a function returns true."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not within {timeout:.0f} s: {words}: {self.stats()}"
            self.page.wait_for_timeout(100)
