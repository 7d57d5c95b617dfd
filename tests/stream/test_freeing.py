"""Calls that end free everything: ports, threads, tasks, avatars, and the objects themselves."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
import weakref
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from stream.receiver import MAX_SOCKETS
from tests.stream.conftest import Running, Start
from tests.stream.peers import Caller, Receiver, unplug, until

POOLS = ("enrol", "lift", "encode", "asyncio")
"""Threads of the server's pools: they are few, and stay until the server ends."""


def udp_ports() -> set[int]:
    """UDP ports that this process has bound."""
    inodes = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for path in ("/proc/self/net/udp", "/proc/self/net/udp6"):
        with open(path) as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[9] in inodes:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if not t.name.startswith(POOLS)}


def tasks() -> set[str]:
    """What the loop is working on, apart from HTTP connections that the client keeps open."""
    names = {str(task.get_coro()) for task in asyncio.all_tasks() if not task.done()}
    return {name.partition(" at 0x")[0] for name in names}


class Traces:
    """What there was before a call, to be compared with what is there after it."""

    def __init__(self) -> None:
        self.ports, self.threads, self.tasks = udp_ports(), threads(), tasks()

    async def gone(self) -> None:
        await until(lambda: udp_ports() <= self.ports, "the ports to be free")
        await until(lambda: threads() <= self.threads, "the threads to end")
        await until(lambda: tasks() <= self.tasks, f"the tasks to end: {tasks() - self.tasks}")


async def call_with_two_receivers(server: Running) -> tuple[Caller, list[Receiver], list[Any]]:
    caller = await server.caller()
    slug = await caller.go_live()
    receivers = [await server.receiver(slug) for _ in range(2)]
    for receiver in receivers:
        await receiver.watch()
    call = server.calls[slug]
    objects = [call, call.caller, *call.receivers.values(), *server.engine.avatars]
    objects += [peer.connection for peer in objects if hasattr(peer, "connection")]
    return caller, receivers, [weakref.ref(each) for each in objects]


async def collected(references: list[Any]) -> None:
    def all_gone() -> bool:
        gc.collect()
        return all(reference() is None for reference in references)

    await until(all_gone, "the objects to be collected")


async def test_hanging_up_frees_everything(start: Start) -> None:
    server = await start(avatar="once")
    await server.http.get("/healthz")
    traces = Traces()
    caller, receivers, references = await call_with_two_receivers(server)
    (avatar,) = server.engine.avatars
    assert len(udp_ports() - traces.ports) >= 3
    assert len(references) == 8 and threads() > traces.threads
    assert (await caller.hang_up()).status_code == 200
    for receiver in receivers:
        assert receiver.of_type("ended") == [{"type": "ended", "reason": "The caller has hung up."}]
        await receiver.close()
    assert avatar.closed
    assert (await server.http.get(f"/calls/{caller.path}")).status_code == 404
    assert server.calls == {}
    server.engine.rendered.clear()
    del avatar
    await traces.gone()
    await collected(references)


async def test_leaving_frees_the_receiver_and_nothing_else(start: Start) -> None:
    server = await start()
    slug = server.ready()
    staying = await server.receiver(slug)
    await staying.watch()
    traces = Traces()
    leaving = await server.receiver(slug)
    await leaving.watch()
    (peer,) = [
        weakref.ref(p) for p in server.calls[slug].receivers.values() if p.id in leaving.location
    ]
    assert (await leaving.hang_up()).status_code == 200
    await traces.gone()
    await collected([peer])
    before = staying.count
    await until(lambda: staying.count > before + 3, "frames for the one who stays")


async def test_peers_that_vanish_are_freed(start: Start) -> None:
    server = await start(resume_timeout=0.5)
    traces = Traces()
    caller, receivers, references = await call_with_two_receivers(server)
    await receivers[0].close()  # no DELETE: the page was closed
    switchboard = server.app.state.switchboard
    await until(lambda: switchboard.receivers == 1, "the receiver to be given up")
    await caller.close()
    await until(lambda: not server.calls, "the call to be given up")
    await until(lambda: receivers[1].of_type("ended"), "the other receiver to be told")
    assert "lost" in receivers[1].of_type("ended")[0]["reason"]
    await receivers[1].close()
    server.engine.rendered.clear()
    await traces.gone()
    await collected(references)


async def test_a_peer_that_falls_silent_is_given_up(start: Start) -> None:
    server = await start(silence_timeout=1.0)
    slug = server.ready()
    receiver = await server.receiver(slug)
    await receiver.watch()
    await asyncio.sleep(2.5)
    assert server.calls[slug].receivers, "a peer that only receives is not silent"
    # Unplug it: what it sends no longer arrives.
    unplug(receiver)
    await until(lambda: not server.calls[slug].receivers, "the silent receiver to be given up")


async def test_a_peer_that_sends_nothing_but_answers_is_kept(start: Start) -> None:
    """As a program does that neither pings nor reports, or a browser in which nothing plays."""
    server = await start(silence_timeout=1.0)
    slug = server.ready()
    receiver = await server.receiver(slug)
    await receiver.watch()
    (peer,) = server.calls[slug].receivers.values()
    ice = receiver.control.transport.transport.transport._connection

    async def nowhere(data: bytes, component: int) -> None:
        pass

    ice.sendto = nowhere
    before = await peer._packets_received()
    await asyncio.sleep(3.0)
    assert await peer._packets_received() - before <= 2, "it is quiet indeed"
    assert server.calls[slug].receivers
    del ice.sendto


async def test_a_dead_peer_is_found_within_six_seconds(start: Start) -> None:
    server = await start()
    slug = server.ready()
    receiver = await server.receiver(slug)
    await receiver.watch()
    unplugged = time.monotonic()
    unplug(receiver)
    await until(lambda: not server.calls[slug].receivers, "the silent receiver to be given up")
    # With slack for a loaded machine; ICE alone takes half a minute.
    assert 4 < time.monotonic() - unplugged < 9


async def test_rooms_that_end_leave_nothing(start: Start) -> None:
    server = await start(silence_timeout=1.0, resume_timeout=0.5)
    await server.http.get("/healthz")
    traces = Traces()
    first = await server.caller()
    slug = await first.go_live()
    room = first.of_type("live")[0]["room"]
    second = await server.caller(room=room)
    other = await second.go_live()
    receivers = [await server.receiver(name) for name in (slug, other)]
    for receiver in receivers:
        await receiver.watch()
    back = server.kept(first.back())
    await back.connect()  # in place of the connection before
    await until(lambda: len(server.engine.followers) == 2, "the followers")
    await until(lambda: server.engine.followers[0].updates > 5, "some lifts")
    found = server.app.state.switchboard.find_room(room)
    objects = [found, *server.calls.values(), *(c.camera for c in server.calls.values())]
    objects += [peer for call in server.calls.values() for peer in call.receivers.values()]
    objects += [call.caller for call in server.calls.values()]
    references = [weakref.ref(each) for each in objects]
    objects.clear()
    del found
    unplug(back)
    await until(lambda: len(server.calls) == 1, "the first call to end")
    await second.hang_up()
    for client in (first, back, *receivers):
        await client.close()
    assert server.app.state.switchboard.rooms == 0
    assert all(follower.closed for follower in server.engine.followers)
    assert all(avatar.closed for avatar in list(server.engine.avatars))
    server.engine.rendered.clear()
    server.engine.followers.clear()
    await traces.gone()
    await collected(references)
    left = len(list(server.engine.avatars))
    assert left == 0, f"{left} avatars are still in memory"


async def test_a_peer_that_never_connects_is_given_up(start: Start) -> None:
    server = await start(connect_timeout=0.5)
    slug = server.ready()
    traces = Traces()
    receiver = await server.receiver(slug)
    response = await server.http.post(
        receiver.path,
        content=await receiver.offer(),
        headers={"Content-Type": "application/sdp"},
    )
    assert response.status_code == 201
    assert len(server.calls[slug].receivers) == 1
    await until(lambda: not server.calls[slug].receivers, "the receiver to be given up")
    await receiver.close()
    await traces.gone()


async def test_an_offer_that_is_refused_leaves_nothing(start: Start) -> None:
    server = await start()
    slug = server.ready()
    await server.http.get("/healthz")
    receiver = await server.receiver(slug)
    offer = await receiver.offer()
    traces = Traces()
    for wrong in ("a=rtcp-mux", "a=ice-pwd", "a=mid:1"):
        text = offer.replace(wrong, "a=x")
        headers = {"Content-Type": "application/sdp"}
        response = await server.http.post(receiver.path, content=text, headers=headers)
        assert response.status_code == 400
    assert not server.calls[slug].receivers
    await traces.gone()


@pytest.mark.parametrize(
    ("who", "farewell"),
    [("caller", "The caller has hung up."), ("receiver", "The receiver has left.")],
)
async def test_silent_viewpoint_sockets_end_with_what_they_steer(
    start: Start, who: str, farewell: str
) -> None:
    server = await start()
    caller = await server.caller()
    slug = await caller.go_live()
    await server.http.get("/healthz")
    traces = Traces()
    receiver = await server.receiver(slug)
    await receiver.watch()
    peer = weakref.proxy(*server.calls[slug].receivers.values())
    references = [weakref.ref(p) for p in server.calls[slug].receivers.values()]
    url = f"ws://127.0.0.1:{server.port}/calls/{slug}/viewpoint?receiver={peer.id}"
    sockets = [await connect(url) for _ in range(MAX_SOCKETS)]
    await until(lambda: peer.sockets == MAX_SOCKETS, "the sockets to be counted")
    async with connect(url) as one_more:
        assert json.loads(await one_more.recv())["code"] == "too_many"
        with pytest.raises(ConnectionClosed) as refused:
            await one_more.recv()
        assert refused.value.rcvd is not None and refused.value.rcvd.code == 4429
    await (caller if who == "caller" else receiver).hang_up()
    for socket in sockets:
        assert json.loads(await socket.recv()) == {"type": "ended", "reason": farewell}
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000
    await receiver.close()
    server.engine.rendered.clear()
    await traces.gone()
    await collected(references)


async def test_a_socket_that_is_closed_makes_room_for_another(start: Start) -> None:
    server = await start()
    slug = server.ready()
    receiver = await server.receiver(slug)
    await receiver.watch()
    (peer,) = server.calls[slug].receivers.values()
    url = f"ws://127.0.0.1:{server.port}/calls/{slug}/viewpoint?receiver={peer.id}"
    for number in range(MAX_SOCKETS + 2):
        async with connect(url) as socket:
            await socket.send(json.dumps({"seq": number, "yaw": number}))
            await until(lambda: peer.sockets == 1, "the socket to be counted")
        await until(lambda: peer.sockets == 0, "the socket to be forgotten")


async def test_a_connection_that_fails_to_close_is_freed_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()
    slug = server.ready()
    await server.http.get("/healthz")
    traces = Traces()
    receiver = await server.receiver(slug)
    await receiver.watch()
    (peer,) = server.calls[slug].receivers.values()

    async def fails() -> None:
        raise AttributeError("half made")

    monkeypatch.setattr(peer.connection, "close", fails)
    assert (await receiver.hang_up()).status_code == 200
    assert "did not close properly" in caplog.text
    del peer
    await until(lambda: udp_ports() <= traces.ports, "the ports to be free")


async def test_a_server_that_stops_ends_its_calls(start: Start) -> None:
    from stream.settings import Settings
    from tests.stream.bar_engine import BarEngine
    from tests.stream.conftest import run

    traces = Traces()
    engine = BarEngine()
    async with run(Settings(port=0, fps=15, media_addresses="loopback"), engine) as server:
        caller = Caller(server.http)
        receiver = Receiver(server.http, await caller.go_live())
        await receiver.watch()
    for peer in (receiver, caller):
        await until(lambda p=peer: p.of_type("ended"), "the end to be told")
    assert all(avatar.closed for avatar in engine.avatars)
    await caller.close()
    await receiver.close()
    await traces.gone()
    assert not [
        t.name for t in threading.enumerate() if t.name.startswith(("render", "enrol", "lift"))
    ]


@pytest.mark.parametrize("moment", ["checking", "building"])
async def test_a_call_that_ends_while_the_engine_works_leaves_no_avatar(
    start: Start, moment: str
) -> None:
    from tests.stream.bar_engine import BarEngine

    entered, go_on = threading.Event(), threading.Event()

    class SlowEngine(BarEngine):
        def check_frame(self, picture):  # type: ignore[no-untyped-def]
            if moment == "checking":
                entered.set()
                go_on.wait(20)
            return super().check_frame(picture)

        def build_avatar(self, picture):  # type: ignore[no-untyped-def]
            entered.set()
            go_on.wait(20)
            return super().build_avatar(picture)

    engine = SlowEngine()
    server = await start(engine)
    caller = await server.caller()
    await caller.connect()
    await until(entered.is_set, "the engine to be asked")
    built: list[object] = []
    engine.avatars.add = built.append  # type: ignore[assignment,method-assign]
    assert (await caller.hang_up()).status_code == 200
    go_on.set()
    if moment == "building":
        await until(lambda: built and all(a.closed for a in built), "the avatar to be closed")
    await asyncio.sleep(0.1)
    assert len(built) == (moment == "building")
