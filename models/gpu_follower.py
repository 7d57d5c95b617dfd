"""Follows one caller on a GPU: see `models.engine.Follower`."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from torch import Tensor

from models.caller_portraits import CallerPortraits, Held
from models.engine import Followed, Picture
from models.head_motion import HeadMotion
from models.kept_sides import in_head_space, share_of
from models.portrait import Portrait, PortraitFinder, portrait_rotation

if TYPE_CHECKING:
    from models.gpu_engine import GpuEngine


class GpuFollower:
    """Makes an avatar of each frame.

    Args:
        engine: whose graph and slots are used.
        finder: asked when the face was lost.
        place: of the engine's `FollowerPlaces`, where the enrolment is remembered; given back when
            this is closed.
        enrolment: the portrait of the avatar that is followed.
        depth: of its surface, metres. [256, 256]
    """

    def __init__(
        self,
        engine: GpuEngine,
        finder: PortraitFinder,
        place: int,
        enrolment: Portrait,
        depth: Tensor,
    ) -> None:
        self._engine = engine
        self._place: int | None = place
        self._portraits = CallerPortraits(finder, enrolment)
        self._motion = HeadMotion(
            enrolment.landmarks, depth.numpy(), portrait_rotation(enrolment.pose)
        )
        self._head_from_enrolment = enrolment.head_from_camera
        self._fresh = True

    def update(self, picture: Picture, time: float) -> Followed:
        if self._place is None:
            raise ValueError("the follower is closed")
        start = perf_counter()
        portrait = self._portraits.update(picture, time)
        if isinstance(portrait, Held):
            self._fresh = True
            self._motion.reset()
            return Followed(None, portrait.code, portrait.reason)
        moved = in_head_space(
            self._motion.update(portrait.landmarks, portrait.rotation, time),
            portrait.head_from_camera,
            self._head_from_enrolment,
        )
        tracked = perf_counter() - start
        avatar = self._engine.relift(
            self._place, portrait, moved, share_of(moved), self._fresh, tracked
        )
        self._fresh = False
        return Followed(avatar, "ok", "")

    def close(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            self._engine.places.numbers.give(place)
