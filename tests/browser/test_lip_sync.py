"""Sound is heard when the mouth is seen to speak: flashes and beeps through a whole call."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from models.engine import RenderRequest
from tests.browser import flash_film, lip_sync
from tests.browser.bar_server import serving
from tests.browser.chromium import Open, open_browser
from tests.stream.bar_engine import BarAvatar, BarEngine, Picture

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

DARK, BRIGHT = 130, 230
"""Both fit for the engine that draws bars: a darker picture has no face in it."""

FLASHES = 8
WARM_UP = 6.0
PATIENCE = 75.0
"""Seconds. A browser that has stuttered buffers more sound, and needs half a minute to settle."""

BUSY_MS = 150.0
"""Sound that a browser buffers on loopback where it is kept from running for as long."""


class FlashEngine(BarEngine):
    """Draws the whole picture as bright as the camera's; lifting and rendering take their time."""

    def _draw(self, request: RenderRequest) -> Picture:
        avatar = request.avatar
        assert isinstance(avatar, BarAvatar) and not avatar.closed, "rendered after closing"
        picture = np.full((self.size * 3 // 2, self.size), 128, np.uint8)
        picture[: self.size] = round(avatar.brightness)
        return picture


def camera(number: int, flash: bool) -> Picture:
    """A wall, with a little that moves: no camera gives the same picture twice."""
    picture = np.full((480, 640, 3), BRIGHT if flash else DARK, np.uint8)
    picture[10:20, number % 600 : number % 600 + 20] += 10
    return picture


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium whose camera flashes and whose microphone beeps."""
    folder = tmp_path_factory.mktemp("flashes")
    with open_browser(*flash_film.write_flashes(folder, camera)) as opened:
        yield opened


@pytest.mark.parametrize(("lift", "render"), [(0.03, 0.005), (0.12, 0.03)], ids=["quick", "slow"])
def test_sound_is_in_time_with_the_picture(open_page: Open, lift: float, render: float) -> None:
    with serving(FlashEngine(seconds=render, follow_seconds=lift)) as address:
        page = open_page()
        lip_sync.open_call(page, address)
        page.wait_for_timeout(WARM_UP * 1000)
        end = time.monotonic() + PATIENCE
        while True:
            result = lip_sync.measure(page, FLASHES, 0.0, timeout=30)
            print(json.dumps(result.report()))
            assert len(result.error) >= FLASHES // 2, result
            if lip_sync.EARLY <= statistics.median(result.error) <= lip_sync.LATE:
                break
            if time.monotonic() > end:
                buffered = result.page["playout"][-1]
                if buffered > BUSY_MS:
                    pytest.skip(f"The machine is too busy: the browser buffers {buffered:.0f} ms.")
                pytest.fail(f"Sound is off its picture: {result.report()}")
        page.close()
