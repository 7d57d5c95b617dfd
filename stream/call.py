"""A call: at most one caller, one avatar, any number of receivers."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stream import presence, problems
from stream.audio_relay import AudioRelay
from stream.avatar_lease import AvatarLease
from stream.call_state import CallMachine, CallState
from stream.caller import CallerPeer
from stream.camera import Camera
from stream.enrolment import Enrolment
from stream.gpu_watch import GpuWatch
from stream.lift_pace import LiftPace, Load
from stream.lift_time import LiftFigures, LiftTime
from stream.live_avatar import LiveAvatar
from stream.messages import CameraRate, Ended, Live, Message, Receivers
from stream.metrics import Metrics
from stream.offer import Video
from stream.peer import Peer, new_id
from stream.presence import PresencePolicy
from stream.receiver import ReceiverPeer
from stream.render_loop import RenderLoop
from stream.rooms import Room
from stream.settings import Settings
from stream.shared_encodes import SharedEncodes

if TYPE_CHECKING:
    from models.engine import Avatar, Engine

logger = logging.getLogger(__name__)

HUNG_UP = "The caller has hung up."
LOST = "The connection to the caller was lost."
CLOSING = "The server is shutting down."


@dataclass(frozen=True)
class Services:
    """What all calls share.

    Args:
        engine: builds avatars and renders.
        settings: of the server.
        metrics: counts.
        renderer: the render threads.
        executor: threads for looking at camera frames and building avatars.
        lifting: threads for following callers.
        gpus: what the GPUs are doing.
        lift_time: what following costs.
        encodes: where receivers meet who can share a stream of video.
    """

    engine: Engine
    settings: Settings
    metrics: Metrics
    renderer: RenderLoop
    executor: Executor
    lifting: Executor
    gpus: GpuWatch
    lift_time: LiftTime = field(default_factory=LiftTime)
    encodes: SharedEncodes = field(default_factory=SharedEncodes)


class Call:
    """Belongs to the event loop's thread.

    Args:
        services: what all calls share.
        ended: called once when the call ends.
        slug: the call's name in links; a new one that cannot be guessed by default.
        room: where the caller sits; None for a call that has no caller.
        callers: gives how many callers the server has, this one among them.
    """

    def __init__(
        self,
        services: Services,
        ended: Callable[[Call], None],
        slug: str | None = None,
        room: Room | None = None,
        callers: Callable[[], int] = lambda: 1,
    ) -> None:
        self.slug = slug or new_id()
        self.room = room
        self.key = new_id() if room is not None else None
        """What only the caller knows, also when they come back; None if there is no caller."""
        self.caller: CallerPeer | None = None
        """The connection of the caller; None while it is lost, and where there is no caller."""
        self.receivers: dict[str, ReceiverPeer] = {}
        self.camera = Camera()
        self.audio = AudioRelay()
        """The caller's voice. It outlives the caller's connection."""
        self._services = services
        self._ended = ended
        self._callers = callers
        self._machine = CallMachine(services.settings.fit_frames)
        self._presence = PresencePolicy()
        self._camera_fps: int | None = None
        self._told: tuple[Message, Message] | None = None
        self._figures = LiftFigures()
        self._lease: AvatarLease | None = None
        self._enrolment: Enrolment | None = None
        self._live: LiveAvatar | None = None
        self._was_connected = False
        self._waiting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> CallState:
        """What the call is doing."""
        return self._machine.state

    @property
    def seat(self) -> str:
        """What the others in the room are told: "waiting", "live" or "away"."""
        return self._machine.seat

    # The caller.

    async def open(self, offer: str) -> str:
        """Connect the caller and return the answer.

        Raises:
            Problem: the offer cannot be used; the call is then of no use.
        """
        answer = await self._connect(offer)
        services = self._services
        self._enrolment = Enrolment(
            services.engine,
            services.executor,
            self._machine,
            self.camera.reader(),
            self.tell_caller,
            self._built,
            services.metrics,
            services.settings.check_interval,
        )
        self._start(self._enrolment.run())
        if services.settings.avatar == "live":
            self._live = LiveAvatar(
                services.engine,
                services.lifting,
                self.camera.reader(),
                LiftPace(services.settings.live_fps),
                self._load,
                self._lifted,
                self._fit,
                self._unfit,
                self._camera_of_use,
                functools.partial(services.renderer.give_way, self.slug),
                services.metrics,
                services.lift_time,
                self._figures,
            )
            self._start(self._live.run())
        return answer

    async def resume(self, offer: str) -> str:
        """Connect the caller anew, in place of the connection before; return the answer.

        Raises:
            Problem: the offer cannot be used, and the connection before goes on; or the call has
                ended meanwhile.
        """
        answer = await self._connect(offer)
        self._services.metrics.resumed.inc()
        return answer

    async def _connect(self, offer: str) -> str:
        async def lost(_: str) -> None:
            await self._caller_lost(caller)

        caller = CallerPeer(
            self._services.settings,
            self.camera,
            lost,
            self._caller_connected,
            self._caller_ready,
            self._retake,
            self.audio,
        )
        try:
            answer = await caller.answer(offer, Video.SENT)
        except BaseException:
            await caller.close()
            raise
        if self.state is CallState.ENDED or caller.gone.is_set():
            await caller.close()
            raise problems.unknown_call()
        previous, self.caller = self.caller, caller
        if self._waiting is not None:
            self._waiting.cancel()
        if previous is not None:
            await previous.close()
        return answer

    def _caller_connected(self) -> None:
        self._was_connected = True
        if self._machine.back():
            self._presence = PresencePolicy()
            self._tell_presence()
        self._room_changed()

    def _caller_ready(self) -> None:
        if self.room is not None:
            self.tell_caller(self.room.message(self.slug))
        if self._lease is not None:
            self._tell_live()
            self._count_receivers()
            self.tell_caller(self._presence.to_caller())
        if self._camera_fps is not None:
            self.tell_caller(CameraRate(self._camera_fps))

    async def _caller_lost(self, caller: CallerPeer) -> None:
        """The caller is waited for, unless there never was a connection."""
        if caller is not self.caller:  # it has another connection already
            await caller.close()
        elif not self._was_connected or self._services.settings.resume_timeout <= 0:
            await self.end(LOST)
        else:
            self.caller = None
            self._waiting = self._start(self._wait_for_caller())
            if self._machine.lost():
                self._tell_presence()
                self._room_changed()
            await caller.close()

    async def _wait_for_caller(self) -> None:
        await asyncio.sleep(self._services.settings.resume_timeout)
        await self.end(LOST)

    def _retake(self, wanted: bool) -> None:
        if not wanted:
            self._machine.keep()
        elif self._machine.retake() and self._enrolment is not None:
            self._enrolment.resume()

    # The avatar.

    def make_live(self, avatar: Avatar) -> None:
        """Make a call without a caller live."""
        self._machine.adopt()
        self._built(avatar)

    def _avatar(self) -> AvatarLease | None:
        return self._lease

    def _replace(self, lease: AvatarLease) -> None:
        previous, self._lease = self._lease, lease
        if previous is not None:
            previous.retire()
        self._services.renderer.wake()

    def _built(self, avatar: Avatar) -> None:
        """There is an avatar of a portrait."""
        lease = AvatarLease(avatar)
        self._replace(lease)
        self._tell_live()
        self._presence = PresencePolicy()
        self._tell_presence()
        self._room_changed()
        if self._live is not None:
            self._live.follow(lease)

    def _lifted(self, avatar: Avatar, arrived: float) -> None:
        """There is an avatar that follows the camera."""
        self._replace(AvatarLease(avatar, arrived))

    def _load(self) -> Load:
        watched = bool(self.receivers)
        return Load(self._services.renderer.effort, max(1, self._callers()), watched)

    def _camera_of_use(self, fps: int) -> None:
        if fps != self._camera_fps:
            self._camera_fps = fps
            self.tell_caller(CameraRate(fps))

    def _fit(self) -> None:
        if self._presence.fit(time.monotonic()):
            self._tell_presence()

    def _unfit(self, code: str, advice: str) -> None:
        # Nothing comes from a caller who is away, and both sides know.
        if not self._machine.away and self._presence.unfit(time.monotonic(), code, advice):
            self._tell_presence()

    # The receivers.

    async def join(self, offer: str) -> tuple[ReceiverPeer, str]:
        """Connect a receiver; return it and the answer.

        Raises:
            Problem: the caller is not ready, or the offer cannot be used.
        """
        if self._lease is None:
            raise problems.not_ready()
        services = self._services
        receiver: ReceiverPeer

        async def lost(_: str) -> None:
            await self.leave(receiver.id)

        receiver = ReceiverPeer(
            services.settings,
            services.metrics,
            services.renderer,
            services.gpus.load,
            self._avatar,
            lost,
            self.audio,
            self._receiver_ready,
            self._figures,
            services.encodes,
        )
        self.receivers[receiver.id] = receiver
        try:
            answer = await receiver.answer(offer, Video.RECEIVED)
        except BaseException:
            await self.leave(receiver.id)
            raise
        if self.state is CallState.ENDED:
            await self.leave(receiver.id)
            raise problems.unknown_call()
        self._count_receivers()
        return receiver, answer

    async def leave(self, receiver_id: str) -> None:
        """Free a receiver."""
        receiver = self.receivers.pop(receiver_id, None)
        if receiver is not None:
            self._count_receivers()
            await receiver.close()

    def _receiver_ready(self, receiver: ReceiverPeer) -> None:
        receiver.send(self._words_to_others())
        if self.room is not None:
            receiver.send(self.room.message(None))

    # The end.

    async def end(self, reason: str) -> None:
        """Tell the receivers why and free everything; a second call does nothing."""
        if not self._machine.end():
            return
        self._ended(self)
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        receivers = list(self.receivers.values())
        self.receivers.clear()
        closing: list[Awaitable[object]] = [_dismiss(receiver, reason) for receiver in receivers]
        if self.caller is not None:
            # Who hangs up knows; who is not told would try to come back.
            said = reason == HUNG_UP
            closing.append(self.caller.close() if said else _dismiss(self.caller, reason))
        await asyncio.gather(*tasks, *closing, return_exceptions=True)
        self.audio.close()
        if self._lease is not None:
            self._lease.retire()
            self._lease = None

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends or the call does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of a call failed.", exc_info=error)

    # What is told to whom.

    def tell_caller(self, message: Message) -> None:
        """Send something to the caller, if there is one who is connected."""
        if self.caller is not None:
            self.caller.send(message)

    def tell_receivers(self, message: Message) -> None:
        """Send something to everybody who watches."""
        for receiver in self.receivers.values():
            receiver.send(message)

    def _tell_live(self) -> None:
        if self.room is not None:
            self.tell_caller(Live(self.slug, f"/c/{self.slug}", self.room.slug, self.room.link))

    def _words_to_others(self) -> Message:
        return presence.away() if self._machine.away else self._presence.to_others()

    def _tell_presence(self) -> None:
        words = self._presence.to_caller(), self._words_to_others()
        if words != self._told:
            self._told = words
            self.tell_caller(words[0])
            self.tell_receivers(words[1])

    def _room_changed(self) -> None:
        if self.room is not None:
            self.room.changed()

    def _count_receivers(self) -> None:
        self.tell_caller(Receivers(len(self.receivers)))


async def _dismiss(peer: Peer, reason: str) -> None:
    peer.farewell = reason
    peer.send(Ended(reason))
    await peer.flush()
    await peer.close()
