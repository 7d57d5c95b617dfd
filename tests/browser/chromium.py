"""The system's Chromium with a fake camera, kept away from every address but 127.0.0.1."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Route,
    sync_playwright,
)

WIDE = {"width": 1280, "height": 800}
Open = Callable[..., Page]
"""Opens an empty page; takes the options of a browser context."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "Chromium is not installed. Run: apt-get install chromium (make test does so), or set "
    "PATH so that one of these is found: " + ", ".join(NAMES)
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
    # Without this Chromium looks up addresses of its own services.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


@dataclass
class Watch:
    """What pages did besides what they should.

    Args:
        errors: uncaught errors, and console messages of level error.
        foreign: addresses outside 127.0.0.1 that a page asked for.
    """

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def context(self, context: BrowserContext) -> BrowserContext:
        """Watch all pages of a context; foreign requests fail."""
        context.route("**/*", self._route)
        context.on("page", self._page)
        return context

    def _route(self, route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def _page(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._console(page, message))

    def _console(self, page: Page, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{page.url}: {message.text}")


@contextmanager
def open_browser(film: Path, sound: Path | None = None) -> Iterator[Browser]:
    """A headless Chromium that sees `film` (MJPEG) as its camera; skips the test without one.

    It hears `sound` (WAV) as its microphone; a beep each second by default.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(MISSING)
    files = [f"--use-file-for-fake-video-capture={film}"]
    if sound is not None:
        files.append(f"--use-file-for-fake-audio-capture={sound}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=[*FLAGS, *files]
        )
        try:
            yield browser
        finally:
            browser.close()
