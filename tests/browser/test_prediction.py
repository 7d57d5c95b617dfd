"""What prediction is worth: how far the picture on the screen is from the view of that moment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.browser.bar_server import SlowEngine, serving
from tests.browser.chromium import Open
from tests.browser.receiver_page import ReceiverPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SWEEP = """async ({ on, seconds }) => {
  // 25 degrees to each side in 2.5 s, as a hand that looks around.
  const view = (t) => 25 * Math.sin((2 * Math.PI * t) / 2500);
  visavis.motion.at = (now) => (visavis.motion.view = { yaw: view(now), pitch: 0, zoom: 1 });
  const predict = document.getElementById("predict");
  if ((predict.getAttribute("aria-checked") === "true") !== on) predict.click();
  await new Promise((done) => setTimeout(done, 1500));
  const video = document.getElementById("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 1 });
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  const picture = () =>
    new Promise((done) => video.requestVideoFrameCallback(() => done(performance.now())));
  const errors = [];
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    const now = await picture();
    brush.drawImage(video, 0, 100, 256, 1, 0, 0, 256, 1);
    const { data } = brush.getImageData(0, 0, 256, 1);
    const light = [...Array(256).keys()].filter((x) => data[4 * x + 1] > 130);
    const middle = light.reduce((sum, x) => sum + x + 0.5, 0) / light.length;
    if (light.length) errors.push((middle / 256) * 120 - 60 - view(now));
  }
  return errors;
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(SlowEngine()) as address:
        yield address


def errors(page: Page, on: bool, seconds: float = 5) -> list[float]:
    """Degrees from the view of the moment to the view that each presented picture shows."""
    found: list[float] = page.evaluate(SWEEP, {"on": on, "seconds": seconds})
    return found


def test_prediction_brings_the_picture_nearer_to_the_view(
    open_page: Open,
    server: str,
    record_property: pytest.RecordProperty,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = open_page()
    ReceiverPage(page, f"{server}/c/demo")
    page.click("#more")  # shows the switch
    off, on = [], []
    for _ in range(2):  # in turn, for others use this machine too
        off += errors(page, False)
        on += errors(page, True)
    median = {"off": np.median(np.abs(off)), "on": np.median(np.abs(on))}
    root = {"off": np.sqrt(np.mean(np.square(off))), "on": np.sqrt(np.mean(np.square(on)))}
    record_property("median error, degrees", {k: float(v) for k, v in median.items()})
    with capsys.disabled():
        print(
            f"\n  error of the view: median {median['off']:.2f} degrees without prediction, "
            f"{median['on']:.2f} with it; root mean square {root['off']:.2f} and {root['on']:.2f}"
        )
    assert min(len(off), len(on)) > 50
    assert median["on"] < median["off"] * 0.8


def test_prediction_can_be_switched_off_and_that_is_remembered(
    open_page: Open, server: str
) -> None:
    page = open_page()
    receiver = ReceiverPage(page, f"{server}/c/demo")
    assert receiver.stats()["prediction"]["on"] is True
    receiver.press("p")
    assert receiver.stats()["prediction"]["on"] is False
    receiver = ReceiverPage(page, f"{server}/c/demo")
    assert receiver.stats()["prediction"]["on"] is False
    receiver.press("p")
    assert receiver.stats()["prediction"]["on"] is True


def test_less_motion_means_no_prediction(open_page: Open, server: str) -> None:
    receiver = ReceiverPage(open_page(reduced_motion="reduce"), f"{server}/c/demo")
    assert receiver.stats()["prediction"]["on"] is False
    receiver.press("p")
    receiver.press("p")
    assert receiver.stats()["prediction"]["on"] is False
