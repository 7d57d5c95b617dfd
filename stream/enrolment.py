"""From the caller's camera to an avatar: look at a frame a few times a second, say what is wrong
with it, and build the avatar from one that is fit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from models.errors import VisavisError
from stream.call_state import CallMachine
from stream.camera import CameraReader
from stream.messages import Error, Framing, Message
from stream.metrics import Metrics

if TYPE_CHECKING:
    from models.engine import Avatar, Engine, FrameCheck

logger = logging.getLogger(__name__)

NO_PICTURE_AFTER = 3.0
"""Seconds without a camera frame after which the caller is told."""

AFTER_FAILURE = 2.0
"""Seconds to wait after an error that is not the caller's."""

NO_PICTURE = Framing(
    False, "no_picture", "No picture of your camera has arrived yet. Is the camera on?"
)


class Enrolment:
    """Looks at camera frames while the call's state wants them.

    Args:
        engine: checks frames and builds avatars; both block.
        executor: threads to do that in.
        machine: the call's state.
        reader: of the caller's camera.
        tell: takes words to the caller.
        built: takes each new avatar.
        metrics: counts.
        interval: seconds between two looks.
    """

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        machine: CallMachine,
        reader: CameraReader,
        tell: Callable[[Message], None],
        built: Callable[[Avatar], None],
        metrics: Metrics,
        interval: float,
    ) -> None:
        self._engine = engine
        self._executor = executor
        self._machine = machine
        self._reader = reader
        self._tell = tell
        self._built = built
        self._metrics = metrics
        self._interval = interval
        # A frame's own is used by nobody: two threads at one of them crash the process.
        self._reformatter = VideoReformatter()
        self._wanted = asyncio.Event()

    def resume(self) -> None:
        """The state has changed; frames may be wanted again."""
        self._wanted.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if not self._machine.wants_frames:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            shot = await self._reader.shot(NO_PICTURE_AFTER)
            if shot is None:
                self._tell(NO_PICTURE)
                continue
            started = time.monotonic()
            try:
                await self._look(shot.frame)
            except Exception:
                logger.exception("A camera frame could not be examined; the call goes on.")
                self._tell(
                    Error("internal", "The server could not examine the picture. It tries again.")
                )
                await asyncio.sleep(AFTER_FAILURE)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - started)))

    async def _look(self, frame: VideoFrame) -> None:
        loop = asyncio.get_running_loop()
        picture, check = await loop.run_in_executor(self._executor, self._check, frame)
        self._tell(Framing(check.fit, check.code, check.reason))
        if not self._machine.checked(check.fit):
            return
        building = self._executor.submit(self._engine.build_avatar, picture)
        try:
            avatar = await asyncio.shield(asyncio.wrap_future(building))
        except asyncio.CancelledError:
            # The call has ended; the thread cannot be stopped, but its avatar can be closed.
            building.add_done_callback(_close)
            raise
        except VisavisError as error:
            self._machine.refused()
            self._metrics.avatars.labels("refused").inc()
            self._tell(Framing(False, error.code, error.reason))
        except Exception:
            self._machine.refused()
            self._metrics.avatars.labels("failed").inc()
            raise
        else:
            self._machine.built()
            self._metrics.avatars.labels("built").inc()
            self._built(avatar)

    def _check(self, frame: VideoFrame) -> tuple[NDArray[np.uint8], FrameCheck]:
        """Runs in a thread: the conversion takes as long as some frames' checks."""
        picture = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        picture = picture.astype(np.uint8, copy=False)
        return picture, self._engine.check_frame(picture)


def _close(building: Future[Avatar]) -> None:
    if not building.cancelled() and building.exception() is None:
        building.result().close()
