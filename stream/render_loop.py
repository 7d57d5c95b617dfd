"""The threads that turn viewpoints into pictures, for all receivers of all calls."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.engine import RenderRequest
from models.viewpoint import Viewpoint
from stream.effort_policy import Effort, EffortPolicy
from stream.frame_time import FrameTime
from stream.metrics import Metrics
from stream.pacer import Arrival
from stream.settings import Settings
from stream.view import Company, Picture, Sight, View, alike, sight_of
from stream.viewpoint_inbox import Aim

if TYPE_CHECKING:
    from models.engine import Avatar, Engine

__all__ = ["Picture", "RenderLoop", "View"]

logger = logging.getLogger(__name__)

AFTER_FAILURE = 0.25
"""Seconds that a thread rests after the engine failed: a broken one must not fill the log."""

ONE_BY_ONE = 8
"""Pictures asked for at once of an engine that makes one after another: none is delivered before
all are there."""

GIVE_WAY = 1.2
"""How many times as far apart frames are while lifting has too little time: 25 instead of 30."""

AVATAR_TRIES = 3
"""An avatar that is being replaced just now may be given up before it is held; the next one is not
replaced as soon."""

STOP_TIMEOUT = 10.0
"""Seconds that the end of a thread is waited for: an engine that hangs must not hold us up."""


@dataclass(frozen=True)
class _Target:
    """For whom a picture is made, and the number of it among that view's pictures."""

    view: View
    aim: Aim | None
    ticket: int


@dataclass(frozen=True)
class _Job:
    """One picture to make."""

    targets: tuple[_Target, ...]
    viewpoint: Viewpoint
    due: float
    started: float
    policy: EffortPolicy
    effort: Effort
    pictured: float | None = None

    def request(self, avatar: Avatar) -> RenderRequest:
        return RenderRequest(
            avatar, self.viewpoint, self.effort is Effort.REFINED, self.effort is Effort.COARSE
        )


class RenderLoop:
    """Renders every receiver's newest viewpoint when its frame is due.

    Frames that fall due together are rendered as batches: one per idle thread; or, where the engine
    renders a batch in hardly more time than one picture, all by one thread, while others deliver
    what it rendered before. Receivers who see the same person from the same viewpoint share a
    picture: the very same array is delivered to each; at rest their frames fall due together. A
    receiver may have as many pictures in the making as there are threads, but is given them in
    order; one that was overtaken is dropped.

    Args:
        engine: renders; its `render` blocks and may be called by several threads.
        settings: frame rate, threads, batch size and frame budget.
        metrics: counts.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        # Where the view or the person moves frames must be in time; else better late than raw.
        self._moving = EffortPolicy(settings.frame_budget, settings.refine_budget)
        self._resting = EffortPolicy(settings.rest_budget)
        self._together = engine.batch > 1
        self._most = settings.max_batch or (engine.batch if self._together else ONE_BY_ONE)
        self._holder: int | None = None  # the thread that has the engine which renders together
        self._frame_time = FrameTime()
        self._behind: set[str] = set()  # calls whose lifting has too little time
        self._left_out = 0
        self._changed = threading.Condition()
        self._views: list[View] = []
        self._idle = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"render-{number}", daemon=True)
            for number in range(settings.render_threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the pictures in the making be finished, then end the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(STOP_TIMEOUT)

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def refining(self) -> bool:
        """Whether refined frames keep the frame budget while views move."""
        return self._moving.level is Effort.REFINED

    @property
    def effort(self) -> Effort:
        """What goes into frames while views move."""
        return self._moving.level

    def stage_times(self) -> Mapping[str, float]:
        """Milliseconds of the engine's stages for the newest batch."""
        return self._engine.stage_times()

    def picture_seconds(self, refined: bool) -> float | None:
        """Seconds of the engine that one picture takes lately, refined or raw; None if too few were
        rendered to tell."""
        with self._changed:
            return self._frame_time.seconds(refined, time.monotonic())

    def add(self, view: View) -> None:
        """Begin to render for a receiver."""
        with self._changed:
            self._views.append(view)
            self._changed.notify()

    def remove(self, view: View) -> None:
        """Stop rendering for a receiver; a picture in the making may still be delivered."""
        with self._changed:
            if view in self._views:
                self._views.remove(view)

    def give_way(self, call: str, on: bool) -> None:
        """Let a call's lifting have some of the time of frames, or no longer."""
        with self._changed:
            (self._behind.add if on else self._behind.discard)(call)

    def wake(self) -> None:
        """A viewpoint has come into an empty mailbox, or a call has another avatar."""
        with self._changed:
            self._changed.notify()

    def _work(self) -> None:
        while (jobs := self._next_jobs()) is not None:
            self._render(jobs)
            del jobs  # while waiting for the next ones, nothing of an ended call is to be kept

    def _next_jobs(self) -> list[_Job] | None:
        """Wait until frames are due and take a share of them; None when the loop stops."""
        with self._changed:
            self._idle += 1
            try:
                while not self._stopping:
                    if self._holder is not None:
                        self._changed.wait()
                        continue
                    now = time.monotonic()
                    due, next_due = self._due(now)
                    if due:
                        groups = alike(due)
                        share = len(groups)
                        if not self._together:
                            share = math.ceil(share / self._idle)
                        else:
                            self._holder = threading.get_ident()
                        taken = groups[: min(share, self._most)]
                        if len(taken) < len(groups):
                            self._changed.notify()
                        return self._begin([due for group in taken for due in group], now)
                    self._changed.wait(None if next_due == math.inf else next_due - now)
                return None
            finally:
                self._idle -= 1

    def _due(self, now: float) -> tuple[list[tuple[float, View]], float]:
        due = []
        next_due = math.inf
        for view in self._views:
            waiting = view.aims.peek()
            # At rest one picture at a time: a thread stays free for the viewpoint that ends it.
            if view.rendering >= (len(self._threads) if waiting is not None else 1):
                continue
            policy = self._policy(view, waiting is not None)
            view.pacer.slowness = max(policy.level.slowness, GIVE_WAY if self._behind else 1.0)
            at = view.pacer.due_at(
                Arrival(waiting.received, waiting.interval) if waiting is not None else None,
                news=view.avatar() is not view.shown,
            )
            if at <= now:
                due.append((at, view))
            else:
                next_due = min(next_due, at)
        due.sort(key=lambda pair: pair[0])
        return due, next_due

    def _begin(self, taken: list[tuple[float, View]], now: float) -> list[_Job]:
        jobs: dict[Sight | int, _Job] = {}
        for due, view in taken:
            aim = view.aims.take()
            policy = self._policy(view, aim is not None)
            if aim is not None:
                view.aim = aim
                due = max(due, aim.received)
            sight = sight_of(view)
            # Without an avatar nothing is made, nor shared.
            key: Sight | int = sight if sight[0] is not None else id(view)
            view.pacer.framed(now, fresh=aim is not None, news=sight[0] is not view.shown)
            target = _target(view, sight)
            job = jobs.get(key)
            if job is None:
                wanted = Effort.REFINED if view.refine else Effort.RAW
                jobs[key] = _Job((target,), sight[1], due, now, policy, wanted)
            else:
                due = min(due, job.due)
                jobs[key] = replace(job, targets=(*job.targets, target), due=due)
        self._join(jobs, now)
        return self._decided(list(jobs.values()), now)

    def _join(self, jobs: dict[Sight | int, _Job], now: float) -> None:
        """Let views that rest have their frames together with others of the same sight."""
        for view in self._views:
            if view.rendering or view.aims.full or not view.pacer.may_join(now):
                continue
            sight = sight_of(view)
            job = jobs.get(sight)
            if job is None:
                continue
            view.pacer.joined(job.targets[0].view.pacer, news=sight[0] is not view.shown)
            jobs[sight] = replace(job, targets=(*job.targets, _target(view, sight)))

    def _decided(self, jobs: list[_Job], now: float) -> list[_Job]:
        """Jobs that say what their views want, with what there is time for."""
        if not self._together:
            return [replace(job, effort=job.policy.decide(now, job.effort)) for job in jobs]
        # One for all: a trial of a single frame among many raw ones would always be in time.
        efforts = {
            policy: policy.decide(now, min(job.effort for job in jobs if job.policy is policy))
            for policy in {job.policy for job in jobs}
        }
        return [replace(job, effort=max(job.effort, efforts[job.policy])) for job in jobs]

    def _policy(self, view: View, aimed: bool) -> EffortPolicy:
        return self._resting if not aimed and view.pacer.still else self._moving

    def _leave(self) -> None:
        """Let another thread have the engine."""
        with self._changed:
            if self._holder == threading.get_ident():
                self._holder = None
                self._changed.notify()

    def _render(self, jobs: list[_Job]) -> None:
        try:
            with contextlib.ExitStack() as held:
                ready: list[tuple[_Job, RenderRequest]] = []
                for job in jobs:
                    found = _newest_avatar(job, held)
                    if found is not None:
                        avatar, pictured = found
                        ready.append((replace(job, pictured=pictured), job.request(avatar)))
                if ready:
                    self._render_ready(ready)
        except Exception:
            logger.exception("The engine could not render; the calls go on.")
            self._metrics.render_failures.inc()
            time.sleep(AFTER_FAILURE)
        finally:
            self._leave()
            with self._changed:
                for target in (target for job in jobs for target in job.targets):
                    target.view.rendering -= 1
                self._changed.notify()

    def _count_left_out(self) -> None:
        left_out = self._engine.left_out()
        self._metrics.left_out.inc(max(0, left_out - self._left_out))
        if left_out and not self._left_out:
            logger.warning("Avatars need more room than there is; their backs are not drawn.")
        self._left_out = left_out

    def _render_ready(self, ready: list[tuple[_Job, RenderRequest]]) -> None:
        with self._changed:
            started = time.monotonic()
            self._frame_time.begin(started)
        made = 0
        try:
            pictures = self._engine.render([request for _, request in ready])
            made = len(pictures)
        finally:
            self._leave()
            stages = self._engine.stage_times()
            with self._changed:
                self._count_left_out()
                done = time.monotonic()
                refined = sum(job.effort is Effort.REFINED for job, _ in ready)
                coarse = sum(job.effort is Effort.COARSE for job, _ in ready)
                self._frame_time.end(done, made, refined, stages, coarse)
        self._metrics.rendered(done - started, stages)
        with self._changed:
            for policy in (self._moving, self._resting):
                for effort in Effort:
                    dues = [
                        job.due for job, _ in ready if job.effort is effort and job.policy is policy
                    ]
                    if dues:
                        policy.measured(done, done - min(dues), effort)
            self._metrics.effort.set(self._moving.level)
            fresh = []
            for (job, _), picture in zip(ready, pictures, strict=True):
                views = frozenset(target.view.number for target in job.targets)
                company = Company(views, job.pictured)
                for target in job.targets:
                    if target.ticket <= target.view.delivered:
                        self._metrics.dropped.labels("overtaken").inc()
                        continue
                    target.view.delivered = target.ticket
                    fresh.append((job, target, picture, company))
        for job, target, picture, company in fresh:
            refined = job.effort is Effort.REFINED
            target.view.deliver(picture, target.aim, refined, job.started, company)


def _target(view: View, sight: Sight) -> _Target:
    view.shown = sight[0]
    view.rendering += 1
    view.started += 1
    return _Target(view, view.aim, view.started)


def _newest_avatar(job: _Job, held: contextlib.ExitStack) -> tuple[Avatar, float | None] | None:
    """The person as of now, who may have changed since the picture fell due, and when the camera
    frame came in that the person is made from. The avatar is kept open by `held`. None if there is
    nobody."""
    for _ in range(AVATAR_TRIES):
        lease = job.targets[0].view.avatar()
        if lease is None:
            return None
        avatar = held.enter_context(lease.use())
        if avatar is not None:
            return avatar, lease.arrived
    return None
