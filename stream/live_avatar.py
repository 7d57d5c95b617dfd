"""The avatar follows its caller: the newest camera frame is lifted, again and again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import VideoReformatter

from stream.avatar_lease import AvatarLease
from stream.camera import CameraReader, Shot
from stream.lift_pace import LiftPace, Load
from stream.lift_time import LiftFigures, LiftTime
from stream.metrics import Metrics
from stream.presence import FAILED, NO_PICTURE

if TYPE_CHECKING:
    from models.engine import Avatar, Engine, Followed, Follower

logger = logging.getLogger(__name__)

NO_PICTURE_AFTER = 2.0
"""Seconds without a camera frame after which both sides are told; a network may stutter."""

AFTER_FAILURE = 1.0
"""Seconds to wait after the engine failed: a broken one must not take the processor."""


class LiveAvatar:
    """Follows one caller from portrait to portrait. Belongs to the event loop's thread.

    Args:
        engine: follows; it blocks.
        executor: threads to do that in.
        reader: of the caller's camera.
        pace: how often.
        load: gives what else the device has to do.
        lifted: takes each new avatar, which is in use from then on, and when its frame arrived.
        fit: told that a frame was followed.
        unfit: told the code and the words to the caller when one was not.
        camera_fps: told how many camera pictures per second are of use.
        behind: told whether frames are to give way to lifting.
        metrics: counts.
        lift_time: measures, for all callers.
        figures: of this call.
    """

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        reader: CameraReader,
        pace: LiftPace,
        load: Callable[[], Load],
        lifted: Callable[[Avatar, float], None],
        fit: Callable[[], None],
        unfit: Callable[[str, str], None],
        camera_fps: Callable[[int], None],
        behind: Callable[[bool], None],
        metrics: Metrics,
        lift_time: LiftTime,
        figures: LiftFigures,
    ) -> None:
        self._engine = engine
        self._executor = executor
        self._reader = reader
        self._pace = pace
        self._load = load
        self._lifted = lifted
        self._fit = fit
        self._unfit = unfit
        self._camera_fps = camera_fps
        self._behind = behind
        self._metrics = metrics
        self._lift_time = lift_time
        self._figures = figures
        # Converters are costly to set up, and no two threads use this one at once.
        self._reformatter = VideoReformatter()
        self._portrait: AvatarLease | None = None
        self._wanted = asyncio.Event()
        self._failing = False

    def follow(self, portrait: AvatarLease) -> None:
        """Begin, or begin anew, with the avatar of a portrait."""
        self._portrait = portrait
        self._wanted.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._follow()

    async def _follow(self) -> None:
        """Follow until there is another portrait."""
        follower = await self._begin()
        if follower is None:
            return
        working: Future[tuple[Followed, float]] | None = None
        try:
            while not self._wanted.is_set():
                shot = await self._reader.shot(NO_PICTURE_AFTER)
                if shot is None:
                    self._not_followed(NO_PICTURE, "")
                    continue
                started = time.monotonic()
                working = self._executor.submit(self._update, follower, shot)
                try:
                    followed, seconds = await asyncio.shield(asyncio.wrap_future(working))
                except Exception:
                    working = None
                    await self._failed("A camera frame could not be followed; the call goes on.")
                    continue
                working = None
                finished = time.monotonic()
                self._lift_time.add(finished, seconds)
                self._metrics.followed(seconds)
                if self._wanted.is_set():
                    _discard(followed)  # it is of the portrait before
                    return
                self._use(followed, shot)
                load = self._load()
                pause = self._pace.next_start(started, finished, load) - time.monotonic()
                self._camera_fps(self._pace.camera_fps(load))
                self._behind(self._pace.behind(load))
                await asyncio.sleep(max(0.0, pause))
        except asyncio.CancelledError:
            if working is not None:
                working.add_done_callback(_discard_result)
            raise
        finally:
            self._behind(False)
            _close_after(working, follower)

    async def _begin(self) -> Follower | None:
        """A follower of the portrait; None if there is another portrait meanwhile."""
        while not self._wanted.is_set():
            portrait, self._portrait = self._portrait, None
            assert portrait is not None
            beginning = self._executor.submit(self._start, portrait)
            try:
                return await asyncio.shield(asyncio.wrap_future(beginning))
            except asyncio.CancelledError:
                beginning.add_done_callback(_close_result)
                raise
            except Exception:
                if not self._wanted.is_set():
                    self._portrait = portrait
                await self._failed("A caller could not be followed; the call goes on.")
        return None

    def _use(self, followed: Followed, shot: Shot) -> None:
        self._failing = False
        if followed.avatar is None:
            self._not_followed(followed.code, followed.reason)
            return
        self._lifted(followed.avatar, shot.arrived)
        seconds = time.monotonic() - shot.arrived
        self._figures.lifted(seconds)
        self._metrics.relifted(seconds)
        self._fit()

    def _not_followed(self, code: str, reason: str) -> None:
        self._metrics.held.labels(code).inc()
        self._unfit(code, reason)

    async def _failed(self, words: str) -> None:
        if not self._failing:
            logger.exception(words)
        self._failing = True
        self._not_followed(FAILED, "")
        await asyncio.sleep(AFTER_FAILURE)

    # In a thread of the executor.

    def _start(self, portrait: AvatarLease) -> Follower | None:
        with portrait.use() as avatar:
            return None if avatar is None else self._engine.follow(avatar)

    def _update(self, follower: Follower, shot: Shot) -> tuple[Followed, float]:
        started = time.monotonic()
        picture = self._reformatter.reformat(shot.frame, format="rgb24").to_ndarray()
        followed = follower.update(picture.astype(np.uint8, copy=False), shot.arrived)
        return followed, time.monotonic() - started


def _discard(followed: Followed) -> None:
    if followed.avatar is not None:
        followed.avatar.close()


def _discard_result(working: Future[tuple[Followed, float]]) -> None:
    if not working.cancelled() and working.exception() is None:
        _discard(working.result()[0])


def _close_result(beginning: Future[Follower | None]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        follower = beginning.result()
        if follower is not None:
            follower.close()


def _close_after(working: Future[tuple[Followed, float]] | None, follower: Follower) -> None:
    """Close a follower as soon as no thread uses it."""
    if working is None:
        follower.close()
    else:
        working.add_done_callback(lambda _: follower.close())
