"""Rooms: who sits together, in which order, and who is told of it.

Everybody in a room has a call of their own and is a receiver of each of the others'.
"""

from __future__ import annotations

from typing import Protocol

from stream import messages
from stream.messages import Member, Message


class Seated(Protocol):
    """A call, as a room knows it."""

    slug: str

    @property
    def seat(self) -> str:
        """What the others are told: "waiting", "live" or "away"."""

    def tell_caller(self, message: Message) -> None: ...

    def tell_receivers(self, message: Message) -> None: ...


class Room:
    """The calls of people who see each other. Belongs to the event loop's thread.

    Args:
        slug: the room's name in links.
        size: people with cameras at most.
    """

    def __init__(self, slug: str, size: int) -> None:
        self.slug = slug
        self.size = size
        self._seats: list[Seated] = []
        self._told: tuple[Member, ...] = ()

    @property
    def link(self) -> str:
        """A path on this server."""
        return f"/r/{self.slug}"

    @property
    def full(self) -> bool:
        """Whether nobody else can bring a camera."""
        return len(self._seats) >= self.size

    @property
    def empty(self) -> bool:
        """Whether everybody has left."""
        return not self._seats

    @property
    def members(self) -> tuple[Member, ...]:
        """Who is there, in the order of their seats, which is that of their coming."""
        return tuple(Member(call.slug, call.seat) for call in self._seats)

    def add(self, call: Seated) -> None:
        """Take the next seat. The others are told by `changed`, once the call has come about."""
        self._seats.append(call)

    def remove(self, call: Seated) -> None:
        """Leave; the others keep their seats."""
        if call in self._seats:
            self._seats.remove(call)
            self.changed()

    def changed(self) -> None:
        """Tell everybody, if there is something new to tell."""
        members = self.members
        if members == self._told:
            return
        self._told = members
        for call in self._seats:
            call.tell_caller(self.message(call.slug))
            call.tell_receivers(self.message(None))

    def message(self, you: str | None) -> messages.Room:
        """The room as it is now, for one of its people.

        Args:
            you: the call of whoever it is for; None for one who only watches.
        """
        return messages.Room(self.slug, self.link, self.members, self.size, you)


class Rooms:
    """All rooms that somebody is in, by their names."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, slug: str) -> Room | None:
        """The room of this name; None if there is none."""
        return self._rooms.get(slug)

    def enter(self, room: Room, call: Seated) -> None:
        """Seat a call; the room exists from then on."""
        self._rooms[room.slug] = room
        room.add(call)

    def leave(self, room: Room, call: Seated) -> None:
        """A call has ended; the room ends with its last one."""
        room.remove(call)
        if room.empty:
            self._rooms.pop(room.slug, None)
