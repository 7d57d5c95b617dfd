"""The Python client against a server on loopback whose pictures tell their viewpoint."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiortc.rtcrtpreceiver
import numpy as np
import pytest
from aiortc import RTCIceTransportPolicy, RTCPeerConnection, RTCRtpReceiver

from models.viewpoint import Viewpoint
from stream import client_clock
from stream.client import ConnectionLost, JoinError, ReceivedFrame, View, join
from stream.client_http import Address, read_address
from stream.client_ice import configuration, servers_from
from stream.ice_servers import IceServer
from stream.signalling import ice_server_link
from tests.stream.bar_engine import BarEngine, bar_yaw
from tests.stream.conftest import Running, Start
from tests.stream.peers import PATIENCE, until

NEAR = 2.0
"""Degrees between the viewpoint asked for and the bar that is seen: a pixel is half a degree."""


def url(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


def seen(frame: ReceivedFrame) -> float:
    """The yaw that a picture shows."""
    return bar_yaw(frame.rgb.mean(axis=2).astype(np.uint8))


@asynccontextmanager
async def joined(server: Running, call: str | None = None) -> AsyncIterator[View]:
    async with asyncio.timeout(2 * PATIENCE), join(url(server), call or server.ready()) as view:
        yield view


async def test_the_picture_shows_where_the_program_looks_from(start: Start) -> None:
    server = await start()
    async with joined(server) as view:
        for yaw in (30.0, -40.0):
            frame = await view.snapshot(Viewpoint(yaw=yaw))
            assert frame.viewpoint == Viewpoint(yaw=yaw)
            assert seen(frame) == pytest.approx(yaw, abs=NEAR)
            assert frame.rgb.shape == (256, 256, 3) and frame.rgb.dtype == np.uint8
            assert frame.i420(128).shape == (192, 128)


async def test_every_part_of_a_viewpoint_arrives(start: Start) -> None:
    server = await start()
    viewpoint = Viewpoint(pitch=12.5, zoom=2.0, roll=-30.0, eye=(0.1, -0.05, -0.6))
    async with joined(server) as view:
        await view.snapshot(viewpoint)
    assert viewpoint in [request.viewpoint for request in server.engine.rendered]


async def test_frames_come_one_after_the_other_and_follow(start: Start) -> None:
    server = await start()
    times, numbers = [], []
    async with joined(server) as view:
        async for frame in view.frames():
            times.append(frame.seconds)
            if frame.sequence is not None:
                numbers.append(frame.sequence)
                assert seen(frame) == pytest.approx(frame.viewpoint.yaw, abs=NEAR)
            if len(numbers) >= 10:
                break
            view.look(Viewpoint(yaw=-30.0 + 3 * len(times)))
    assert times == sorted(set(times))
    assert numbers == sorted(numbers) and len(set(numbers)) > 1


async def test_of_viewpoints_only_the_newest_is_sent(start: Start) -> None:
    server = await start()
    async with joined(server) as view:
        for step in range(1000):  # nothing can leave meanwhile
            view.look(Viewpoint(yaw=-50 + step / 10))
        frame = await view.snapshot(Viewpoint(yaw=50.0))
        assert frame.sequence == 1001
        metrics = (await server.http.get("/metrics")).text
        assert 'visavis_viewpoints_total{result="accepted"} 1.0' in metrics, metrics


async def test_whoever_is_slow_gets_the_newest_frame(start: Start) -> None:
    server = await start()
    async with joined(server) as view:
        frames = view.frames()
        await anext(frames)
        view.look(Viewpoint(yaw=45.0))
        count = view._pictures.count
        await until(lambda: view._pictures.count > count + 12, "frames that nobody takes")
        frame = await anext(frames)
        assert seen(frame) == pytest.approx(45.0, abs=NEAR)
        await frames.aclose()


async def test_two_programs_see_different_views_of_one_call(start: Start) -> None:
    server = await start()
    call = server.ready()
    async with joined(server, call) as left, joined(server, call) as right:
        frames = await asyncio.gather(
            left.snapshot(Viewpoint(yaw=-35.0)), right.snapshot(Viewpoint(yaw=35.0))
        )
        assert [seen(frame) for frame in frames] == pytest.approx([-35.0, 35.0], abs=NEAR)
        assert len(server.calls[call].receivers) == 2
    assert not server.calls[call].receivers


async def test_leaving_frees_the_place_even_after_an_error(start: Start) -> None:
    server = await start()
    call = server.ready()
    with pytest.raises(ZeroDivisionError):
        async with joined(server, call) as view:
            assert len(server.calls[call].receivers) == 1
            raise ZeroDivisionError
    assert not server.calls[call].receivers
    await view.close()
    assert [frame async for frame in view.frames()] == []


async def test_cancelling_a_program_that_joins_frees_its_place(start: Start) -> None:
    server = await start()
    call = server.ready()

    async def program() -> None:
        async with joined(server, call):
            raise AssertionError("joined, though cancelled")

    task = asyncio.create_task(program())
    await until(lambda: server.calls[call].receivers, "the receiver")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not server.calls[call].receivers


async def test_the_servers_figures_arrive(start: Start) -> None:
    server = await start(statistics_interval=0.1)
    async with joined(server) as view:
        await until(lambda: view.statistics is not None and view.round_trip is not None, "figures")
        assert view.statistics is not None and view.statistics.refined
        view.refine(False)
        await until(lambda: view.statistics is not None and not view.statistics.refined, "raw")


async def test_a_link_will_do(start: Start) -> None:
    server = await start()
    async with asyncio.timeout(PATIENCE), join(f"{url(server)}/c/{server.ready()}") as view:
        assert (await view.snapshot(Viewpoint(yaw=5.0))).sequence == 1


async def test_the_end_of_the_call_ends_the_frames(start: Start) -> None:
    server = await start()
    call = server.ready()
    async with joined(server, call) as view:
        ending = asyncio.create_task(server.calls[call].end("The caller has hung up."))
        async for _ in view.frames():
            pass
        assert view.ended == "The caller has hung up."
        with pytest.raises(ConnectionLost, match="The caller has hung up"):
            await view.snapshot(Viewpoint())
        await ending


async def test_a_connection_that_breaks_is_an_error(start: Start) -> None:
    server = await start()
    call = server.ready()
    async with joined(server, call) as view:
        (receiver,) = server.calls[call].receivers.values()
        closing = asyncio.create_task(receiver.connection.close())
        with pytest.raises(ConnectionLost, match="was lost"):
            async for _ in view.frames():
                pass
        await closing


async def refusal(server: str, call: str | None, wait: float = 0.0) -> JoinError:
    with pytest.raises(JoinError) as caught:
        async with asyncio.timeout(PATIENCE), join(server, call, wait=wait):
            pass
    assert "\n" not in caught.value.reason and caught.value.reason.endswith(".")
    return caught.value


async def test_an_unknown_call_is_said_in_one_line(start: Start) -> None:
    server = await start()
    for name in ("nowhere", "what?", "%2e", "\u00e4 b"):
        error = await refusal(url(server), name)
        assert error.code == "unknown_call"
        assert error.reason.startswith("There is no such call. ")


async def test_a_full_server_is_said_or_waited_for(start: Start) -> None:
    server = await start(max_receivers=1)
    call = server.ready()
    async with joined(server, call):
        error = await refusal(url(server), call, wait=5.0)
        assert (error.code, error.retry_after) == ("full", 30.0)
        assert error.reason == "The server is busy. It takes 1 receivers at once. Try again later."
    async with joined(server, call):
        pass


async def test_a_caller_who_is_not_ready_is_waited_for(start: Start) -> None:
    server = await start()
    caller = await server.caller(brightness=20)  # too dark for an avatar
    await caller.connect()
    (call,) = server.calls
    assert (await refusal(url(server), call)).code == "not_ready"

    async def light_on() -> None:
        await asyncio.sleep(0.1)
        caller.camera.brightness = 180

    switching = asyncio.create_task(light_on())
    async with asyncio.timeout(2 * PATIENCE), join(url(server), call, wait=PATIENCE) as view:
        assert view.call == call
    await switching


async def test_nobody_and_somebody_else_at_an_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await refusal(f"http://127.0.0.1:{unused.getsockname()[1]}", "demo")
        assert error.code == "no_server" and "does not answer: connection refused" in error.reason

    for says, why in (
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404 Not Found"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x.example/\r\n\r\n", "names https://x.example/"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "it does not describe its calls"),
        (b"220 mail.example ESMTP\r\n", "it does not speak HTTP"),
    ):

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, says: bytes = says
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(says)
            await writer.drain()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            error = await refusal(f"http://127.0.0.1:{port}", "demo")
            assert error.code == "no_visavis" and why in error.reason


async def test_a_server_without_tls_is_not_reached_by_https(start: Start) -> None:
    server = await start()
    error = await refusal(f"https://127.0.0.1:{server.port}", "demo")
    assert error.code == "no_server" and ssl.SSLError.__name__ not in error.reason


@pytest.mark.parametrize(
    "address",
    [
        *("localhost:8080", "ftp://x/y", "http://", "http://x:99999", "http://a b", ""),
        *("http://[::1", "http://[abc]:80", "http://a\x7fb", "http://me:secret@x"),
    ],
)
async def test_what_is_no_address(address: str) -> None:
    error = await refusal(address, "demo")
    assert error.code == "bad_address" and "secret" not in error.reason


async def test_a_call_has_to_be_named() -> None:
    for name in (None, "", "../metrics", "\udcff"):
        assert (await refusal("http://127.0.0.1:1", name)).code == "bad_address"


def test_the_ice_servers_that_a_server_names() -> None:
    turn = IceServer("turn:t.example?transport=udp", 'a,"<b>', "c\\;d")
    links = [ice_server_link(turn), ice_server_link(IceServer("stun:s.example:3478"))]
    links += ["</style.css>; rel=preload", '<nonsense:x>; rel="ice-server"']
    servers = servers_from(", ".join(links))
    assert servers == (turn, IceServer("stun:s.example:3478"))
    made = configuration(servers, relay_only=True)
    assert [server.urls for server in made.iceServers or []] == [server.url for server in servers]
    assert made.iceTransportPolicy == RTCIceTransportPolicy.RELAY


async def test_a_server_that_wants_a_relay_and_has_none(start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    turn = IceServer(f"turn:127.0.0.1:{port}?transport=tcp", "name", "password")
    server = await start(ice_servers=(turn,), ice_policy="relay")
    error = await refusal(url(server), server.ready())
    assert error.code == "no_relay" and "password" not in error.reason
    assert f"The TURN server 127.0.0.1:{port} cannot be used" in error.reason


def test_addresses() -> None:
    assert read_address("https://v.example/", "x")[0].url == "https://v.example"
    address, call = read_address("https://v.example/calls/c/a%20b", None)
    assert (address.url, call) == ("https://v.example/calls", "a b")
    assert address.resolve("/calls/whep/x/1?key=2") == "/whep/x/1?key=2"
    assert address.resolve("https://v.example/calls/whep/x/1") == "/whep/x/1"
    assert address.socket("/ws") == "wss://v.example/calls/ws"
    assert Address("http://[::1]:80").local and Address("http://localhost").local
    assert not address.local and not address.socket("/").startswith("ws:")


async def test_aiortc_keeps_the_first_timestamp_where_we_look_for_it() -> None:
    connection = RTCPeerConnection()
    receiver = connection.addTransceiver("video").receiver
    assert isinstance(receiver, RTCRtpReceiver)
    mapper = getattr(receiver, client_clock.ATTRIBUTE)
    assert isinstance(mapper, aiortc.rtcrtpreceiver.TimestampMapper)
    for rtp in (4294967000, 4294967290, 100):  # wraps
        assert client_clock.rtp_timestamp(receiver, mapper.map(rtp)) == rtp
    await connection.close()


async def test_a_large_picture_keeps_its_size(start: Start) -> None:
    server = await start(engine=BarEngine(size=512), size=512)
    async with joined(server) as view:
        frame = await view.snapshot(Viewpoint(yaw=10.0))
        assert frame.rgb.shape == (512, 512, 3)
        assert seen(frame) == pytest.approx(10.0, abs=NEAR)
