"""The process: an engine, the application and uvicorn. The only module here that reaches torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import uvicorn
from numpy.typing import NDArray

from stream.app import create_app
from stream.settings import Settings

if TYPE_CHECKING:
    from models.engine import Engine

__all__ = ["create_app", "serve"]

GRACE = 5
"""Seconds that open requests get when the server is stopped."""


def serve(
    settings: Settings,
    engine: Engine | None = None,
    ready_calls: Mapping[str, NDArray[np.uint8]] | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        settings: where to listen and how to work.
        engine: renders; loaded by `settings` if not given. An engine that is given stays open.
        ready_calls: names of calls that are live from the start, and the RGB picture [H, W, 3] of
            each: `visavis demo`.

    Raises:
        VisavisError: the engine cannot be loaded, or a ready call's picture is refused.
        SystemExit: the port is taken.
    """
    with contextlib.ExitStack() as closing:
        if engine is None:
            # Imported late: it takes seconds, and an engine that is given need not be this one.
            from models.engine import load_engine

            engine = load_engine(device=settings.device, size=settings.size)
            closing.callback(engine.close)
        server(create_app(engine, settings, ready_calls), settings).run()


def server(app: object, settings: Settings) -> uvicorn.Server:
    """A uvicorn server that is not started."""
    return uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            ws_max_queue=8,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
