"""A call: at most one caller, one avatar, any number of receivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream import problems
from stream.avatar_lease import AvatarLease
from stream.call_state import CallMachine, CallState
from stream.caller import CallerPeer
from stream.enrolment import Enrolment
from stream.gpu_watch import GpuWatch
from stream.messages import Ended, Live, Receivers
from stream.metrics import Metrics
from stream.offer import Video
from stream.peer import new_id
from stream.receiver import ReceiverPeer
from stream.render_loop import RenderLoop
from stream.settings import Settings

if TYPE_CHECKING:
    from models.engine import Avatar, Engine

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
        gpus: what the GPUs are doing.
    """

    engine: Engine
    settings: Settings
    metrics: Metrics
    renderer: RenderLoop
    executor: Executor
    gpus: GpuWatch


class Call:
    """Belongs to the event loop's thread.

    Args:
        services: what all calls share.
        ended: called once when the call ends.
        slug: the call's name in links; a new one that cannot be guessed by default.
    """

    def __init__(
        self, services: Services, ended: Callable[[Call], None], slug: str | None = None
    ) -> None:
        self.slug = slug or new_id()
        self.caller: CallerPeer | None = None
        self.receivers: dict[str, ReceiverPeer] = {}
        self._services = services
        self._ended = ended
        self._machine = CallMachine(services.settings.fit_frames)
        self._lease: AvatarLease | None = None
        self._enrolment: Enrolment | None = None

    @property
    def state(self) -> CallState:
        """What the call is doing."""
        return self._machine.state

    async def open(self, offer: str) -> str:
        """Connect the caller and return the answer.

        Raises:
            Problem: the offer cannot be used; the call is then of no use.
        """
        services = self._services
        caller = CallerPeer(services.settings, self._caller_lost, self._caller_ready, self._retake)
        self.caller = caller
        self._enrolment = Enrolment(
            services.engine,
            services.executor,
            self._machine,
            caller,
            self._built,
            services.metrics,
            services.settings.check_interval,
        )
        answer = await caller.answer(offer, Video.SENT)
        caller.start(self._enrolment.run())
        return answer

    def make_live(self, avatar: Avatar) -> None:
        """Make a call without a caller live."""
        self._machine.adopt()
        self._built(avatar)

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

    async def end(self, reason: str) -> None:
        """Tell the receivers why and free everything; a second call does nothing."""
        if not self._machine.end():
            return
        self._ended(self)
        receivers = list(self.receivers.values())
        self.receivers.clear()
        closing: list[Awaitable[None]] = [_dismiss(receiver, reason) for receiver in receivers]
        if self.caller is not None:
            closing.append(self.caller.close())
        await asyncio.gather(*closing, return_exceptions=True)
        if self._lease is not None:
            self._lease.retire()
            self._lease = None

    def _avatar(self) -> AvatarLease | None:
        return self._lease

    def _built(self, avatar: Avatar) -> None:
        previous, self._lease = self._lease, AvatarLease(avatar)
        if previous is not None:
            previous.retire()
        self._tell_live()

    def _caller_ready(self) -> None:
        if self._lease is not None:
            self._tell_live()
            self._count_receivers()

    def _retake(self) -> None:
        if self._machine.retake() and self._enrolment is not None:
            self._enrolment.resume()

    async def _caller_lost(self, _: str) -> None:
        await self.end(LOST)

    def _tell_live(self) -> None:
        if self.caller is not None:
            self.caller.send(Live(self.slug, f"/c/{self.slug}"))

    def _count_receivers(self) -> None:
        if self.caller is not None:
            self.caller.send(Receivers(len(self.receivers)))


async def _dismiss(receiver: ReceiverPeer, reason: str) -> None:
    receiver.farewell = reason
    receiver.send(Ended(reason))
    await receiver.flush()
    await receiver.close()
