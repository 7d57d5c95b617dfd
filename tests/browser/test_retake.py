"""A new portrait while live: giving it up, changing the camera, losing it. The call stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import WIDE, Watch
from tests.browser.receiver_page import ReceiverPage

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]

LIVE_MS = 120_000
PHONE = {"width": 360, "height": 700}

CAMERA = """
  // The browser's camera, over which the test hangs a cloth, so that no portrait is taken too soon;
  // a second camera in the list is busy, and none may be left at all.
  const media = MediaDevices.prototype;
  const { enumerateDevices, getUserMedia } = media;
  const test = (window.test = { covered: false, gone: false, track: null });
  media.getUserMedia = async function (wanted) {
    if (test.gone) throw new DOMException("for the test", "NotFoundError");
    const busy = wanted.video.deviceId?.exact === "busy";
    if (busy) throw new DOMException("for the test", "NotReadableError");
    const film = document.createElement("video");
    film.srcObject = await getUserMedia.call(this, { video: true });
    await film.play();
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
    const brush = canvas.getContext("2d");
    setInterval(() => {
      if (test.covered) brush.fillRect(0, 0, 640, 480);
      else brush.drawImage(film, 0, 0, 640, 480);
    }, 60);
    const stream = canvas.captureStream(15);
    [test.track] = stream.getVideoTracks();
    return stream;
  };
  media.enumerateDevices = async function () {
    const devices = await enumerateDevices.call(this);
    return [...devices, { kind: "videoinput", deviceId: "busy", label: "Busy camera" }];
  };
  test.unplug = () => {
    test.gone = true;
    test.track.stop();
    test.track.dispatchEvent(new Event("ended"));
  };
"""


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def caller(browser: Browser, server: str, watch: Watch) -> Iterator[Page]:
    """A caller who is live."""
    with browser.new_context(viewport=WIDE, permissions=["camera"]) as context:
        page = watch.context(context).new_page()
        page.add_init_script(CAMERA)
        page.goto(server)
        page.click("#start")
        in_state(page, "live")
        yield page


@pytest.fixture(scope="module")
def receiver(caller: Page) -> ReceiverPage:
    """Somebody who looks at the caller all the while."""
    return ReceiverPage(caller.context.new_page(), caller.evaluate("visavis.stats().link"))


def in_state(page: Page, state: str) -> None:
    expect(page.locator("#caller")).to_have_attribute("data-state", state, timeout=LIVE_MS)


def retake_behind_a_cloth(page: Page) -> None:
    page.bring_to_front()
    page.evaluate("test.covered = true")
    page.wait_for_timeout(1000)  # the pictures before it are on their way
    page.click("#retake")
    in_state(page, "framing")


def test_old_portrait_can_be_kept(caller: Page, receiver: ReceiverPage, screenshots: Path) -> None:
    link = caller.input_value("#link")
    retake_behind_a_cloth(caller)
    expect(caller.locator(".badge")).to_be_visible()  # the receivers still see the caller
    expect(caller.get_by_role("button", name="Hang up")).to_be_visible()
    caller.screenshot(path=screenshots / "caller-retake.png")
    caller.set_viewport_size(PHONE)
    caller.emulate_media(color_scheme="dark")
    assert caller.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    caller.screenshot(path=screenshots / "caller-retake-phone-dark.png", full_page=True)
    caller.set_viewport_size(WIDE)
    caller.emulate_media(color_scheme="light")
    caller.get_by_role("button", name="Keep the old portrait").click()
    in_state(caller, "live")
    expect(caller.get_by_label("Invite link")).to_have_value(link)
    expect(caller.locator("#detail")).to_have_text("1 person is looking at you.")
    expect(caller.locator("#keep")).to_be_hidden()
    caller.evaluate("test.covered = false")  # in plain view, and yet no portrait is taken
    caller.wait_for_timeout(5000)
    expect(caller.locator("#detail")).to_have_text("1 person is looking at you.")
    assert receiver.stats()["state"] == "live"


def test_camera_that_does_not_start_changes_nothing(
    caller: Page, receiver: ReceiverPage, screenshots: Path
) -> None:
    retake_behind_a_cloth(caller)
    before = caller.input_value("#device")
    caller.select_option("#device", "busy")
    expect(caller.locator("#other")).to_have_text(
        "That camera is in use by another program. The one before stays on."
    )
    caller.screenshot(path=screenshots / "caller-busy-camera.png")
    assert caller.input_value("#device") == before
    assert caller.evaluate("test.track.readyState") == "live"
    assert caller.get_attribute("#caller", "data-state") == "framing"
    caller.click("#keep")
    in_state(caller, "live")
    assert receiver.stats()["state"] == "live"


def test_call_outlives_the_camera(
    caller: Page, receiver: ReceiverPage, server: str, screenshots: Path
) -> None:
    retake_behind_a_cloth(caller)
    caller.evaluate("test.unplug()")
    in_state(caller, "live")
    expect(caller.locator("#headline")).to_have_text("You are live.")
    expect(caller.locator("#detail")).to_contain_text("No camera was found. Your avatar stays")
    caller.screenshot(path=screenshots / "caller-lost-camera.png")
    slug = caller.evaluate("visavis.stats().call")
    assert caller.request.get(f"{server}/calls/{slug}").json()["state"] == "live"
    caller.click("#retake")  # looks for a camera, in vain
    expect(caller.locator("#detail")).to_contain_text("No camera was found. Your avatar stays")
    in_state(caller, "live")
    assert receiver.stats()["state"] == "live"


def test_retake_goes_on_once_the_camera_is_back(caller: Page, receiver: ReceiverPage) -> None:
    caller.evaluate("Object.assign(test, { gone: false, covered: false })")
    caller.bring_to_front()
    caller.click("#retake")
    expect(caller.locator("#caller")).not_to_have_attribute("data-state", "live")
    in_state(caller, "live")
    expect(caller.locator("#detail")).to_have_text("1 person is looking at you.")
    assert receiver.stats()["state"] == "live"


def test_pages_are_quiet(watch: Watch) -> None:
    assert watch.errors == []
    assert watch.foreign == []
