"""The engine on a GPU: all receivers of a tick are one replay of a captured graph."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from models.errors import SetupError
from models.gaussians import Gaussians
from models.gpu_avatar import CutPortrait, GpuAvatar, camera_from_head
from models.gpu_batches import BATCHES, Quality, batches_of, quality_of
from models.gpu_chain import Look, Surroundings
from models.gpu_follow import FollowChain, FollowerPlaces, FollowStaging
from models.gpu_graphs import BatchGraphs, captured
from models.gpu_lift import LiftChain, PortraitStaging
from models.gpu_rasteriser import shared_workspace
from models.gpu_setup import fastest_type
from models.gpu_slots import PORTRAIT, AvatarSlots
from models.gpu_views import SlotView, slot_view
from models.graphs import Queue, Work, queue_for
from models.lifter import MOST
from models.portrait_blend import fine_size
from models.weights import load_lifter, open_refiner

if TYPE_CHECKING:
    from models.caller_portraits import LivePortrait
    from models.engine import Avatar, FrameCheck, Picture, RenderRequest
    from models.gpu_follower import GpuFollower
    from models.portrait import Portrait, PortraitFinder

SLOTS = 96
"""Avatars at once: three times as many as calls, since a new one is built while the last is shown
and the one before may still be in a batch on its way."""
FOLLOWERS = 32
"""Callers that are followed at once."""

Progress = Callable[[str], object]
AnyStaging = TypeVar("AnyStaging", PortraitStaging, FollowStaging)


class GpuEngine:
    """See `models.engine.Engine`.

    Without a GPU it runs too, with the CPU's kernels and without graphs, for tests: `device="cpu"`.

    Args:
        size: of the frames, pixels; a multiple of 32.
        slots: avatars at once.
        followers: callers that are followed at once.
        batches: sizes of batches that graphs are captured for, rising.
        device: to run on; None takes the current GPU.
        dtype: of the networks; None takes the fastest.
        progress: told what is being done while graphs are captured.
        finder: cuts portraits out; None loads the face models at the first need.
    """

    def __init__(
        self,
        size: int = 256,
        *,
        slots: int = SLOTS,
        followers: int = FOLLOWERS,
        batches: Sequence[int] = BATCHES,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        progress: Progress | None = None,
        finder: PortraitFinder | None = None,
    ) -> None:
        if size % 32:
            raise SetupError(
                f"A size of {size} cannot be rendered on a GPU. Take a multiple of 32.", "bad_size"
            )
        self.size = size
        self._batches = tuple(batches)
        self._finder = finder
        self._lock = threading.Lock()
        self._closed = False
        self._times: dict[str, float] = {}
        self._left_out = 0
        where = torch.device("cuda") if device is None else torch.device(device)
        if where == torch.device("cuda"):  # without a number
            where = torch.device("cuda", torch.cuda.current_device())
        self._queue: Queue = queue_for(where)
        self._say = progress or (lambda text: None)
        try:
            self._build(slots, followers, dtype)
        except torch.cuda.OutOfMemoryError:
            raise SetupError(
                f"The GPU's memory is too small for pictures of {size} pixels. Take a smaller "
                "--size, or --device cpu.",
                "no_memory",
            ) from None

    def _build(self, slots: int, followers: int, dtype: torch.dtype | None) -> None:
        device = self._queue.device
        if dtype is None:
            self._say("choosing a precision")
            dtype = fastest_type(open_refiner(), self._queue, self.size)
        self._dtype = dtype
        with self._queue.working():  # on the queue's stream from the first copy on
            refiner = open_refiner(None, device, dtype)
            lifter = load_lifter().to(device, dtype)
            tokens = refiner.encode_portrait(
                torch.zeros(1, 4, PORTRAIT, PORTRAIT, device=device, dtype=dtype)
            )
            self.slots = AvatarSlots(
                slots, MOST, (tuple(tokens.shape[1:]), dtype), device, fine_size(self.size)
            )
            workspace = shared_workspace(max(self._batches), self.slots)
            look = self.look = Look(self.size, self.slots, refiner, dtype, workspace)
            around = Surroundings(look, device)
            self._lift_chain = LiftChain(self.slots, lifter, refiner, dtype, device)
            self.places = FollowerPlaces(followers, MOST, device)
            self._follow_chain = FollowChain(
                self.slots, self.places, lifter, refiner, dtype, device
            )
        total = 2 + len(self._batches) * len(Quality)
        self._say(f"capturing graph 1 of {total}")
        self._lift_replay = self._queue.capture(self._lift_chain.lift)
        self._lift_stagings = [PortraitStaging(self._queue, fine_size(self.size)) for _ in range(2)]
        self._say(f"capturing graph 2 of {total}")
        self._follow_replay = self._queue.capture(self._follow_chain.follow)
        self._follow_stagings = [FollowStaging(self._queue, fine_size(self.size)) for _ in range(2)]
        self._graphs: dict[int, BatchGraphs] = {}
        # The largest first: what it needs of the shared pool is then enough for all others.
        for index, batch in enumerate(sorted(self._batches, reverse=True)):
            first = 3 + index * len(Quality)

            def say(number: int, first: int = first) -> None:
                self._say(f"capturing graph {first + number} of {total}")

            self._graphs[batch] = captured(batch, self._queue, look, around, say)

    @property
    def name(self) -> str:
        kind = str(self._dtype).removeprefix("torch.")
        device = self._queue.device
        if device.type != "cuda":
            return f"the GPU's engine on the cpu, {kind}"
        return f"{torch.cuda.get_device_name(device)}, {kind}, graphs of up to {self.batch} views"

    @property
    def batch(self) -> int:
        return max(self._batches)

    def check_frame(self, picture: Picture) -> FrameCheck:
        return self._portraits().check(picture)

    def build_avatar(self, picture: Picture) -> Avatar:
        start = time.perf_counter()
        portrait = self._portraits().portrait(picture, False, fine_size(self.size))
        self._times["portrait"] = (time.perf_counter() - start) * 1e3
        return self.lift(portrait)

    def lift(self, portrait: Portrait | CutPortrait) -> GpuAvatar:
        """Build the avatar of a portrait that has been cut out already.

        Raises:
            CapacityError: all slots are taken.
        """

        def write(staging: PortraitStaging, slot: int) -> None:
            staging.write(
                slot,
                portrait.image,
                portrait.fine,
                portrait.mask,
                portrait.distance,
                portrait.head_from_camera,
            )

        block = self._lift_chain.portrait.block
        slot, self._times["lift"] = self._lifted(
            self._lift_stagings, write, block, self._lift_replay
        )
        return GpuAvatar(self, slot, portrait.distance, camera_from_head(portrait), portrait)

    def _lifted(
        self,
        stagings: list[AnyStaging],
        write: Callable[[AnyStaging, int], None],
        block: Tensor,
        replay: Work,
    ) -> tuple[int, float]:
        """Run one of the graphs that fill a slot.

        Args:
            stagings: of the graph, used by turns.
            write: writes what is lifted, for a slot.
            block: of the graph, where that goes.
            replay: the graph.

        Returns:
            The slot, and the milliseconds that it took.
        """
        begun, done = self._queue.mark(), self._queue.mark()
        slot = self.slots.take()
        try:
            with self._lock, self._queue.working():
                self._check_open()
                staging = stagings[0]
                stagings.reverse()
                write(staging, slot)
                begun.record()
                staging.send(block)
                replay()
                done.record()
            done.wait()
        except BaseException:
            self.slots.give(slot)
            raise
        return slot, begun.milliseconds_to(done)

    def follow(self, avatar: Avatar) -> GpuFollower:
        """See `models.engine.Engine`.

        Raises:
            CapacityError: as many callers are followed as there is room for.
        """
        from models.gpu_follower import GpuFollower
        from models.portrait import Portrait

        ours, _ = self._slot(avatar)
        if not isinstance(ours.enrolment, Portrait):
            raise ValueError("the avatar is a follower's own")
        finder, place = self._portraits(), self.places.numbers.take()
        try:
            with self._lock, self._queue.working():
                self._check_open()
                _, slot = self._slot(avatar)
                portrait = ours.enrolment
                self.places.enrol(
                    place,
                    self.slots,
                    slot,
                    portrait.mask,
                    torch.linalg.inv(portrait.head_from_camera),
                )
                depth = self.places.depth[place, 0].cpu().clone()
            return GpuFollower(self, finder, place, portrait, depth)
        except BaseException:
            self.places.numbers.give(place)
            raise

    def relift(
        self,
        place: int,
        portrait: LivePortrait,
        moved: Tensor,
        share: float,
        fresh: bool,
        tracked: float,
    ) -> GpuAvatar:
        """Build the next avatar of a followed caller.

        Args:
            place: the caller's.
            portrait: of the frame.
            moved: see `FollowStaging.write`, as the next two.
            share: of what was kept.
            fresh: forget the maps of before.
            tracked: seconds that finding the portrait took.

        Raises:
            CapacityError: all slots are taken.
        """

        def write(staging: FollowStaging, slot: int) -> None:
            staging.write(slot, place, portrait, moved, share, fresh)

        block = self._follow_chain.block.block
        slot, self._times["relift"] = self._lifted(
            self._follow_stagings, write, block, self._follow_replay
        )
        self._times["track"] = tracked * 1e3
        return GpuAvatar(self, slot, portrait.distance, camera_from_head(portrait))

    def free(self, avatar: GpuAvatar) -> None:
        """Give an avatar's slot back. A batch on its way that shows it is done before another
        avatar is written there: both wait in one queue."""
        with self._lock:
            slot, avatar.slot = avatar.slot, None
            avatar.enrolment = None
        if slot is not None:
            self.slots.give(slot)

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        qualities = [quality_of(request) for request in requests]
        batches = batches_of(qualities, self._batches)
        views = [
            self._view(request, quality)
            for request, quality in zip(requests, qualities, strict=True)
        ]
        # What is started first may be delivered while another thread's batch runs.
        with self._lock, self._queue.working():
            self._check_open()
            for request in requests:
                self._slot(request.avatar)  # one may have been closed meanwhile
            started = [
                self._graphs[batch.size].start(batch, [views[i] for i in batch.members])
                for batch in batches
            ]
        pictures: list[Picture | None] = [None] * len(requests)
        times: dict[str, float] = {}
        left_out = 0
        for one in started:
            one.frames.filled.wait()
            whole = one.frames.begun.milliseconds_to(one.frames.filled)
            left_out += int(one.frames.left_out.numpy().sum())
            for stage, share in one.graphs.shares.get(one.batch.quality, {}).items():
                times[stage] = times.get(stage, 0.0) + share * whole
            made = one.graphs.pool.pictures(one.frames, len(one.batch.members))
            for index, picture in zip(one.batch.members, made, strict=True):
                pictures[index] = picture
        if Quality.REFINED not in qualities:
            times.pop("refine", None)  # what it last took stays, as on the CPU
        self._times.update(times)
        with self._lock:
            self._left_out += left_out
        return [picture for picture in pictures if picture is not None]

    def _view(self, request: RenderRequest, quality: Quality) -> SlotView:
        avatar, slot = self._slot(request.avatar)
        return slot_view(
            slot,
            request.viewpoint,
            avatar.distance,
            avatar.camera_from_head,
            self.size // 2 if quality is Quality.COARSE else self.size,
        )

    def save_ply(self, avatar: Avatar, path: str | PathLike[str]) -> int:
        gaussians = self.gaussians(avatar)
        gaussians.save_ply(path)
        return len(gaussians)

    def gaussians(self, avatar: Avatar) -> Gaussians:
        """A copy of an avatar's Gaussians, in head space, on the CPU."""
        with self._lock, self._queue.working():
            (_, slot), slots = self._slot(avatar), self.slots
            count = int(slots.counts[slot])
            tensors = (slots.means, slots.axes, slots.opacities, slots.colors)
            return Gaussians(*(t[slot, :count].cpu().clone() for t in tensors))

    def left_out(self) -> int:
        return self._left_out

    def stage_times(self) -> Mapping[str, float]:
        """Milliseconds. The stages of a frame are parts of a batch's time on the GPU, in the
        proportion that was measured at the start."""
        return dict(self._times)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._queue.device.type == "cuda":  # no graph may go while it runs
                torch.cuda.synchronize(self._queue.device)
            self._graphs.clear()
            self._lift_replay = self._follow_replay = nothing
            self._queue.close()
            if self._queue.device.type == "cuda":
                torch.cuda.empty_cache()

    def _slot(self, avatar: Avatar) -> tuple[GpuAvatar, int]:
        """An avatar of this engine, and where it lives."""
        if not isinstance(avatar, GpuAvatar) or avatar.engine is not self:
            raise TypeError(f"{type(avatar).__name__} is not an avatar of this engine")
        slot = avatar.slot
        if slot is None:
            raise ValueError(f"avatar {avatar.id} is closed")
        return avatar, slot

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the engine is closed")

    def _portraits(self) -> PortraitFinder:
        if self._finder is None:
            from models.portrait import PortraitFinder  # brings cv2 and the face models

            self._finder = PortraitFinder()
        return self._finder


def nothing() -> None:
    """What is left of a graph when its engine is closed."""
