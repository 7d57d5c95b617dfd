"""Calls that tests open with pictures of a wall: its brightness decides whether it is fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from stream.client import OwnCall, call
from tests.stream.conftest import Running
from tests.stream.peers import PATIENCE

FIT, UNFIT = 180, 20
"""Brightness of a wall that becomes an avatar, and of one that does not."""


def url(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


def wall(value: int | tuple[int, int, int], height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@asynccontextmanager
async def opened(server: Running, pictures: object, **options: object) -> AsyncIterator[OwnCall]:
    async with asyncio.timeout(2 * PATIENCE):
        async with call(url(server), pictures, **options) as own:  # type: ignore[arg-type]
            yield own
