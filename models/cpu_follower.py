"""Follows one caller on the CPU: see `models.engine.Follower`."""

from __future__ import annotations

import uuid
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from models.caller_portraits import CallerPortraits, Held, LivePortrait
from models.engine import Followed, Picture
from models.gaussians import Gaussians
from models.head_motion import HeadMotion
from models.kept_sides import KeptSides, PortraitView, in_head_space, share_of
from models.lifter import FAINT, MOST
from models.live_lift import MapFilter
from models.portrait import portrait_rotation

if TYPE_CHECKING:
    from models.cpu_engine import CpuAvatar, CpuEngine


class CpuFollower:
    """Makes an avatar of each frame.

    Args:
        engine: whose networks and locks are used.
        enrolled: the avatar that is followed.
        smooth: False leaves out all smoothing in time, for measurements.
        keep: False leaves out what the enrolment knew, for measurements.
    """

    def __init__(
        self, engine: CpuEngine, enrolled: CpuAvatar, smooth: bool = True, keep: bool = True
    ) -> None:
        portrait, gaussians, reading = enrolled.enrolment, enrolled.gaussians, enrolled.reading
        if portrait is None or gaussians is None or reading is None:
            raise ValueError("the avatar is closed, or a follower's own")
        self._engine = engine
        self._portraits = CallerPortraits(engine.finder, portrait, smooth)
        self._maps = MapFilter() if smooth else None
        self._kept: KeptSides | None = None
        # Who it is does not change from frame to frame, and takes some milliseconds to encode.
        with torch.no_grad():
            self._tokens, surface = reading()
        if keep:
            view = PortraitView(surface.camera_from_head, surface.depth, portrait.mask)
            self._kept = KeptSides.of(gaussians, view).compact()
            self._motion = HeadMotion(
                portrait.landmarks, surface.depth[0, 0].numpy(), portrait_rotation(portrait.pose)
            )
            self._head_from_enrolment = portrait.head_from_camera
        self._closed = False

    def update(self, picture: Picture, time: float) -> Followed:
        if self._closed:
            raise ValueError("the follower is closed")
        start = perf_counter()
        portrait = self._portraits.update(picture, time)
        if isinstance(portrait, Held):
            if self._maps is not None:
                self._maps.reset()
            if self._kept is not None:
                self._motion.reset()
            return Followed(None, portrait.code, portrait.reason)
        tracked = perf_counter() - start
        with self._engine.lifting:
            begun = perf_counter()
            avatar = self._lift(portrait, time)
            self._engine.note(track=tracked, relift=perf_counter() - begun)
        return Followed(avatar, "ok", "")

    @torch.no_grad()
    def _lift(self, portrait: LivePortrait, time: float) -> CpuAvatar:
        from models.cpu_engine import CpuAvatar

        engine = self._engine
        torch.set_num_threads(engine.threads)
        lifter = engine.live_lifter()
        maps = lifter.maps(torch.cat([portrait.image, portrait.mask])[None])
        if self._maps is not None:
            maps = self._maps(maps, portrait.change)
        gaussians, depth = lifter.gaussians(
            maps, portrait.image, portrait.distance, portrait.head_from_camera
        )
        camera_from_head = torch.linalg.inv(portrait.head_from_camera)
        if self._kept is not None:
            view = PortraitView(camera_from_head, depth, portrait.mask)
            gaussians = self._with_kept(self._kept, gaussians, view, portrait, time)
        return CpuAvatar(
            uuid.uuid4().hex,
            gaussians,
            *engine.seen_again(portrait, depth, self._tokens),
            engine.noise,
            portrait.distance,
            None,
        )

    def _with_kept(
        self,
        kept: KeptSides,
        gaussians: Gaussians,
        view: PortraitView,
        portrait: LivePortrait,
        time: float,
    ) -> Gaussians:
        """The discs that are shown, of the present and of the enrolment; `MOST` at most."""
        in_head = in_head_space(
            self._motion.update(portrait.landmarks, portrait.rotation, time),
            portrait.head_from_camera,
            self._head_from_enrolment,
        )
        share = share_of(in_head)
        if share == 0:
            return gaussians
        parts = []
        room = MOST
        back = torch.linalg.inv(in_head)
        for discs in kept.merged(gaussians, view, in_head, back, share):
            shown = torch.nonzero(discs.opacities >= FAINT)[:room, 0]
            room -= len(shown)
            parts.append(
                (discs.means[shown], discs.axes[shown], discs.opacities[shown], discs.colors[shown])
            )
        return Gaussians(*(torch.cat(pair) for pair in zip(*parts, strict=True)))

    def close(self) -> None:
        self._closed = True
