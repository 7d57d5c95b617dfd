"""An engine that draws a bar where the viewpoint points.

It stands in for the real one because these tests are about transport: what comes out must be what
went in. Calls with the real engine are in tests/browser.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.engine import Avatar, Followed, FrameCheck, RenderRequest
from models.errors import PortraitError

Picture = NDArray[np.uint8]

DARK, LIGHT = 40, 220
FIT = 100
"""Mean brightness from which a camera frame counts as fit."""

POISON = 250
"""Mean brightness from which the avatar cannot be built."""


class BarAvatar:
    """Remembers the brightness of the picture it was built from."""

    numbers = itertools.count()

    def __init__(self, engine: BarEngine, brightness: float) -> None:
        self.id = str(next(self.numbers))
        self.brightness = brightness
        self.closed = False
        self._engine = weakref.ref(engine)

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class BarFollower:
    """Makes an avatar of each frame's brightness; a dark frame is held for want of a face."""

    def __init__(self, engine: BarEngine) -> None:
        self._engine = engine
        self.updates = 0
        self.times: list[float] = []
        self.closed = False

    def update(self, picture: Picture, time: float) -> Followed:
        assert not self.closed, "updated after closing"
        self._engine.wait(self._engine.follow_seconds)
        self.updates += 1
        self.times.append(time)
        del self.times[:-1000]
        brightness = float(picture.mean())
        if brightness < FIT:
            return Followed(None, "no_face", "Please face the camera.")
        if brightness >= POISON:
            raise RuntimeError("the follower was told to fail")
        return Followed(self._engine.new_avatar(brightness), "ok", "")

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class BarEngine:
    """Draws a light bar on dark ground; its middle is at (yaw + 60) / 120 of the width.

    Args:
        size: edge of the pictures.
        seconds: how long a refined picture takes; a raw one takes a tenth.
        batch: as of `models.engine.Engine`; where it is more than 1, a batch takes as long as its
            slowest picture.
        follow_seconds: how long a follower's update takes.
    """

    name = "bar"

    def __init__(
        self,
        size: int = 256,
        seconds: float = 0.0,
        batch: int = 1,
        follow_seconds: float = 0.0,
    ) -> None:
        self.size = size
        self.follow_seconds = follow_seconds
        self.seconds = seconds
        self.batch = batch
        self.failures = 0
        self.lost = 0
        self.avatars: weakref.WeakSet[BarAvatar] = weakref.WeakSet()
        self.followers: list[BarFollower] = []
        self.rendered: list[RenderRequest] = []
        self.batches: list[int] = []
        self.checking_threads: set[str] = set()
        self._lock = threading.Lock()

    def check_frame(self, picture: Picture) -> FrameCheck:
        self.checking_threads.add(threading.current_thread().name)
        fit = float(picture.mean()) >= FIT
        return FrameCheck(
            fit=fit,
            code="ok" if fit else "dark",
            reason="Hold still." if fit else "More light, please.",
            yaw=0.0,
            pitch=0.0,
        )

    def build_avatar(self, picture: Picture) -> BarAvatar:
        brightness = float(picture.mean())
        if brightness >= POISON:
            raise PortraitError("The picture is too bright; turn the lamp away.", "blurred")
        return self.new_avatar(brightness)

    def new_avatar(self, brightness: float) -> BarAvatar:
        avatar = BarAvatar(self, brightness)
        self.avatars.add(avatar)
        return avatar

    def follow(self, avatar: Avatar) -> BarFollower:
        assert isinstance(avatar, BarAvatar) and not avatar.closed, "followed after closing"
        follower = BarFollower(self)
        self.followers.append(follower)
        return follower

    @staticmethod
    def wait(seconds: float) -> None:
        time.sleep(seconds)

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        assert requests
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the engine was told to fail")
        times = [self.seconds * (1.0 if request.refine else 0.1) for request in requests]
        time.sleep(sum(times) if self.batch == 1 else max(times))
        with self._lock:
            self.batches.append(len(requests))
            self.rendered += requests
            del self.rendered[:-1000]
        return [self._draw(request) for request in requests]

    def stage_times(self) -> dict[str, float]:
        return {"rasterise": 1.0, "refine": self.seconds * 1e3, "i420": 0.1}

    def left_out(self) -> int:
        return self.lost

    def close(self) -> None:
        pass

    def _draw(self, request: RenderRequest) -> Picture:
        avatar = request.avatar
        assert isinstance(avatar, BarAvatar) and not avatar.closed, "rendered after closing"
        size = self.size
        picture = np.full((size * 3 // 2, size), 128, np.uint8)
        picture[:size] = DARK
        middle = round((request.viewpoint.yaw + 60) / 120 * size)
        half = size // 16
        picture[:size, max(0, middle - half) : middle + half] = LIGHT
        return picture


def bar_yaw(luma: NDArray[np.uint8]) -> float:
    """The yaw whose bar a picture [H, W] shows; NaN if there is none."""
    columns = np.flatnonzero(luma.mean(axis=0) > (DARK + LIGHT) / 2)
    if len(columns) == 0:
        return float("nan")
    return float((columns.mean() + 0.5) / luma.shape[1] * 120 - 60)
