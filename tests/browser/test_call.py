"""A call from the camera to the receiver's screen: a real server, real networks, a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.chromium import Watch
from tests.browser.fake_camera import person
from tests.browser.likeness import FaceReader, SeenFace, likeness
from tests.browser.receiver_page import ReceiverPage, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

EMPTY_SECONDS = 5
"""The film begins with an empty wall for so long."""
LIVE_SECONDS = 75
WIDE = {"width": 1280, "height": 800}


@dataclass
class Call:
    """A live call.

    Args:
        context: of both pages.
        caller: the caller's page.
        receiver: the receiver's.
        said: headlines of the caller's page from Start to live, in order, with its state.
        watch: what went wrong in the pages.
        front: the first picture that was received.
    """

    context: BrowserContext
    caller: Page
    receiver: ReceiverPage
    said: list[tuple[str, str]]
    watch: Watch
    front: np.ndarray


@pytest.fixture(scope="module")
def call(browser: Browser, server: str, screenshots: Path) -> Iterator[Call]:
    """From the caller's page to a receiver who sees something."""
    watch = Watch()
    context = watch.context(browser.new_context(viewport=WIDE, permissions=["camera"]))
    caller = context.new_page()
    caller.goto(server)
    caller.wait_for_selector("#start:visible")
    caller.click("#start")
    said: list[tuple[str, str]] = []
    until = time.monotonic() + LIVE_SECONDS
    while not said or said[-1][0] != "live":
        assert time.monotonic() < until, f"not live after {LIVE_SECONDS} s; the page said {said}"
        now = (caller.get_attribute("#caller", "data-state") or "", caller.inner_text("#headline"))
        if not said or said[-1] != now:
            said.append(now)
            if now[0] == "building" or (now[0] == "framing" and "face" in now[1].lower()):
                caller.screenshot(path=screenshots / f"caller-{now[0]}.png")
        caller.wait_for_timeout(50)
    receiver = ReceiverPage(context.new_page(), caller.evaluate("visavis.stats().link"))
    yield Call(context, caller, receiver, said, watch, receiver.picture())
    context.close()


@pytest.fixture(scope="module")
def read_face() -> FaceReader:
    return FaceReader()


@pytest.fixture(scope="module")
def before_camera(read_face: FaceReader) -> SeenFace:
    """The person as the camera sees her."""
    return read_face(person())


def save(path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(path), picture[..., ::-1])


def test_page_says_in_words_what_is_wrong_until_the_frame_is_fit(call: Call) -> None:
    states = [state for state, _ in call.said]
    assert states.index("framing") < states.index("building") < states.index("live")
    words = [words for state, words in call.said if state == "framing"]
    assert any("face" in sentence.lower() for sentence in words), words  # the film begins empty
    assert call.said[-1] == ("live", "You are live.")


def test_invite_link_leads_to_this_call(call: Call, server: str) -> None:
    link = call.caller.input_value("#link")
    assert link.startswith(f"{server}/r/")
    assert len(link.removeprefix(f"{server}/r/")) >= 16
    assert call.context.request.get(link.replace("/r/", "/rooms/")).json()["members"] == [
        {"call": call.receiver.stats()["call"], "state": "live"}
    ]
    expect(call.caller.locator("#detail")).to_have_text("1 person is looking at you.")


def test_invite_link_is_copied(call: Call) -> None:
    call.caller.bring_to_front()
    call.context.grant_permissions(["camera", "clipboard-read", "clipboard-write"])
    call.caller.click("#copy")
    expect(call.caller.locator("#copy")).to_have_text("Copied")
    copied = call.caller.evaluate("navigator.clipboard.readText()")
    assert copied == call.caller.input_value("#link")
    call.receiver.page.bring_to_front()


def test_received_picture_is_the_person(
    call: Call,
    browser: Browser,
    server: str,
    read_face: FaceReader,
    before_camera: SeenFace,
    screenshots: Path,
    record_property: pytest.RecordProperty,
) -> None:
    save(screenshots / "received-front.png", call.front)
    received = read_face(call.front)
    with browser.new_context(viewport=WIDE) as context:
        other = ReceiverPage(context.new_page(), f"{server}/c/demo").picture()
    save(screenshots / "received-demo.png", other)
    same = likeness(received, before_camera)
    control = likeness(read_face(other), before_camera)
    record_property("likeness", {"same person": same, "demo person": control})
    assert same > 0.8, f"likeness to the camera's picture {same:.2f}"
    assert same > control + 0.2, f"likeness {same:.2f}, of another person {control:.2f}"


def test_view_moves_the_right_way(
    call: Call, read_face: FaceReader, screenshots: Path, record_property: pytest.RecordProperty
) -> None:
    """From the right (yaw > 0) the nose is seen further left between the ears, and vice versa."""
    nose = {}
    for yaw in (25, -25):
        call.receiver.reset()
        call.receiver.drag(yaw)
        assert call.receiver.view()[0] == pytest.approx(yaw, abs=1.5)
        picture = call.receiver.picture()
        save(screenshots / f"received-yaw{yaw:+d}.png", picture)
        nose[yaw] = read_face(picture).nose_between_ears
    record_property("nose between the ears", nose)
    assert nose[-25] - nose[25] >= 0.10


def test_arrow_keys_move_as_dragging_does(call: Call, read_face: FaceReader) -> None:
    receiver = call.receiver
    receiver.reset()
    front = read_face(receiver.picture())
    receiver.press("ArrowRight", 6)
    from_right = read_face(receiver.picture())
    assert receiver.view()[0] == pytest.approx(18, abs=0.1)
    assert from_right.nose_between_ears < front.nose_between_ears - 0.03

    receiver.reset()
    receiver.press("ArrowUp", 5)
    from_above = read_face(receiver.picture())
    assert receiver.view()[1] == pytest.approx(15, abs=0.1)
    # From above the tip of the nose comes nearer to the chin.
    assert nose_above_chin(from_above) < nose_above_chin(front) - 0.02


def nose_above_chin(face: SeenFace) -> float:
    """Height of the nose tip between chin (0) and forehead (1)."""
    forehead, nose, chin = (face.points[i, 1] for i in (10, 1, 152))
    return float((chin - nose) / (chin - forehead))


def test_wheel_zooms(call: Call, read_face: FaceReader) -> None:
    receiver = call.receiver
    receiver.reset()
    small = read_face(receiver.picture()).points
    receiver.page.mouse.move(640, 400)
    receiver.page.mouse.wheel(0, -200)
    until(receiver.page, "visavis.stats().view.zoom > 1.1")
    zoom = receiver.view()[2]
    large = read_face(receiver.picture()).points
    assert np.ptp(large[:, 0]) / np.ptp(small[:, 0]) == pytest.approx(zoom, rel=0.1)


def test_reset_returns_to_the_start_view(call: Call, read_face: FaceReader) -> None:
    """Judged by landmarks: a busy server may refine one of the pictures and not the other."""
    receiver = call.receiver
    receiver.reset()
    receiver.drag(30, 12)
    away = read_face(receiver.picture()).points
    receiver.page.mouse.dblclick(640, 300)
    until(receiver.page, "visavis.stats().view.yaw === 0 && visavis.stats().resting")
    assert receiver.view() == (0, 0, 1)
    back = read_face(receiver.picture()).points
    front = read_face(call.front).points
    returned = np.linalg.norm(back - front, axis=1).mean()
    moved = np.linalg.norm(away - front, axis=1).mean()
    assert returned < 3, f"landmarks are {returned:.1f} px from the start view"
    assert moved > 8, f"landmarks moved by {moved:.1f} px only"


def test_speed_is_measured_and_shown(
    call: Call, capsys: pytest.CaptureFixture[str], record_property: pytest.RecordProperty
) -> None:
    """Printed, not asserted: this machine may be busy."""
    receiver = call.receiver
    receiver.reset()
    for yaw in (20, -40, 20):
        receiver.drag(yaw, steps=25)
    receiver.settle()
    stats = receiver.stats()
    photon = stats["motionToPhoton"]
    assert photon["count"] >= 10 and 0 < photon["p50"] <= photon["p95"]
    assert stats["fps"] > 0 and stats["rtt"] > 0 and stats["bitrate"] > 0
    assert (stats["width"], stats["height"]) == (256, 256)
    record_property("stats", stats)
    with capsys.disabled():
        print(
            f"\n  {stats['fps']:.1f} pictures per second presented, motion to photon "
            f"p50 {photon['p50']:.0f} ms, p95 {photon['p95']:.0f} ms ({photon['count']} moves), "
            f"{stats['bitrate'] / 1e6:.2f} Mbit/s, round trip {stats['rtt']:.0f} ms, "
            f"server {stats['server']}"
        )


def test_figures_and_raw_picture_can_be_switched(call: Call, screenshots: Path) -> None:
    receiver, page = call.receiver, call.receiver.page
    receiver.reset()
    page.bring_to_front()
    page.click("#more")
    until(page, 'document.getElementById("fps").textContent > "0"')
    assert "ms" in page.inner_text("#photon")
    assert "256 × 256" in page.inner_text("#resolution")
    page.mouse.move(640, 700)
    page.wait_for_timeout(1500)
    page.screenshot(path=screenshots / "receiver-figures.png")

    page.click("#refine")
    until(page, "visavis.stats().server?.refined === false")
    assert page.inner_text("#refine-word") == "Raw"
    page.screenshot(path=screenshots / "receiver-raw.png")
    page.click("#refine")
    assert page.inner_text("#refine-word") == "Refined"
    page.click("#more")
    receiver.drag(20, 4)
    receiver.settle()
    page.mouse.move(640, 700)
    page.screenshot(path=screenshots / "receiver.png")


def test_portrait_can_be_taken_again(call: Call) -> None:
    """The call goes on meanwhile: same link, same receiver."""
    link = call.caller.input_value("#link")
    call.caller.bring_to_front()
    call.caller.click("#retake")
    expect(call.caller.locator("#caller")).not_to_have_attribute("data-state", "live")
    assert call.receiver.stats()["state"] == "live"
    expect(call.caller.locator("#caller")).to_have_attribute(
        "data-state", "live", timeout=LIVE_SECONDS * 1000
    )
    assert call.caller.input_value("#link") == link
    call.receiver.page.bring_to_front()
    call.receiver.reset()
    assert call.receiver.stats()["state"] == "live"


def test_pages_are_quiet_and_stay_at_home(call: Call) -> None:
    assert call.watch.errors == []
    assert call.watch.foreign == []


def test_hanging_up_ends_the_call_for_the_receiver(call: Call, screenshots: Path) -> None:
    """The last one: the call is over then."""
    call.caller.bring_to_front()
    call.caller.screenshot(path=screenshots / "caller-live.png")
    call.caller.click("#leave")
    call.receiver.page.wait_for_selector('#receiver[data-state="ended"]')
    assert call.receiver.page.inner_text("#headline") == "The call has ended."
    call.receiver.page.screenshot(path=screenshots / "receiver-ended.png")
    response = call.context.request.get(call.receiver.page.url)
    assert response.status == 404
    assert "There is no call here." in response.text()
