"""A real server in a thread, with an engine that draws a bar and takes as long as a test wants.

It is for what the real engine cannot be made to do at will: be too slow, or run beside a GPU.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from models.engine import RenderRequest
from stream.server import create_app, server
from stream.settings import Settings
from tests.stream.bar_engine import BarAvatar, BarEngine, Picture

PATIENCE = 30.0
"""Seconds that starting and stopping may take on a busy machine."""


class SlowEngine(BarEngine):
    """Takes `slow` seconds for every picture, refined or not."""

    slow = 0.0

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        time.sleep(self.slow * len(requests))
        return super().render(requests)

    def stage_times(self) -> dict[str, float]:
        return {"rasterise": self.slow * 1e3, "refine": 0.0, "i420": 0.0}


class ShadeEngine(SlowEngine):
    """Draws below the bar a ground as light as what the avatar was made of."""

    def _draw(self, request: RenderRequest) -> Picture:
        picture = super()._draw(request)
        assert isinstance(request.avatar, BarAvatar)
        luma = 16 + request.avatar.brightness * 219 / 255  # video has black at 16 and white at 235
        picture[self.size * 3 // 4 : self.size] = round(luma)
        return picture


@contextmanager
def serving(engine: BarEngine, **settings: Any) -> Iterator[str]:
    """Serve the call `demo`; gives the address, without a slash at the end."""
    chosen = Settings(port=0, **settings)
    picture = np.full((8, 8, 3), 150, np.uint8)
    running = server(create_app(engine, chosen, {"demo": picture}), chosen)  # type: ignore[arg-type]
    thread = threading.Thread(target=running.run, name="bar-server", daemon=True)
    thread.start()
    end = time.monotonic() + PATIENCE
    while not running.started:
        assert thread.is_alive() and time.monotonic() < end, "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()
