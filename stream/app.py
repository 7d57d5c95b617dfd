"""The HTTP application: one port for pages, signalling, viewpoints, health and figures."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream import pages, patches, problems, signalling, viewpoint_socket
from stream.call import Services
from stream.gpu_watch import GpuWatch
from stream.metrics import MEDIA_TYPE, Metrics
from stream.problems import Problem
from stream.render_loop import RenderLoop
from stream.settings import Settings
from stream.switchboard import Switchboard

if TYPE_CHECKING:
    from models.engine import Engine

logger = logging.getLogger(__name__)

ENROLMENT_THREADS = 2
ENCODING_THREADS = 4
MOST_LIFTING_THREADS = 4

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": (
        "camera=(self), microphone=(self), gyroscope=(self), accelerometer=(self), geolocation=()"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def create_app(
    engine: Engine,
    settings: Settings | None = None,
    ready_calls: Mapping[str, NDArray[np.uint8]] | None = None,
) -> FastAPI:
    """The application of one server.

    Args:
        engine: builds avatars and renders; closing it is the caller's business.
        settings: the defaults if not given.
        ready_calls: names of calls that are live from the start, without a caller, and the RGB
            picture [H, W, 3] of each.

    Returns:
        an ASGI application; `app.state.switchboard` and `app.state.metrics` are there while it
        runs.
    """
    settings = settings or Settings()
    patches.apply()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics = Metrics()
        renderer = RenderLoop(engine, settings, metrics)
        gpus = GpuWatch()
        metrics.watch_gpus(gpus.load)
        enrolling = ThreadPoolExecutor(ENROLMENT_THREADS, thread_name_prefix="enrol")
        lifting = ThreadPoolExecutor(lifting_threads(), thread_name_prefix="lift")
        # aiortc encodes in the loop's own executor.
        encoding = ThreadPoolExecutor(ENCODING_THREADS, thread_name_prefix="encode")
        loop = asyncio.get_running_loop()
        loop.set_default_executor(encoding)
        services = Services(engine, settings, metrics, renderer, enrolling, lifting, gpus)
        switchboard = Switchboard(services, lifting_threads())
        for slug, picture in (ready_calls or {}).items():
            avatar = await loop.run_in_executor(enrolling, engine.build_avatar, picture)
            switchboard.add_ready(slug, avatar)
        app.state.metrics = metrics
        app.state.switchboard = switchboard
        app.state.renderer = renderer
        app.state.gpus = gpus
        gpus.start()
        renderer.start()
        try:
            yield
        finally:
            await switchboard.close()
            await asyncio.to_thread(renderer.stop)
            await asyncio.to_thread(gpus.stop)
            enrolling.shutdown(wait=True, cancel_futures=True)
            lifting.shutdown(wait=True, cancel_futures=True)

    # No generated documentation: its page would load scripts from elsewhere.
    app = FastAPI(
        title="Visavis", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.settings = settings
    app.state.engine = engine
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_middleware(_Secure)
    app.include_router(signalling.router)
    app.include_router(viewpoint_socket.router)

    @app.api_route("/healthz", methods=pages.READ)
    async def health() -> JSONResponse:
        alive = app.state.renderer.alive
        return JSONResponse(
            {
                "status": "ok" if alive else "the render threads have stopped",
                "engine": engine.name,
                "size": engine.size,
                "calls": app.state.switchboard.calls,
                "rooms": app.state.switchboard.rooms,
                "refining": app.state.renderer.refining,
                "budget_used": app.state.switchboard.budget_used,
                "gpu": app.state.gpus.load().in_words(),
            },
            status_code=200 if alive else 500,
        )

    @app.api_route("/metrics", methods=pages.READ)
    async def metrics() -> Response:
        return Response(app.state.metrics.text(), media_type=MEDIA_TYPE)

    pages.add(app)
    return app


def lifting_threads() -> int:
    """How many callers are lifted at the same moment: half of the processor is for the frames."""
    return min(MOST_LIFTING_THREADS, max(1, (os.cpu_count() or 1) // 2))


class _Secure:
    """Adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_secured if scope["type"] == "http" else send)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return JSONResponse(
        error.body(),
        status_code=error.status,
        headers={"Cache-Control": "no-store", **error.headers},
        media_type=problems.MEDIA_TYPE,
    )


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = Problem(
        error.status_code,
        str(error.detail),
        f"{request.method} {request.url.path} is not offered here.",
        error.headers,
    )
    if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):
        return pages.not_found(problem)  # somebody mistyped a link
    return await _problem(request, problem)


async def _validation_problem(request: Request, error: Exception) -> Response:
    return await _problem(request, Problem(400, "The request is malformed", "Check its parts."))
