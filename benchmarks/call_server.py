"""Our own server in a process of its own, with notes of when what happened.

It is `create_app` as `visavis serve` runs it. Between the renderer and the receiver each picture
gets the number of its viewpoint into its pixels.

    python -m benchmarks.call_server --engine real
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import call_engines, call_marks, call_stamp
from benchmarks.call_camera import CAMERA_BLOCK, CAMERA_WIDTH
from benchmarks.call_marks import KEEP, Marks
from stream.render_loop import RenderLoop, View
from stream.serving import listen
from stream.settings import Settings
from stream.viewpoint_inbox import Aim

CALL = "demo"
MOVER = "mover"
MOVE_INTERVAL = 1 / 30


def move(loop: RenderLoop, view: View) -> None:
    """Let a view move that nobody moves: a server may send fewer frames of one that rests, and
    finer ones. Runs in a thread of its own, whose time can be left out."""
    for index in itertools.count():
        viewpoint = call_engines.swing(index)
        view.aims.put(Aim(viewpoint, None, time.monotonic(), MOVE_INTERVAL))
        loop.wake()
        time.sleep(MOVE_INTERVAL)


def note_views(marks: Marks, stamped: bool, moving: bool) -> None:
    """Note of each frame when its viewpoint came and when it was rendered, and stamp it."""
    add = RenderLoop.add

    def add_noted(self: RenderLoop, view: View) -> None:
        deliver = view.deliver

        def noted(
            picture: NDArray[np.uint8], aim: Aim | None, refined: bool, taken: float, *more: Any
        ) -> None:
            done = time.monotonic()
            if aim is not None and aim.sequence is not None:
                if len(marks.viewpoints) < KEEP:
                    marks.viewpoints.append((aim.sequence, aim.received, taken, done, refined))
                if stamped:
                    picture = picture.copy()  # it may be another receiver's as well
                    block = picture.shape[1] // call_stamp.BLOCKS
                    call_stamp.stamp(picture, aim.sequence, block)
            deliver(picture, aim, refined, taken, *more)

        view.deliver = noted
        add(self, view)
        if moving:
            threading.Thread(target=move, args=(self, view), name=MOVER, daemon=True).start()

    RenderLoop.add = add_noted  # type: ignore[method-assign]


class WatchedEngine:
    """The engine, with notes of which camera frame became which avatar and when it was used.

    Args:
        engine: does the work.
        marks: where to note.
    """

    def __init__(self, engine: Any, marks: Marks) -> None:
        self._engine = engine
        self._marks = marks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def follow(self, avatar: Any) -> WatchedFollower:
        return WatchedFollower(self._engine.follow(avatar), self._marks)

    def render(self, requests: Any) -> Any:
        now = time.monotonic()
        for request in requests:
            row = self._marks.avatars.get(request.avatar.id)
            if row is not None and row[4] is None:
                row[4] = now
        return self._engine.render(requests)


class WatchedFollower:
    """A follower, see `WatchedEngine`."""

    def __init__(self, follower: Any, marks: Marks) -> None:
        self._follower = follower
        self._marks = marks

    def update(self, picture: NDArray[np.uint8], time_: float) -> Any:
        begin = time.monotonic()
        number = call_stamp.read(picture, CAMERA_BLOCK * picture.shape[1] / CAMERA_WIDTH)
        followed = self._follower.update(picture, time_)
        if followed.avatar is not None and number is not None and len(self._marks.avatars) < KEEP:
            self._marks.avatars[followed.avatar.id] = [
                number,
                begin,
                time.monotonic(),
                None,
                None,
            ]
        return followed

    def close(self) -> None:
        self._follower.close()


def note_leases(marks: Marks) -> None:
    """Note when an avatar comes into use: from then on every rendering takes it."""
    from stream.avatar_lease import AvatarLease

    begin = AvatarLease.__init__

    def begin_noted(self: AvatarLease, avatar: Any, *more: Any, **named: Any) -> None:
        begin(self, avatar, *more, **named)
        row = marks.avatars.get(avatar.id)
        if row is not None and row[3] is None:
            row[3] = time.monotonic()

    AvatarLease.__init__ = begin_noted  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=call_engines.KINDS, default="real")
    parser.add_argument("--film", type=Path)
    parser.add_argument("--avatar", default="live")
    parser.add_argument("--portrait", default="demo", help="of the ready call")
    parser.add_argument("--no-stamp", action="store_true", help="leave the pictures as they are")
    parser.add_argument("--move", action="store_true", help="views move without any message")
    options = parser.parse_args()

    from stream.offline import read_portrait
    from stream.server import create_app, server

    marks = Marks()
    engine: Any = WatchedEngine(call_engines.load(options.engine, options.film), marks)
    chosen = {"port": 0, "size": engine.size, "device": "cpu", "avatar": options.avatar}
    known = {field.name for field in dataclasses.fields(Settings)}
    settings = Settings(**{name: value for name, value in chosen.items() if name in known})
    listener = listen(settings.host, settings.port)
    app = create_app(engine, settings, {CALL: read_portrait(options.portrait)})
    call_marks.install(marks)
    note_views(marks, not options.no_stamp, options.move)
    note_leases(marks)
    app.include_router(call_marks.router(marks))
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    server(app, settings).run(sockets=[listener])
    engine.close()


if __name__ == "__main__":
    main()
