"""The pages of the browser's side, served as they lie in the package `client_web`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

from stream.problems import Problem

FOLDER = Path(__file__).resolve().parent.parent / "client_web"
"""Beside this package, in a source tree as after an installation."""

READ = ["GET", "HEAD"]
"""FastAPI, other than Starlette, answers HEAD only where told to: `curl -I`, previews of links."""

FRESH = {"Cache-Control": "no-cache"}
"""Browsers ask whether a file has changed: pages and modules of two versions must not mix."""


class _Files(StaticFiles):
    def file_response(self, *args: object, **keywords: object) -> Response:
        response: Response = super().file_response(*args, **keywords)  # type: ignore[arg-type]
        response.headers.update(FRESH)
        return response


def add(app: FastAPI) -> None:
    """Serve the pages and their files."""

    @app.api_route("/", methods=READ)
    async def caller_page() -> Response:
        return _page("index.html")

    @app.api_route("/c/{call}", methods=READ)
    async def receiver_page(request: Request, call: str) -> Response:
        try:
            request.app.state.switchboard.find(call)
        except Problem as problem:
            return not_found(problem)
        return _page("call.html")

    @app.api_route("/r/{room}", methods=READ)
    async def room_page(request: Request, room: str) -> Response:
        try:
            request.app.state.switchboard.find_room(room)
        except Problem as problem:
            return not_found(problem)
        return _page("index.html")  # the same page: by its address it knows that one is invited

    @app.api_route("/favicon.ico", methods=READ)
    async def icon() -> Response:
        return FileResponse(FOLDER / "icon.svg", media_type="image/svg+xml", headers=FRESH)

    app.mount("/static", _Files(directory=FOLDER, check_dir=False), name="static")


def not_found(problem: Problem) -> Response:
    """The page for a link that leads nowhere."""
    return _page("not_found.html", problem)


def _page(name: str, problem: Problem | None = None) -> Response:
    status = 200 if problem is None else problem.status
    path = FOLDER / name
    if path.is_file():
        return FileResponse(path, status, media_type="text/html; charset=utf-8", headers=FRESH)
    if problem is None:
        problem = Problem(
            500, "The page is missing", f"{name} is not installed. Install Visavis again."
        )
    return HTMLResponse(
        f"<!doctype html><title>Visavis</title><h1>{problem.title}</h1><p>{problem.detail}</p>",
        problem.status,
    )
