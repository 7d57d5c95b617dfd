"""What the receiver's page says of the connection: figures, and what the server sends."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import WIDE, Open
from tests.browser.receiver_page import ReceiverPage, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

VIEWPORTS = {
    "desktop": WIDE,
    "phone": {"width": 390, "height": 844},
    "small": {"width": 360, "height": 640},
    "sideways": {"width": 640, "height": 320},
}

OVERLAPS = """() => {
  const shown = ["#panel", ".hint", ".tools", ".brand"].map((name) => document.querySelector(name));
  const boxes = shown.map((part) => [part.className, part.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
    .filter(([, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
    .map(([other]) => `${one} and ${other}`));
}"""

CONTRASTS = """() => {
  // The worst case: everything stands on white.
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, alpha = 1], under) =>
    [r, g, b].map((value, i) => value * alpha + under[i] * (1 - alpha));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const white = [255, 255, 255];
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return ["#tools", "#panel"].flatMap((plate) => {
    const { backgroundColor, opacity } = getComputedStyle(document.querySelector(plate));
    const ground = over(numbers(backgroundColor), white);
    const faded = (rgb) => light(over([...rgb, Number(opacity)], white));
    return [...document.querySelectorAll(`${plate} :is(span, small, dt, dd)`)]
      .filter((part) => part.checkVisibility() && !part.children.length && part.textContent.trim())
      .map((part) => [
        part.textContent,
        contrast(faded(over(numbers(getComputedStyle(part).color), ground)), faded(ground)),
      ]);
  });
}"""


def told_raw(page: Page) -> None:
    """Lets the page hear that the server sends raw pictures, and few, as a busy one does."""
    page.add_init_script(
        """
        const add = RTCDataChannel.prototype.addEventListener;
        RTCDataChannel.prototype.addEventListener = function (kind, listener, options) {
          if (kind !== "message") return add.call(this, kind, listener, options);
          const told = (text) => text
            .replace('"refined":true', '"refined":false')
            .replace(/"effort":"[a-z]+"/, '"effort":"slow"');
          const raw = ({ data }) => listener({ data: told(data) });
          return add.call(this, kind, raw, options);
        };
        """
    )


@pytest.mark.parametrize("name", VIEWPORTS)
def test_figures_are_shown_and_cover_nothing(
    open_page: Open, server: str, screenshots: Path, name: str
) -> None:
    page = open_page(viewport=VIEWPORTS[name], has_touch=name != "desktop")
    told_raw(page)
    ReceiverPage(page, f"{server}/c/demo")
    expect(page.locator("#hint")).to_be_visible()
    expect(page.locator("#panel")).to_be_visible()
    expect(page.get_by_role("button", name="Figures", exact=True)).to_have_text("Figures")
    for label in ("Frames/s", "Bit rate", "Motion to photon"):
        assert label in page.inner_text("#panel")
    expect(page.locator("#refine-now")).to_be_visible()
    assert page.evaluate(OVERLAPS) == []
    page.screenshot(path=screenshots / f"figures-{name}.png")
    page.get_by_role("button", name="More figures").click()
    expect(page.locator("#rest")).to_be_visible()
    expect(page.locator("#effort")).to_have_text("refining, every second frame")
    assert page.evaluate(OVERLAPS) == []
    page.screenshot(path=screenshots / f"figures-{name}-more.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= VIEWPORTS[name]["width"]


def test_hidden_figures_stay_hidden(open_page: Open, server: str) -> None:
    page = open_page()
    ReceiverPage(page, f"{server}/c/demo")
    page.get_by_role("button", name="Figures", exact=True).click()
    expect(page.locator("#panel")).to_be_hidden()
    receiver = ReceiverPage(page, f"{server}/c/demo")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#figures")).to_have_attribute("aria-pressed", "false")
    receiver.press("s")
    expect(page.locator("#panel")).to_be_visible()
    ReceiverPage(page, f"{server}/c/demo")
    expect(page.locator("#panel")).to_be_visible()


def test_raw_pictures_are_said_in_words_that_can_be_read(open_page: Open, server: str) -> None:
    page = open_page()
    told_raw(page)
    receiver = ReceiverPage(page, f"{server}/c/demo")
    expect(page.locator("#refine .words")).to_have_text("Refined raw for speed")
    width = page.locator("#tools").bounding_box()
    receiver.press("d")  # raw was asked for: there is nothing to add
    expect(page.locator("#refine-now")).to_be_hidden()
    assert page.locator("#tools").bounding_box() == width
    page.wait_for_selector("main.calm")
    page.wait_for_timeout(600)  # the tools fade
    off = dict(page.evaluate(CONTRASTS))
    receiver.press("d")
    expect(page.locator("#refine-now")).to_be_visible()
    page.wait_for_selector("main.calm")
    page.wait_for_timeout(600)
    until(page, "Number(getComputedStyle(document.getElementById('tools')).opacity) < 1")
    contrasts = {**dict(page.evaluate(CONTRASTS)), "off": off["Raw"]}
    assert {"Refined", "raw for speed", "Figures", "Bit rate"} <= set(contrasts)
    assert {text: value for text, value in contrasts.items() if value < 4.5} == {}
