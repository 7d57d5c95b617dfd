"""All calls of a server by their names."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from stream import problems
from stream.admission import Admission
from stream.call import CLOSING, HUNG_UP, Call, Services
from stream.call_state import CallState
from stream.peer import new_id
from stream.receiver import ReceiverPeer
from stream.rooms import Room, Rooms

if TYPE_CHECKING:
    from models.engine import Avatar


class Switchboard:
    """Opens, finds and ends calls. Belongs to the event loop's thread.

    Args:
        services: what all calls share.
        lifting_threads: how many callers can be lifted at the same moment.
    """

    def __init__(self, services: Services, lifting_threads: int = 1) -> None:
        self._services = services
        self._lifting_threads = lifting_threads
        self._calls: dict[str, Call] = {}
        self._rooms = Rooms()
        self._closing = False
        self._admission = Admission(services.settings)
        services.metrics.budget_used.set_function(self._budget_figure)
        services.metrics.lifting_used.set_function(self._lifting_figure)
        services.metrics.calls.set_function(lambda: len(self._calls))
        services.metrics.rooms.set_function(lambda: len(self._rooms))
        services.metrics.receivers.set_function(lambda: self.receivers)

    @property
    def calls(self) -> int:
        """Open calls."""
        return len(self._calls)

    @property
    def receivers(self) -> int:
        """Receivers of all calls."""
        return sum(len(call.receivers) for call in list(self._calls.values()))

    @property
    def rooms(self) -> int:
        """Rooms that somebody is in."""
        return len(self._rooms)

    @property
    def callers(self) -> int:
        """Calls that have a caller, also one who is away."""
        return sum(call.room is not None for call in self._calls.values())

    @property
    def budget_used(self) -> float | None:
        """Part of the frame budget that a picture for each receiver takes; None if unknown."""
        return self._admission.used(self.receivers, self._picture_seconds())

    def has(self, slug: str) -> bool:
        """Whether there is a call of this name."""
        call = self._calls.get(slug)
        return call is not None and call.state is not CallState.ENDED

    def find(self, slug: str) -> Call:
        """The call of this name.

        Raises:
            Problem: there is none.
        """
        if not self.has(slug):
            raise problems.unknown_call()
        return self._calls[slug]

    def find_room(self, slug: str) -> Room:
        """The room of this name.

        Raises:
            Problem: there is none.
        """
        room = self._rooms.get(slug)
        if room is None:
            raise problems.unknown_room()
        return room

    def find_receiver(self, slug: str, receiver_id: str) -> ReceiverPeer:
        """A receiver of a call.

        Raises:
            Problem: there is no such call or no such receiver.
        """
        receiver = self.find(slug).receivers.get(receiver_id)
        if receiver is None:
            raise problems.unknown_session()
        return receiver

    def add_ready(self, slug: str, avatar: Avatar) -> None:
        """Open a call that has an avatar and no caller."""
        call = Call(self._services, self._ended, slug)
        call.make_live(avatar)
        self._calls[slug] = call

    async def open(self, offer: str, room: Room | None = None) -> tuple[Call, str]:
        """Open a call for a caller; return it and the answer.

        Args:
            offer: of the caller.
            room: where they sit down; a new one by default.

        Raises:
            Problem: the room or the server is full, or the offer cannot be used.
        """
        settings = self._services.settings
        limit = settings.max_calls
        if self._closing or len(self._calls) >= limit:
            raise self._refused("calls", problems.busy("calls", limit))
        if room is not None and room.full:
            raise self._refused("room", problems.room_full(room.size))
        self._need_lift_time()
        self._need_memory()
        if room is None:
            room = Room(new_id(), settings.room_size)
        call = Call(self._services, self._ended, room=room, callers=lambda: self.callers)
        self._calls[call.slug] = call
        self._rooms.enter(room, call)
        try:
            answer = await call.open(offer)
        except BaseException:
            await call.end(HUNG_UP)
            raise
        room.changed()
        return call, answer

    async def join(self, slug: str, offer: str) -> tuple[ReceiverPeer, str]:
        """Connect a receiver to a call; return it and the answer.

        Raises:
            Problem: there is no such call, it is not ready, the server is full or has no time for
                another receiver, or the offer cannot be used.
        """
        call = self.find(slug)
        limit = self._services.settings.max_receivers
        if self._closing or self.receivers >= limit:
            raise self._refused("receivers", problems.busy("receivers", limit))
        # A caller whom nobody can see has no call at all: the first receiver always fits.
        if call.receivers:
            if not self._admission.has_time(self.receivers, self._picture_seconds()):
                raise self._refused("time", problems.no_time())
            self._need_memory()
        return await call.join(offer)

    async def close(self) -> None:
        """End all calls."""
        self._closing = True
        ending: list[Awaitable[None]] = [call.end(CLOSING) for call in list(self._calls.values())]
        await asyncio.gather(*ending, return_exceptions=True)

    def _budget_figure(self) -> float:
        used = self.budget_used
        return math.nan if used is None else used

    def _lifting_figure(self) -> float:
        used = self._admission.lifting(self.callers, self._lift_seconds(), self._lifting_threads)
        return math.nan if used is None else used

    def _lift_seconds(self) -> float | None:
        return self._services.lift_time.seconds(time.monotonic())

    def _picture_seconds(self) -> float | None:
        return self._services.renderer.picture_seconds(self._admission.refined)

    def _need_lift_time(self) -> None:
        threads = self._lifting_threads
        if not self._admission.has_lift_time(self.callers, self._lift_seconds(), threads):
            raise self._refused("time", problems.no_lift_time())

    def _need_memory(self) -> None:
        if not self._admission.has_memory(self._services.gpus.load()):
            raise self._refused("memory", problems.no_memory())

    def _refused(self, reason: str, problem: problems.Problem) -> problems.Problem:
        self._services.metrics.refused.labels(reason).inc()
        return problem

    def _ended(self, call: Call) -> None:
        self._calls.pop(call.slug, None)
        if call.room is not None:
            self._rooms.leave(call.room, call)
        self._services.metrics.ended.inc()
