"""A server on loopback with an engine that draws a bar, and peers that call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from stream.call import Call
from stream.server import create_app, server
from stream.settings import Settings
from tests.stream.bar_engine import BarEngine
from tests.stream.peers import Caller, Receiver, until


@dataclass
class Running:
    """A server that runs, and what is needed to call it."""

    app: FastAPI
    engine: BarEngine
    http: httpx.AsyncClient
    port: int
    stack: AsyncExitStack

    @property
    def calls(self) -> dict[str, Call]:
        return self.app.state.switchboard._calls

    def ready(self) -> str:
        """A call that is live without a caller; much quicker to have than one with a caller."""
        picture = np.full((8, 8, 3), 150, np.uint8)
        slug = f"ready-{len(self.calls)}"
        self.app.state.switchboard.add_ready(slug, self.engine.build_avatar(picture))
        return slug

    async def caller(self, brightness: int = 180, room: str | None = None) -> Caller:
        """A caller that is hung up when the test ends; not connected yet."""
        path = "/whip" if room is None else f"/whip?room={room}"
        return self.kept(Caller(self.http, brightness, path))

    def kept(self, caller: Caller) -> Caller:
        """Hang a caller up when the test ends."""
        self.stack.push_async_callback(caller.close)
        return caller

    async def receiver(self, call: str, codec: str | None = None) -> Receiver:
        """A receiver that leaves when the test ends; not connected yet."""
        receiver = Receiver(self.http, call, codec)
        self.stack.push_async_callback(receiver.close)
        return receiver


Start = Callable[..., Awaitable[Running]]


@asynccontextmanager
async def run(settings: Settings, engine: BarEngine) -> AsyncIterator[Running]:
    """A server for the time of the `async with` block."""
    app = create_app(engine, settings)
    running = server(app, settings)
    task = asyncio.create_task(running.serve())
    async with AsyncExitStack() as stack:
        await until(lambda: running.started or task.done(), "the server")
        port = running.servers[0].sockets[0].getsockname()[1]
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False)
        await stack.enter_async_context(http)
        yield Running(app, engine, http, port, stack)
    running.should_exit = True
    await task


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a server; keywords are settings. It is stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def begin(engine: BarEngine | None = None, **settings: object) -> Running:
            # asyncio's debug mode and the full frame rate make each test several times as long.
            asyncio.get_running_loop().set_debug(False)
            settings = {"port": 0, "fps": 15.0, "media_addresses": "loopback", **settings}
            chosen = Settings(**settings)  # type: ignore[arg-type]
            return await stack.enter_async_context(run(chosen, engine or BarEngine()))

        yield begin
