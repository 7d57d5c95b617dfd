"""What a test does with a receiver's page: real input events, and the picture that comes back."""

from __future__ import annotations

import base64
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

LIVE_MS = 30_000
SETTLE_SECONDS = 15.0
DEGREES_ACROSS = 130.0  # as in client_web/viewpoint.js

Picture = NDArray[np.uint8]

GRAB = """async () => {
  const video = document.getElementById("video");
  // One more picture: the one before may have been made while the next was decoded.
  await new Promise((done) => video.requestVideoFrameCallback(done));
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}"""


def until(page: Page, condition: str, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until a JavaScript expression is true.

    Playwright's own `wait_for_function` evaluates text inside the page, which the server's content
    security policy rightly forbids.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {condition}"
        page.wait_for_timeout(30)


class ReceiverPage:
    """A receiver's page that shows a call.

    Args:
        page: an empty page.
        link: the call's invite link.
    """

    def __init__(self, page: Page, link: str) -> None:
        self.page = page
        page.goto(link)
        page.wait_for_selector('#receiver[data-state="live"]', timeout=LIVE_MS)

    def stats(self) -> dict[str, Any]:
        """The figures of the page's panel, and more."""
        found: dict[str, Any] = self.page.evaluate("visavis.stats()")
        return found

    def view(self) -> tuple[float, float, float]:
        """Yaw, pitch in degrees, zoom."""
        view = self.stats()["view"]
        return view["yaw"], view["pitch"], view["zoom"]

    def settle(self) -> None:
        """Wait until nothing moves and the newest viewpoint is on the screen."""
        until(
            self.page,
            "(({resting, sent, shown}) => resting && sent === shown)(visavis.stats())",
        )

    def picture(self) -> Picture:
        """The video's picture of the present viewpoint. RGB [H, W, 3]"""
        self.settle()
        png = np.frombuffer(base64.b64decode(self.page.evaluate(GRAB)), np.uint8)
        return np.ascontiguousarray(cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1])

    def drag(self, yaw: float, pitch: float = 0.0, steps: int = 12) -> None:
        """Drag with the mouse so that the viewpoint moves by so many degrees; no throw."""
        box = self.page.locator("#stage").bounding_box()
        assert box is not None
        side = self.page.evaluate('document.getElementById("video").clientHeight')
        per_degree = side / DEGREES_ACROSS * np.sqrt(self.view()[2])
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x - yaw * per_degree, y + pitch * per_degree, steps=steps)
        self.page.wait_for_timeout(120)  # the hand stands still before it lets go
        mouse.up()

    def press(self, key: str, times: int = 1) -> None:
        """Press a key."""
        for _ in range(times):
            self.page.keyboard.press(key)

    def reset(self) -> None:
        """Back to the front."""
        self.press("r")
        front = "view.yaw === 0 && view.pitch === 0 && view.zoom === 1"
        until(self.page, f"(({{ view }}) => {front})(visavis.stats())")
