"""Calls through a real TURN server, and what happens where it lets nobody in."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection

from stream import ice_servers
from stream.ice_servers import IceServer
from stream.peer import Peer
from tests.stream.conftest import Running, Start
from tests.stream.peers import SDP, Receiver, until
from tests.stream.turn_server import SECRET, turn_server

RELAY = {"turn_secret": SECRET, "ice_policy": "relay"}
LINK = re.compile(r'<([^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"')


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TURN server."""
    with turn_server(tmp_path_factory.mktemp("turn")) as address:
        yield address


def servers_of(response: httpx.Response) -> list[RTCIceServer]:
    """The TURN servers that an answer names."""
    links = LINK.findall(response.headers.get("Link", ""))
    return [RTCIceServer(url, user, word) for url, user, word in links]


async def relayed_receiver(server: Running, call: str, servers: list[RTCIceServer]) -> Receiver:
    """A bare receiver that takes no way but through one of the TURN servers."""
    policy = RTCIceTransportPolicy.RELAY
    connection = RTCPeerConnection(RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))
    receiver = Receiver(server.http, call, connection=connection)
    server.stack.push_async_callback(receiver.close)
    return receiver


def local_types(connection: RTCPeerConnection) -> set[str]:
    """The types of the candidates of this side that media goes over."""
    assert connection.sctp is not None
    pairs = connection.sctp.transport.transport._connection._nominated.values()
    return {pair.local_candidate.type for pair in pairs}


def the_peer(server: Running, call: str) -> Peer:
    (peer,) = server.calls[call].receivers.values()
    return peer


@pytest.mark.parametrize("query", ["", "?transport=tcp"])
async def test_a_call_through_the_relay_alone(start: Start, turn: str, query: str) -> None:
    server = await start(ice_servers=(IceServer(f"turn:{turn}{query}"),), **RELAY)
    call = server.ready()
    # A program that knows no TURN server yet is told of it before it makes an offer.
    told = await server.http.options(f"/whep/{call}")
    assert told.headers["Visavis-Ice-Policy"] == "relay"
    receiver = await relayed_receiver(server, call, servers_of(told))
    await receiver.watch()
    assert receiver.luma.shape == (256, 256)
    assert local_types(receiver.connection) == {"relay"}
    assert local_types(the_peer(server, call).connection) == {"relay"}
    # The answer tells no address of the server's own, neither as a candidate nor beside one.
    assert receiver.response is not None
    assert receiver.response.headers["Visavis-Ice-Policy"] == "relay"
    candidates = re.findall("^a=candidate:(.*?)\r?$", receiver.response.text, re.MULTILINE)
    assert candidates and all(" typ relay raddr 0.0.0.0 " in each for each in candidates)


async def test_a_receiver_behind_a_wall_reaches_a_server_without_one(
    start: Start, turn: str
) -> None:
    server = await start(ice_servers=(IceServer(f"turn:{turn}"),), turn_secret=SECRET)
    call = server.ready()
    told = await server.http.options(f"/whep/{call}")
    assert "Visavis-Ice-Policy" not in told.headers
    receiver = await relayed_receiver(server, call, servers_of(told))
    await receiver.watch()
    assert local_types(receiver.connection) == {"relay"}


async def test_the_next_server_is_tried(
    start: Start, turn: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("turn:127.0.0.1:9?transport=tcp", f"turn:{turn}")  # nobody listens at the first
    server = await start(ice_servers=tuple(map(IceServer, names)), **RELAY)
    call = server.ready()
    servers = servers_of(await server.http.options(f"/whep/{call}"))
    assert [each.urls for each in servers] == list(names)
    receiver = await relayed_receiver(server, call, servers[1:])
    await receiver.watch()
    assert "The TURN server 127.0.0.1:9 cannot be used: " in caplog.text


async def test_a_peer_that_is_not_relayed_gets_no_way_in(start: Start, turn: str) -> None:
    server = await start(ice_servers=(IceServer(f"turn:{turn}"),), connect_timeout=3.0, **RELAY)
    call = server.ready()
    receiver = await server.receiver(call)  # offers addresses of its own, as it likes
    response = await server.http.post(receiver.path, content=await receiver.offer(), headers=SDP)
    assert response.status_code == 201
    peer = the_peer(server, call)
    assert peer.connection.sctp is not None
    assert peer.connection.sctp.transport.transport.getRemoteCandidates() == []
    await until(lambda: peer.gone.is_set(), "the end of a connection that cannot be made")


async def test_a_wrong_secret_is_told_in_one_line(
    start: Start, turn: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**RELAY, "turn_secret": "not the one of the TURN server"}
    server = await start(ice_servers=(IceServer(f"turn:{turn}"),), **settings)
    call = server.ready()
    with caplog.at_level(logging.DEBUG):
        receiver = await server.receiver(call)
        offer = await receiver.offer()
        response = await server.http.post(receiver.path, content=offer, headers=SDP)
    assert response.status_code == 502
    reason = (
        f"The TURN server {turn} cannot be used: it refuses the credentials; "
        "check the secret or the password, and both clocks."
    )
    assert response.json()["detail"].endswith(reason)
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [reason]
    assert server.calls[call].receivers == {}  # nothing is left of it
    assert settings["turn_secret"] not in caplog.text


async def test_without_the_policy_a_wrong_secret_costs_the_relay_only(
    start: Start, turn: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(ice_servers=(IceServer(f"turn:{turn}"),), turn_secret="wrong")
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    assert "it refuses the credentials" in caplog.text


async def test_expired_passwords_are_refused(
    start: Start, turn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(ice_servers=(IceServer(f"turn:{turn}"),), **RELAY)
    real = time.time
    # The server's clock is an hour and a minute late: what it makes has run out already.
    monkeypatch.setattr("stream.settings.time.time", lambda: real() - 3660)
    receiver = await server.receiver(server.ready())
    offer = await receiver.offer()
    response = await server.http.post(receiver.path, content=offer, headers=SDP)
    monkeypatch.undo()
    assert response.status_code == 502
    assert "it refuses the credentials" in response.json()["detail"]


async def test_passwords_are_new_for_each_answer_and_told_nowhere_else(
    start: Start, turn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        server = await start(ice_servers=(IceServer(f"turn:{turn}"),), turn_secret=SECRET)
        call = server.ready()
        answers = [await server.http.options(path) for path in ("/whip", f"/whep/{call}")]
        servers = [each for answer in answers for each in servers_of(answer)]
        receiver = await server.receiver(call)
        await receiver.watch()
        assert receiver.response is not None
        servers += servers_of(receiver.response)
        (own,) = the_peer(server, call)._turn.servers
    assert len({each.username for each in servers}) == len(servers) == 3
    for each in servers:
        assert each.username is not None
        until_then, _, user = each.username.partition(":")
        assert 3590 <= int(until_then) - time.time() <= 3600
        assert (each.username, each.credential) == ice_servers.credentials(
            SECRET, user, int(until_then)
        )
    pages = [
        (await server.http.get(path)).text for path in ("/healthz", "/metrics", f"/calls/{call}")
    ]
    # The client that the test uses tells the headers that it got.
    logged = [r.getMessage() for r in caplog.records if not r.name.startswith("httpcore")]
    assert any("TURN allocation created" in line for line in logged)
    for secret in (SECRET, own["turn_password"], *(each.credential for each in servers)):
        assert not [text for text in (*pages, receiver.response.text, *logged) if secret in text]


async def test_who_is_told_no_password(start: Start, turn: str) -> None:
    server = await start(ice_servers=(IceServer(f"turn:{turn}"),), turn_secret=SECRET)
    preflight = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    call = server.ready()
    for path in ("/whip", f"/whep/{call}"):
        assert "Link" not in (await server.http.options(path, headers=preflight)).headers
    assert "Link" not in (await server.http.options("/whep/none")).headers
