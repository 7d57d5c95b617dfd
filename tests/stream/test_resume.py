"""A caller whose connection is lost comes back to the same call."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.stream.bar_engine import BarAvatar
from tests.stream.conftest import Running, Start
from tests.stream.peers import SDP, Caller, Receiver, unplug, until

QUICK = {"silence_timeout": 1.0}


def states(peer: Caller | Receiver) -> list[str]:
    return [message["state"] for message in peer.of_type("presence")]


def brightness(server: Running) -> float:
    avatar = server.engine.rendered[-1].avatar
    assert isinstance(avatar, BarAvatar)
    return avatar.brightness


async def watched_call(server: Running) -> tuple[Caller, str, Receiver]:
    caller = await server.caller(150)
    call = await caller.go_live()
    receiver = await server.receiver(call)
    await receiver.watch()
    return caller, call, receiver


@pytest.mark.parametrize("avatar", ["live", "once"])
async def test_a_lost_caller_is_waited_for_and_comes_back(start: Start, avatar: str) -> None:
    server = await start(avatar=avatar, **QUICK)
    caller, call, receiver = await watched_call(server)
    room = caller.of_type("live")[0]["room"]
    unplug(caller)
    await until(lambda: states(receiver)[-1:] == ["away"], "the receiver to be told")
    assert "waited for" in receiver.of_type("presence")[-1]["reason"]
    assert receiver.of_type("room")[-1]["members"] == [{"call": call, "state": "away"}]
    before = receiver.count
    await until(lambda: receiver.count > before + 3, "frames of the last avatar")
    assert (await server.http.get(f"/calls/{call}")).json()["state"] == "live"
    # Nobody sees an avatar of somebody else, nor has anybody to enrol again.
    avatars, looks = len(server.engine.avatars), len(server.engine.followers)
    again = server.kept(caller.back())
    again.camera.brightness = 200
    response = await again.connect()
    assert response.headers["Visavis-Call"] == call
    assert response.headers["Visavis-Room"] == room
    assert response.headers["Location"] == caller.location
    assert response.headers["ETag"] != caller.response.headers["ETag"]  # type: ignore[union-attr]
    await until(lambda: states(receiver)[-1:] == ["live"], "the receiver to be told")
    await until(lambda: again.of_type("live"), "the caller to be told")
    await until(lambda: states(again)[:1] == ["live"], "the caller's own presence")
    await until(lambda: again.of_type("receivers")[-1:] == [{"type": "receivers", "count": 1}])
    assert again.of_type("framing") == []
    assert len(server.engine.followers) == looks
    if avatar == "live":
        await until(lambda: abs(brightness(server) - 200) < 8, "the avatar to follow again")
    else:
        assert len(server.engine.avatars) == avatars
    assert receiver.of_type("ended") == []
    assert (await again.hang_up()).status_code == 200
    await until(lambda: receiver.of_type("ended"), "the end")


async def test_a_caller_may_come_back_before_the_loss_is_noticed(start: Start) -> None:
    server = await start()
    caller, call, receiver = await watched_call(server)
    before = server.calls[call].caller
    assert before is not None
    peer = weakref.ref(before)
    again = server.kept(caller.back())
    again.camera.brightness = 200
    await again.connect()
    await until(lambda: abs(brightness(server) - 200) < 8, "the avatar to follow again")
    await until(lambda: caller.connection.connectionState in ("closed", "failed"), "the old one")
    # That the connection before was lost may be noticed only now.
    await server.calls[call]._caller_lost(before)
    del before
    assert "away" not in states(receiver) and call in server.calls
    assert server.calls[call].seat == "live" and server.calls[call].caller is not None
    await caller.close()

    def gone() -> bool:
        gc.collect()
        return peer() is None

    await until(gone, "the connection before to be freed")


async def test_seats_in_a_room_are_kept(start: Start) -> None:
    server = await start(**QUICK)
    first, _, _ = await watched_call(server)
    room = first.of_type("live")[0]["room"]
    second = await server.caller(room=room)
    await second.go_live()

    def seats() -> list[str]:
        return [member["state"] for member in second.of_type("room")[-1]["members"]]

    await until(lambda: seats() == ["live", "live"], "both")
    unplug(first)
    await until(lambda: seats() == ["away", "live"], "the first to be away")
    await server.kept(first.back()).connect()
    await until(lambda: seats() == ["live", "live"], "the first to be back")
    order = [member["call"] for member in second.of_type("room")[-1]["members"]]
    assert order[1] == second.of_type("live")[0]["call"]


async def test_only_the_caller_can_come_back(start: Start) -> None:
    server = await start()
    caller, call, receiver = await watched_call(server)
    key = caller.location.partition("?key=")[2]
    stranger = await server.caller()
    offer = await stranger.offer()
    for path, status in (
        (f"/whip?resume={call}", 403),
        (f"/whip?resume={call}&key=guess", 403),
        (f"/whip?resume={call}&key=%C3%A9", 403),
        (f"/whip?resume=none&key={key}", 404),
        (f"/whip?resume={server.ready()}&key={key}", 404),
    ):
        response = await server.http.post(path, content=offer, headers=SDP)
        assert response.status_code == status, path
    bad = await server.http.post(f"/whip?resume={call}&key={key}", content="v=0", headers=SDP)
    assert bad.status_code == 400
    before = receiver.count
    await until(lambda: receiver.count > before + 3, "frames as before")
    assert caller.connection.connectionState == "connected"


async def test_who_does_not_come_back_in_time_has_no_call(start: Start) -> None:
    server = await start(resume_timeout=0.5, **QUICK)
    caller, call, receiver = await watched_call(server)
    unplug(caller)
    await until(lambda: receiver.of_type("ended"), "the end")
    assert "lost" in receiver.of_type("ended")[0]["reason"] and "away" in states(receiver)
    assert server.calls == {} and server.app.state.switchboard.rooms == 0
    again = server.kept(caller.back())
    response = await server.http.post(again.path, content=await again.offer(), headers=SDP)
    assert response.status_code == 404


async def test_a_caller_who_is_away_can_hang_up(start: Start) -> None:
    server = await start(**QUICK)
    caller, call, receiver = await watched_call(server)
    unplug(caller)
    await until(lambda: states(receiver)[-1:] == ["away"], "the receiver to be told")
    candidates = {"Content-Type": "application/trickle-ice-sdpfrag"}
    response = await server.http.patch(caller.location, content="a=x", headers=candidates)
    assert response.status_code == 404
    assert (await server.http.delete(caller.location)).status_code == 200
    await until(lambda: receiver.of_type("ended"), "the end")
    assert "hung up" in receiver.of_type("ended")[0]["reason"]


async def test_a_caller_who_was_not_live_yet_goes_on_with_the_portrait(start: Start) -> None:
    server = await start(**QUICK)
    caller = await server.caller(20)
    call = (await caller.connect()).headers["Visavis-Call"]
    await until(lambda: caller.of_type("framing"), "a look at the picture")
    unplug(caller)
    await until(lambda: server.calls[call].seat == "away", "the loss to be noticed")
    again = server.kept(caller.back())
    again.camera.brightness = 180
    assert await again.go_live() == call


async def test_a_caller_who_never_connected_is_not_waited_for(start: Start) -> None:
    server = await start(connect_timeout=0.5)
    caller = await server.caller()
    response = await server.http.post("/whip", content=await caller.offer(), headers=SDP)
    assert response.status_code == 201
    await until(lambda: not server.calls, "the call to be given up")


async def test_a_connection_that_does_not_come_about_leaves_the_caller_away(start: Start) -> None:
    server = await start(connect_timeout=0.5, resume_timeout=1.0, **QUICK)
    caller, call, receiver = await watched_call(server)
    unplug(caller)
    await until(lambda: states(receiver)[-1:] == ["away"], "the receiver to be told")
    again = server.kept(caller.back())
    response = await server.http.post(again.path, content=await again.offer(), headers=SDP)
    assert response.status_code == 201
    await until(lambda: server.calls[call].caller is None, "the connection to be given up")
    assert states(receiver) == ["live", "away"]
    await until(lambda: receiver.of_type("ended"), "the end")
