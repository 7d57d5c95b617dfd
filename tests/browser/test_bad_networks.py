"""A call over bad networks: a real Chromium, a real server, and a relay that spoils what goes by.

The engine draws a bar on grains of noise, so that video takes the bits of a real one. All figures,
of more networks, are in docs/networks.md.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.browser import grey_camera
from tests.browser.bad_network import VideoWatch, lead_through
from tests.browser.bar_server import serving
from tests.browser.chromium import Open
from tests.browser.receiver_page import ReceiverPage, until
from tests.stream.bar_engine import bar_yaw
from tests.stream.busy_engine import BusyEngine
from tests.stream.udp_relay import BLACK, CLEAR, RelayThread, Way, relaying

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

LIVE_MS = 60_000
LIMIT_SECONDS = 6
COMEBACK_SECONDS = 45
"""At most; without other load it takes some twelve."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(BusyEngine()) as address:
        yield address


@pytest.fixture
def network() -> Iterator[RelayThread]:
    with relaying(seed=5) as network:
        yield network


@pytest.fixture
def receiver(open_page: Open, server: str, network: RelayThread) -> ReceiverPage:
    """A page that watches, through a network without faults as yet."""
    page = open_page()
    lead_through(page, network)
    receiver = ReceiverPage(page, f"{server}/c/demo")
    look_around(page, 2)
    assert network.relay.down.counts.octets > 100_000, "video goes another way"
    return receiver


def look_around(page: Page, seconds: float) -> None:
    """Move the view to and fro: a view that rests is sent less often."""
    end, step = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        page.keyboard.press("ArrowRight" if step // 8 % 2 else "ArrowLeft")
        page.wait_for_timeout(60)
        step += 1


def described(server: str, call: str = "demo") -> dict[str, object]:
    with urllib.request.urlopen(f"{server}/calls/{call}", timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def connections(page: Page) -> int:
    count: int = page.evaluate("connections.length")
    return count


def first_after(watch: VideoWatch, moment: float) -> float:
    """Milliseconds from a moment of time.time() to the first picture that was presented later."""
    return min(time_ms - moment * 1e3 for time_ms in watch.presented() if time_ms > moment * 1e3)


def test_5_percent_loss_freezes_nothing(
    receiver: ReceiverPage, network: RelayThread, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = VideoWatch(receiver.page)
    look_around(receiver.page, 5)
    clear = watch.longest_gap()
    network.relay.set(Way(loss=0.05))
    watch.restart()
    look_around(receiver.page, 8)
    found, gap = watch.counts(), watch.longest_gap()
    with capsys.disabled():
        print(f"\n  5 % loss: longest gap {gap:.0f} ms, without loss {clear:.0f} ms; {found}")
    assert network.relay.down.counts.lost > 10
    assert found["nackCount"] > 10
    assert found["retransmittedPacketsReceived"] > 10
    # A busy machine makes gaps of its own, which the clear network shows.
    assert gap < 500 + max(0.0, clear - 150)


def test_what_cannot_be_repaired_ends_with_a_key_frame(
    receiver: ReceiverPage, network: RelayThread
) -> None:
    watch = VideoWatch(receiver.page)
    before = receiver.stats()["server"]["bitrate"]
    network.relay.down.way = Way(loss=0.7)
    end = time.monotonic() + 20
    while not watch.counts()["pliCount"]:
        assert time.monotonic() < end, "Chromium asks for no key frame"
        look_around(receiver.page, 0.5)
    while receiver.stats()["server"]["bitrate"] > 0.6 * before:
        assert time.monotonic() < end, "as much is sent as before"
        look_around(receiver.page, 0.5)
    network.relay.set(CLEAR)
    clear = time.time()
    look_around(receiver.page, 3)
    assert watch.counts()["keyFramesDecoded"] >= 1
    assert first_after(watch, clear) < 2000


def test_a_blackout_of_two_seconds_is_over_when_it_ends(
    receiver: ReceiverPage, network: RelayThread, capsys: pytest.CaptureFixture[str]
) -> None:
    page = receiver.page
    watch = VideoWatch(page)
    before = connections(page)
    network.relay.set(BLACK)
    look_around(page, 2)
    network.relay.set(CLEAR)
    ended = time.time()
    look_around(page, 2)
    first = first_after(watch, ended)
    with capsys.disabled():
        print(f"\n  blackout: first picture {first:.0f} ms after its end")
    assert watch.longest_gap() > 1500, "the blackout was none"
    assert first < 1000
    assert connections(page) == before, "no new connection is needed"
    assert receiver.stats()["state"] == "live"
    receiver.settle()
    shown = bar_yaw(receiver.picture()[..., 1])
    assert abs(shown - receiver.view()[0]) < 3


def test_the_bitrate_falls_and_comes_back(
    receiver: ReceiverPage, network: RelayThread, capsys: pytest.CaptureFixture[str]
) -> None:
    """400 kbit/s with room for half a second of it: delay grows to that where nobody gives way."""
    page = receiver.page
    look_around(page, 3)  # Chromium says nothing of the bitrate in the first seconds
    watch = VideoWatch(page)
    rates, gaps = [], []

    def measure() -> None:
        watch.restart()
        look_around(page, 1)
        rates.append(watch.counts()["bytesReceived"] * 8e-3)
        gaps.append(watch.longest_gap())

    network.relay.down.way = Way(rate=400_000)
    for _ in range(LIMIT_SECONDS):
        measure()
    limited = np.mean(rates[3:])
    photon = receiver.stats()["motionToPhoton"]
    network.relay.set(CLEAR)
    end = time.monotonic() + COMEBACK_SECONDS
    while time.monotonic() < end and (
        len(rates) < LIMIT_SECONDS + 3 or np.mean(rates[-2:]) < 1.2 * limited
    ):
        measure()
    with capsys.disabled():
        print(f"\n  kbit/s {[round(r) for r in rates]}, gaps {[round(g) for g in gaps]}, {photon}")
    assert limited < 400
    assert min(gaps[3:LIMIT_SECONDS]) < 300, "pictures still wait or are lost"
    assert photon["p50"] < 250, "delay has grown"
    assert np.mean(rates[-2:]) > 1.2 * limited


def test_a_long_blackout_is_noticed_by_both_sides_and_ends_in_the_same_view(
    receiver: ReceiverPage, server: str, network: RelayThread
) -> None:
    page = receiver.page
    receiver.press("ArrowRight", 5)
    receiver.settle()
    view, before = receiver.view(), connections(page)
    network.relay.set(BLACK)
    begun = time.monotonic()
    noticed = freed = 0.0
    while not (noticed and freed) and time.monotonic() < begun + 15:
        page.wait_for_timeout(50)
        if not noticed and page.get_attribute("#receiver", "data-state") == "reconnecting":
            noticed = time.monotonic() - begun
        if not freed and described(server)["receivers"] == 0:
            freed = time.monotonic() - begun
    network.relay.set(CLEAR)
    assert 4 < noticed < 9 and 4 < freed < 10, (noticed, freed)
    assert page.locator("#banner").is_visible()
    page.wait_for_selector('#receiver[data-state="live"]', timeout=LIVE_MS)
    assert connections(page) > before
    assert receiver.view() == view
    shown = bar_yaw(receiver.picture()[..., 1])
    assert abs(shown - view[0]) < 3


def test_a_caller_over_a_bad_network_keeps_the_call(
    open_page: Open, server: str, network: RelayThread
) -> None:
    """5 % loss from the beginning, then a blackout in which the connection is given up."""
    network.relay.set(Way(loss=0.05, delay=0.02))
    page = open_page(permissions=["camera", "microphone"])
    grey_camera.give(page)
    lead_through(page, network)
    page.goto(server)
    page.click("#start")
    page.wait_for_selector('#caller[data-state="live"]', timeout=LIVE_MS)
    call = page.evaluate("visavis.stats().call")
    before = connections(page)
    network.relay.set(BLACK)
    until(page, f"visavis.stats().state !== 'live' || connections.length > {before}", 15)
    page.wait_for_timeout(1000)
    network.relay.set(CLEAR)
    page.wait_for_selector('#caller[data-state="live"]', timeout=LIVE_MS)
    until(page, "connections.at(-1).connectionState === 'connected'", 30)
    assert page.evaluate("visavis.stats().call") == call
    assert described(server, call)["state"] == "live"
