"""Rooms by themselves, and over HTTP with real connections."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from stream.messages import Message
from stream.rooms import Room, Rooms
from tests.stream.conftest import Running, Start
from tests.stream.peers import SDP, Caller, Client, until

# ---- by themselves ----


class Seat:
    """A call that remembers what it was told."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.seat = "waiting"
        self.caller: list[Message] = []
        self.receivers: list[Message] = []

    def tell_caller(self, message: Message) -> None:
        self.caller.append(message)

    def tell_receivers(self, message: Message) -> None:
        self.receivers.append(message)


def names(room: Room) -> list[str]:
    return [member.call for member in room.members]


def test_seats_stay_when_somebody_leaves() -> None:
    room = Room("r", 3)
    a, b, c, d = (Seat(name) for name in "abcd")
    for seat in (a, b, c):
        assert not room.full
        room.add(seat)
    assert room.full and names(room) == ["a", "b", "c"]
    room.remove(a)
    assert names(room) == ["b", "c"] and not room.full
    room.add(d)
    assert names(room) == ["b", "c", "d"]
    room.remove(a)
    assert names(room) == ["b", "c", "d"]


def test_everybody_is_told_of_each_change_once() -> None:
    room = Room("r", 3)
    a, b = Seat("a"), Seat("b")
    room.add(a)
    room.changed()
    room.add(b)
    room.changed()
    room.changed()
    assert len(a.caller) == len(a.receivers) == 2 and len(b.caller) == 1
    b.seat = "live"
    room.changed()
    newest: Any = a.caller[-1]
    assert [(m.call, m.state) for m in newest.members] == [("a", "waiting"), ("b", "live")]
    assert (newest.you, newest.room, newest.link, newest.size) == ("a", "r", "/r/r", 3)
    watching: Any = a.receivers[-1]
    assert watching.you is None and watching.members == newest.members


def test_a_room_ends_with_its_last_call() -> None:
    rooms = Rooms()
    room = Room("r", 3)
    a, b = Seat("a"), Seat("b")
    rooms.enter(room, a)
    rooms.enter(room, b)
    assert rooms.get("r") is room and len(rooms) == 1
    rooms.leave(room, a)
    assert rooms.get("r") is room
    rooms.leave(room, b)
    assert rooms.get("r") is None and len(rooms) == 0


# ---- over HTTP ----


async def room_of(server: Running, size: int) -> tuple[str, list[Caller]]:
    """A room with so many people who are live."""
    callers: list[Caller] = []
    room = None
    for _ in range(size):
        caller = await server.caller(room=room)
        await caller.go_live()
        assert caller.response is not None
        room = caller.response.headers["Visavis-Room"]
        callers.append(caller)
    assert room is not None
    return room, callers


def call_of(caller: Caller) -> str:
    assert caller.response is not None
    return str(caller.response.headers["Visavis-Call"])


def members(client: Client) -> list[tuple[str, str]]:
    newest = client.of_type("room")[-1:]
    return [(m["call"], m["state"]) for message in newest for m in message["members"]]


async def post(server: Running, path: str) -> httpx.Response:
    caller = await server.caller()
    return await server.http.post(path, content=await caller.offer(), headers=SDP)


async def test_three_people_see_each_other(start: Start) -> None:
    server = await start()
    room, callers = await room_of(server, 3)
    calls = [call_of(caller) for caller in callers]
    everybody = [(call, "live") for call in calls]
    for caller, call in zip(callers, calls, strict=True):
        await until(lambda c=caller: members(c) == everybody, "the list of members")
        newest = caller.of_type("room")[-1]
        assert (newest["you"], newest["room"], newest["size"]) == (call, room, 6)
        assert newest["link"] == f"/r/{room}"
        (live,) = caller.of_type("live")
        assert (live["room"], live["room_link"]) == (room, f"/r/{room}")
    answer = (await server.http.get(f"/rooms/{room}")).json()
    listed = [{"call": call, "state": "live"} for call in calls]
    assert answer == {"room": room, "size": 6, "members": listed}
    # Each watches each other one, and so does somebody without a camera.
    for call in calls:
        for other in calls:
            if other != call:
                await (await server.receiver(other)).watch()
    watching = await server.receiver(calls[0])
    await watching.watch()
    await until(lambda: members(watching) == everybody, "the members, for one who watches")
    assert watching.of_type("room")[-1]["you"] is None
    await until(lambda: callers[0].of_type("receivers")[-1]["count"] == 3, "the first's receivers")
    # Whoever hangs up leaves a gap that closes.
    await callers[1].hang_up()
    rest = [(calls[0], "live"), (calls[2], "live")]
    for client in (callers[0], callers[2], watching):
        await until(lambda c=client: members(c) == rest, "two members")
    assert (await server.http.get("/healthz")).json()["rooms"] == 1


async def test_the_others_see_somebody_come(start: Start) -> None:
    server = await start()
    room, (first,) = await room_of(server, 1)
    second = await server.caller(brightness=20, room=room)
    call = (await second.connect()).headers["Visavis-Call"]
    waiting = [(call_of(first), "live"), (call, "waiting")]
    for client in (first, second):
        await until(lambda c=client: members(c) == waiting, "one who is not live yet")
    second.camera.brightness = 180
    for client in (first, second):
        await until(lambda c=client: members(c)[-1] == (call, "live"), "the second to be live")


async def test_a_full_room_says_so_and_can_be_watched(start: Start) -> None:
    server = await start(room_size=2)
    room, callers = await room_of(server, 2)
    response = await post(server, f"/whip?room={room}")
    assert response.status_code == 503 and response.json()["title"] == "The room is full"
    assert int(response.headers["Retry-After"]) > 0
    for caller in callers:
        await (await server.receiver(call_of(caller))).watch()
    await callers[0].hang_up()
    third = await server.caller(room=room)
    await third.go_live()
    names = [member["call"] for member in third.of_type("room")[-1]["members"]]
    assert names == [call_of(callers[1]), call_of(third)]


async def test_a_room_that_is_not_there_is_a_404(start: Start) -> None:
    server = await start()
    assert (await post(server, "/whip?room=none")).status_code == 404
    assert (await server.http.get("/rooms/none")).status_code == 404
    page = await server.http.get("/r/none")
    assert page.status_code == 404 and page.headers["Content-Type"].startswith("text/html")
    assert server.calls == {}


async def test_a_room_ends_when_everybody_has_left(start: Start) -> None:
    server = await start()
    room, callers = await room_of(server, 2)
    for caller in callers:
        assert (await server.http.get(f"/rooms/{room}")).status_code == 200
        await caller.hang_up()
    assert (await server.http.get(f"/rooms/{room}")).status_code == 404
    assert (await post(server, f"/whip?room={room}")).status_code == 404
    assert server.app.state.switchboard.rooms == 0


async def test_an_offer_that_is_refused_takes_no_seat(start: Start) -> None:
    server = await start(room_size=2)
    room, _ = await room_of(server, 1)
    for path in (f"/whip?room={room}", "/whip"):
        response = await server.http.post(path, content="v=0", headers=SDP)
        assert response.status_code == 400
    assert len((await server.http.get(f"/rooms/{room}")).json()["members"]) == 1
    assert server.app.state.switchboard.rooms == 1


@pytest.mark.parametrize("path", ["/rooms/none", "/r/none"])
async def test_rooms_can_be_asked_for_by_head(start: Start, path: str) -> None:
    server = await start()
    assert (await server.http.head(path)).status_code == 404


async def test_a_call_without_a_caller_has_no_room(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    await until(lambda: receiver.of_type("presence"), "the presence")
    assert receiver.of_type("room") == []
    assert server.app.state.switchboard.rooms == 0
