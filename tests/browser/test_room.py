"""Rooms: people who see and hear each other, watch, leave, and come back after a loss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser import grey_camera
from tests.browser.bar_server import ShadeEngine, serving
from tests.browser.chromium import Open, Watch
from tests.browser.room_page import RoomPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PHONE = {"width": 390, "height": 844}
TALK = {"permissions": ["camera", "microphone"]}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server whose avatars are as light as the camera's picture."""
    with serving(ShadeEngine(), admission="off") as address:
        yield address


def test_two_people_see_and_hear_each_other(
    open_page: Open, server: str, watch: Watch, screenshots: Path
) -> None:
    first = RoomPage.caller(open_page(**TALK), server, 115)
    expect(first.page.locator("#detail")).to_have_text("Nobody is here yet. Send the link.")
    first.page.screenshot(path=screenshots / "room-alone.png")
    second = RoomPage.caller(open_page(**TALK), first.link, 190)
    first.sees(second.stats()["call"])
    second.sees(first.stats()["call"])
    first.sees_shade(0, 190)
    second.sees_shade(0, 115)
    second.page.evaluate("test.grey = 150")  # the avatar goes with the camera
    first.sees_shade(0, 150)
    for one in (first, second):
        one.until(lambda one=one: one.stats()["tiles"][0]["audio"]["playing"], "sound")
        one.until(
            lambda one=one: (one.stats()["tiles"][0]["server"] or {}).get("lift_fps"), "re-lifts"
        )
        assert [m["state"] for m in one.stats()["members"]] == ["live", "live"]
    first.page.screenshot(path=screenshots / "room-two.png")
    first.page.click("#invite")
    expect(first.page.get_by_label("Invite link")).to_be_focused()
    assert second.link == first.link
    assert watch.errors == []


def test_who_only_watches_sees_all_and_is_seen_by_none(
    open_page: Open, server: str, screenshots: Path
) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    second = RoomPage.caller(open_page(**TALK), first.link)
    calls = [one.stats()["call"] for one in (first, second)]
    page = open_page(viewport=PHONE, color_scheme="dark")
    page.goto(first.link)
    expect(page.locator("#headline")).to_have_text("You are invited.")
    expect(page.locator("#detail")).to_contain_text("2 people are here.")
    page.screenshot(path=screenshots / "room-invited-phone-dark.png")
    third = RoomPage.watcher(page, first.link)
    third.sees(*calls)
    page.screenshot(path=screenshots / "room-watching-phone-dark.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    found = third.stats()
    assert (found["call"], found["camera"], found["microphone"]) == (None, False, False)
    assert len(first.stats()["tiles"]) == 1

    second.page.click("#leave")
    expect(second.page.locator("#headline")).to_have_text("You hung up.")
    third.sees(calls[0])
    first.sees()
    expect(first.page.locator("#caller")).not_to_have_class(re.compile("room"))
    first.page.click("#leave")
    expect(page.locator("#headline")).to_have_text("This room is over.")
    expect(page.get_by_role("link", name="Start a call of your own")).to_be_visible()
    assert page.request.get(third.page.url).status == 404


def test_full_room_offers_to_watch(open_page: Open, screenshots: Path) -> None:
    with serving(ShadeEngine(), admission="off", room_size=1) as server:
        first = RoomPage.caller(open_page(**TALK), server)
        page = open_page()
        page.goto(first.link)
        expect(page.locator("#headline")).to_have_text("The room is full.")
        expect(page.get_by_role("button", name="Join with camera")).to_be_hidden()
        page.screenshot(path=screenshots / "room-full.png")
        RoomPage.watcher(page, first.link).sees(first.stats()["call"])


def test_room_that_fills_up_meanwhile(open_page: Open, watch: Watch) -> None:
    with serving(ShadeEngine(), admission="off", room_size=2) as server:
        first = RoomPage.caller(open_page(**TALK), server)
        late = open_page(**TALK)
        grey_camera.give(late)
        late.goto(first.link)
        late.click("#join")
        expect(late.locator("#start")).to_be_visible()
        RoomPage.caller(open_page(**TALK), first.link)
        late.click("#start")
        expect(late.locator("#headline")).to_have_text("The room is full.")
        expect(late.get_by_role("button", name="Only watch")).to_be_visible()
        assert [error for error in watch.errors if "503" not in error] == []


def test_mute_and_camera_off(open_page: Open, server: str, screenshots: Path) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    second = RoomPage.caller(open_page(**TALK), first.link)
    second.sees(first.stats()["call"])

    def loudest(seconds: int) -> float:
        levels = []
        for _ in range(seconds * 4):
            levels.append(second.stats()["tiles"][0]["audio"]["level"] or 0.0)
            second.page.wait_for_timeout(250)
        return max(levels)

    second.until(lambda: second.stats()["tiles"][0]["audio"]["playing"], "sound")
    assert loudest(4) > 0.01  # it beeps once a second
    first.page.keyboard.press("m")
    expect(first.page.locator("#mute")).to_have_attribute("aria-pressed", "false")
    second.page.wait_for_timeout(2500)
    assert loudest(4) < 0.005
    first.page.click("#mute")
    assert loudest(6) > 0.01

    first.page.click("#cover")
    expect(first.page.locator("#banner")).to_contain_text("Your camera is off.")
    expect(second.page.locator(".tile-banner")).to_contain_text("You see them as they were last.")
    assert second.stats()["tiles"][0]["presence"]["state"] == "held"
    second.page.screenshot(path=screenshots / "room-held.png")
    first.page.screenshot(path=screenshots / "room-camera-off.png")
    first.page.click("#cover")
    expect(first.page.locator("#banner")).to_be_hidden()
    expect(second.page.locator(".tile-banner")).to_be_hidden()


def test_who_leaves_the_picture_is_told(open_page: Open, server: str) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    second = RoomPage.caller(open_page(**TALK), first.link)
    second.sees(first.stats()["call"])
    first.page.evaluate("test.grey = 20")
    expect(first.page.locator("#banner")).to_contain_text("Please face the camera.")
    expect(second.page.locator(".tile-banner")).to_contain_text("They have left the picture.")
    first.page.evaluate("test.grey = 160")
    expect(first.page.locator("#banner")).to_be_hidden()
    second.sees_shade(0, 160)


def test_caller_comes_back_after_a_loss(
    open_page: Open, server: str, watch: Watch, screenshots: Path
) -> None:
    first = RoomPage.caller(open_page(**TALK), server, 130)
    second = RoomPage.caller(open_page(**TALK), first.link, 190)
    first.sees(second.stats()["call"])
    second.sees(first.stats()["call"])
    before = first.stats()
    first.page.click("#mute")
    cut = [True]
    first.page.route("**/whip?*", lambda route: route.abort() if cut else route.fallback())
    first.page.evaluate("test.connections[0].close()")  # under the page's hands
    expect(first.page.locator("#banner")).to_have_text("Connection lost. Trying again…")
    expect(second.page.locator(".tile-banner")).to_contain_text("connection to them was lost")
    first.page.screenshot(path=screenshots / "room-lost.png")
    second.page.screenshot(path=screenshots / "room-away.png")
    assert first.stats()["tiles"][0]["state"] == "live"  # the tiles go on
    cut.clear()
    expect(first.page.locator("#banner")).to_be_hidden(timeout=20_000)
    expect(second.page.locator(".tile-banner")).to_be_hidden()
    first.page.evaluate("test.grey = 170")
    second.sees_shade(0, 170)
    after = first.stats()
    assert after["connected"] and after["muted"] and after["state"] == "live"
    for name in ("call", "room", "link"):
        assert after[name] == before[name]
    assert [error for error in watch.errors if "ERR_FAILED" not in error] == []


def test_caller_who_is_lost_during_a_retake_is_live_again(open_page: Open, server: str) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    page = first.page
    page.evaluate("test.grey = 20")  # no portrait is taken of this
    page.wait_for_timeout(500)
    page.click("#retake")
    expect(page.locator("#caller")).to_have_attribute("data-state", "framing")
    page.evaluate("test.connections[0].close()")
    expect(page.locator("#caller")).to_have_attribute("data-state", "live", timeout=20_000)
    expect(page.locator("#detail")).to_contain_text("The connection was lost")
    page.evaluate("test.grey = 160")
    page.wait_for_timeout(2500)  # and none is taken now: the server knows that it was given up
    expect(page.locator("#detail")).to_contain_text("the old portrait stays")


def test_choice_is_not_undone_by_an_invitation_that_looks_who_is_there(
    open_page: Open, server: str
) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    page = open_page()
    page.goto(first.link)
    expect(page.locator("#headline")).to_have_text("You are invited.")
    late: list[Route] = []
    page.route("**/rooms/*", lambda route: late.append(route))
    page.wait_for_timeout(3500)  # it looks every three seconds
    assert late
    page.click("#watch")
    for route in late:
        route.continue_()
    page.unroute("**/rooms/*")
    page.wait_for_timeout(500)
    expect(page.locator("#caller")).to_have_attribute("data-state", "watching")


def test_each_tile_has_a_view_of_its_own(open_page: Open, server: str, screenshots: Path) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    second = RoomPage.caller(open_page(**TALK), first.link)
    third = RoomPage.watcher(open_page(), first.link)
    third.sees(first.stats()["call"], second.stats()["call"])

    def yaws() -> list[float]:
        return [round(tile["view"]["yaw"], 1) for tile in third.stats()["tiles"]]

    third.until(lambda: yaws() == [-7.5, 7.5], "people who face each other")
    stages = third.page.locator(".tile .stage")
    stages.nth(1).focus()
    third.page.keyboard.press("ArrowRight")
    third.page.keyboard.press("ArrowRight")
    third.until(lambda: yaws() == [-7.5, 13.5], "keys steer the focused tile")
    box = stages.nth(0).bounding_box()
    assert box is not None
    mouse, x, y = third.page.mouse, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x - 60, y, steps=6)
    third.page.wait_for_timeout(150)
    mouse.up()
    third.until(lambda: yaws()[0] > -2 and yaws()[1] == 13.5, "the mouse steers what it drags")
    third.page.screenshot(path=screenshots / "room-steered.png")
    third.page.keyboard.press("r")  # of the tile that was touched last
    third.until(lambda: yaws() == [-7.5, 13.5], "reset leads back to the seat's own view")


def test_call_without_a_microphone(open_page: Open, server: str, screenshots: Path) -> None:
    page = open_page(**TALK)
    grey_camera.give(page)
    page.add_init_script("test.deaf = true;")
    page.goto(server)
    expect(page.locator("#unheard")).to_have_text(
        "No microphone was found: you will be seen, but not heard."
    )
    page.screenshot(path=screenshots / "caller-no-microphone.png")
    page.click("#start")
    page.wait_for_selector('#caller[data-state="live"]')
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "false")
    listener = RoomPage.watcher(open_page(), page.input_value("#link"))
    listener.sees(page.evaluate("visavis.stats().call"))
    assert listener.stats()["sound"] == "none"
    page.evaluate("test.deaf = false")  # it is plugged in now
    page.click("#mute")
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    listener.until(lambda: listener.stats()["sound"] == "playing", "sound")


def test_sound_that_the_browser_keeps_back_can_be_turned_on(
    open_page: Open, server: str, screenshots: Path
) -> None:
    first = RoomPage.caller(open_page(**TALK), server)
    page = open_page(viewport=PHONE)
    # Headless browsers play all: this is what the others say before the user has done something.
    page.add_init_script(
        """
        const { play } = HTMLMediaElement.prototype;
        let touched = false;
        addEventListener("pointerdown", () => (touched = true), true);
        HTMLMediaElement.prototype.play = function () {
          const refused = this instanceof HTMLAudioElement && !touched;
          const error = new DOMException("for the test", "NotAllowedError");
          return refused ? Promise.reject(error) : play.call(this);
        };
        """
    )
    page.goto(first.stats()["link"])
    expect(page.locator("#sound-on")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(600)  # the picture fades in
    page.screenshot(path=screenshots / "receiver-sound-blocked-phone.png")
    assert page.evaluate("visavis.stats().audio.playing") is False
    page.click("#sound-on")
    expect(page.locator("#sound-on")).to_be_hidden()
    expect(page.locator("#sound")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("visavis.stats().audio.playing") is True
    tools = page.locator("#tools").bounding_box()
    assert tools is not None and tools["x"] >= 0
    page.screenshot(path=screenshots / "receiver-sound-phone.png")
    page.click("#sound")
    expect(page.locator("#sound")).to_have_attribute("aria-pressed", "false")


def test_room_that_never_was(open_page: Open, server: str) -> None:
    response = open_page().goto(f"{server}/r/nobody")
    assert response is not None and response.status == 404
