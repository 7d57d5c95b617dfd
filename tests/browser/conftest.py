"""One server for all browser tests, one Chromium per file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import fake_camera, server_process
from tests.browser.chromium import WIDE, Open, Watch, open_browser

SCREENSHOTS = "VISAVIS_SCREENSHOTS"
"""Environment variable: the folder for screenshots; out/browser of the project by default."""


# The file's browser, not the session's: while Playwright runs, its event loop counts as running,
# and asynchronous tests of other folders could not start theirs.
@pytest.fixture(scope="module")
def browser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A Chromium; the tests are skipped without one.

    Its camera shows the astronaut, after an empty wall for the file's EMPTY_SECONDS.
    """
    film = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    fake_camera.write_film(film, getattr(request.module, "EMPTY_SECONDS", 0))
    with open_browser(film) as browser:
        yield browser


SERVER = "VISAVIS_SERVER"
"""Environment variable: the address of a server that runs already, with the call `demo`."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real server with the call `demo` ready."""
    if address := os.environ.get(SERVER):
        yield address.rstrip("/")
        return
    log = tmp_path_factory.mktemp("server") / "server.log"
    running = server_process.start(log, "demo", "--size", "256")
    try:
        yield running.url
    finally:
        running.stop()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder for screenshots."""
    default = server_process.ROOT / "out" / "browser"
    folder = Path(os.environ.get(SCREENSHOTS) or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def watch() -> Watch:
    """What the pages of `open_page` do besides what they should."""
    return Watch()


@pytest.fixture
def open_page(browser: Browser, watch: Watch) -> Iterator[Open]:
    """Opens an empty page in a context of its own; nothing may be asked of other addresses."""
    contexts = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(watch.context(context))
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert watch.foreign == []
