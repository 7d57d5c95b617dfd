"""What the receiver's page says of the server's load: its GPUs, and that there is no room."""

from __future__ import annotations

import functools
import sys
import time
import urllib.request
from pathlib import Path

import pynvml
import pytest
from playwright.sync_api import expect

from stream import app, problems
from stream.gpu_watch import GpuWatch
from tests.browser.bar_server import SlowEngine, serving
from tests.browser.chromium import WIDE, Open
from tests.browser.receiver_page import ReceiverPage, until
from tests.browser.test_receiver_figures import OVERLAPS
from tests.stream.fake_nvml import Device, FakeNvml

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LIVE_MS = 30_000


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A driver of one GPU, which is looked for often."""
    nvml = FakeNvml(Device())
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    monkeypatch.setattr(app, "GpuWatch", functools.partial(GpuWatch, 0.05, 0.1))
    return nvml


@pytest.mark.parametrize(
    "viewport", [WIDE, {"width": 360, "height": 640}, {"width": 640, "height": 320}]
)
def test_gpu_in_the_figures(
    open_page: Open, nvml: FakeNvml, screenshots: Path, viewport: dict[str, int]
) -> None:
    with serving(SlowEngine()) as address:
        page = open_page(viewport=viewport)
        ReceiverPage(page, f"{address}/c/demo")
        page.get_by_role("button", name="More figures").click()
        row = page.locator("#gpu-row")
        expect(row).to_be_visible()
        expect(page.locator("#gpu")).to_have_text(
            "62 % · 11.0 of 140.0 GB\n54 °C · 311 W · encoder 12 %\nslowed by power",
            use_inner_text=True,
        )
        assert page.evaluate(OVERLAPS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.screenshot(path=screenshots / f"figures-gpu-{viewport['width']}.png")
        nvml.devices[0].lost = pynvml.NVML_ERROR_GPU_IS_LOST
        expect(row).to_be_hidden()
        assert page.get_attribute("#receiver", "data-state") == "live"
        nvml.devices[0].lost = None
        expect(row).to_be_visible()


def test_no_gpu_no_row(open_page: Open, nvml: FakeNvml) -> None:
    nvml.down = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    with serving(SlowEngine()) as address:
        page = open_page()
        ReceiverPage(page, f"{address}/c/demo")
        page.get_by_role("button", name="More figures").click()
        until(page, "visavis.stats().server !== null")
        assert page.evaluate("visavis.stats().server.gpus") == []
        expect(page.locator("#gpu-row")).to_be_hidden()


def test_who_is_turned_away_is_told_and_let_in_later(
    open_page: Open, screenshots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def soon() -> problems.Problem:
        problem = no_time()
        assert int(problem.headers["Retry-After"]) > 2
        problem.headers["Retry-After"] = "2"
        return problem

    no_time = problems.no_time
    monkeypatch.setattr(problems, "no_time", soon)
    engine = SlowEngine()
    engine.slow = 0.2
    with serving(engine) as address:
        first, second = open_page(), open_page()
        ReceiverPage(first, f"{address}/c/demo")
        wait_for_measurement(address)
        joins = []
        second.on("request", lambda r: "/whep/" in r.url and joins.append(time.monotonic()))
        second.goto(f"{address}/c/demo")
        expect(second.locator("#headline")).to_have_text("The server is busy.")
        expect(second.locator("#detail")).to_have_text(
            "It has no time to draw for one more person now. "
            "This page tries again by itself in 2 seconds."
        )
        expect(second.get_by_role("button", name="Try again")).to_be_visible()
        second.screenshot(path=screenshots / "receiver-busy.png")
        # More tries than after a lost connection, and none before its time.
        end = time.monotonic() + 60
        while len(joins) < 6:
            assert time.monotonic() < end
            second.wait_for_timeout(100)
        gaps = [later - earlier for earlier, later in zip(joins, joins[1:], strict=False)]
        assert min(gaps) > 1.9
        first.close()
        expect(second.locator("#receiver")).to_have_attribute("data-state", "live", timeout=LIVE_MS)


def wait_for_measurement(address: str) -> None:
    end = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:
            if b'"budget_used":null' not in answer.read():
                return
        assert time.monotonic() < end
        time.sleep(0.1)
