"""The process: the application under uvicorn."""

from __future__ import annotations

import uvicorn

from stream.app import create_app
from stream.settings import Settings

__all__ = ["create_app", "server"]

GRACE = 5
"""Seconds that open requests get when the server is stopped."""


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
