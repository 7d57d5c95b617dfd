"""The private names of aiortc that stream/patches uses exist, and the patches do what they say."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version

import aioice.ice
import aiortc.codecs
import aiortc.rtcrtpsender
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.codecs.h264 import H264Encoder
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
)
from aiortc.rtcsctptransport import RTCSctpTransport
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, unpack_header_extensions

from stream import patches
from stream.patches import (
    connecting,
    consent,
    encoder_seam,
    host_addresses,
    playout_delay,
    rtp_clock,
    sctp_sack,
)

patches.apply()


def test_the_versions_are_those_the_patches_were_written_for() -> None:
    assert (version("aiortc"), version("aioice")) == ("1.16.0", "0.13.0")


def test_applying_twice_changes_nothing() -> None:
    before = list(aiortc.codecs.HEADER_EXTENSIONS["video"])
    patches.apply()
    assert aiortc.codecs.HEADER_EXTENSIONS["video"] == before
    assert [e.uri for e in before].count(playout_delay.URI) == 1


def test_the_ids_of_header_extensions_are_unique() -> None:
    every = [e for kind in aiortc.codecs.HEADER_EXTENSIONS.values() for e in kind]
    assert len({e.id for e in every}) == len({e.uri for e in every})


# encoder_seam


def test_the_sender_asks_for_its_encoder_by_the_patched_name() -> None:
    assert getattr(aiortc.rtcrtpsender, encoder_seam.NAME) is encoder_seam._get_encoder
    source = inspect.getsource(aiortc.rtcrtpsender.RTCRtpSender)
    assert source.index("self.__track.recv()") < source.index("get_encoder(codec)")
    assert "self.__encoder.target_bitrate = bitrate" in source


def test_tracks_that_are_not_ours_keep_their_encoder() -> None:
    codec = RTCRtpCodecParameters(mimeType="video/H264", clockRate=90000, payloadType=97)
    assert type(encoder_seam._get_encoder(codec)) is H264Encoder


# connecting


async def test_what_fails_while_connecting_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert getattr(RTCPeerConnection, connecting.NAME) is connecting._connect
    source = inspect.getsource(RTCPeerConnection)
    assert source.count("ensure_future(self.__connect())") == 2

    async def fails(self: RTCPeerConnection) -> None:
        raise ValueError("the offer contradicts itself")

    monkeypatch.setattr(connecting, "_original", fails)
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    states = []
    connection.on("connectionstatechange", lambda: states.append(connection.connectionState))
    connection.addTransceiver("video")
    await getattr(connection, connecting.NAME)()
    assert states == ["closed"]
    await getattr(connection, connecting.NAME)()  # closed already: nothing to say


# host_addresses


async def offered(connection: RTCPeerConnection) -> set[str]:
    """The addresses of the candidates in a connection's offer."""
    connection.addTransceiver("video")
    await connection.setLocalDescription(await connection.createOffer())
    lines = connection.localDescription.sdp.splitlines()
    await connection.close()
    return {line.split()[4] for line in lines if line.startswith("a=candidate:")}


async def test_the_addresses_of_a_connection_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert getattr(aioice.ice, host_addresses.NAME) is host_addresses._get_host_addresses
    assert "addresses = get_host_addresses(" in inspect.getsource(aioice.ice.Connection)
    found = ["127.0.0.2"]  # stands for an address of the network
    monkeypatch.setattr(host_addresses, "_original", lambda use_ipv4, use_ipv6: list(found))

    async def with_choice(choose: host_addresses.Choice) -> set[str]:
        with host_addresses.chosen_by(choose):
            return await offered(RTCPeerConnection(RTCConfiguration(iceServers=[])))

    both = {"127.0.0.1", "127.0.0.2"}
    assert await with_choice(host_addresses.with_loopback) == both
    assert await with_choice(host_addresses.loopback_if_alone) == {"127.0.0.2"}
    assert await with_choice(host_addresses.loopback_only) == {"127.0.0.1"}
    assert await offered(RTCPeerConnection(RTCConfiguration(iceServers=[]))) == {"127.0.0.2"}
    found.clear()
    assert await with_choice(host_addresses.loopback_if_alone) == {"127.0.0.1"}


# rtp_clock


async def test_the_last_timestamp_of_a_sender_can_be_read() -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    sender = connection.addTransceiver("video").sender
    assert rtp_clock.last_sent(sender) == 0
    await connection.close()


# consent


async def connected() -> tuple[RTCPeerConnection, RTCPeerConnection]:
    """Two peers on loopback, with a data channel between them."""
    one, other = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    channel = one.createDataChannel("x")
    with host_addresses.chosen_by(host_addresses.loopback_only):
        await one.setLocalDescription(await one.createOffer())
        await other.setRemoteDescription(one.localDescription)
        await other.setLocalDescription(await other.createAnswer())
    await one.setRemoteDescription(other.localDescription)
    async with asyncio.timeout(20):
        while channel.readyState != "open":
            await asyncio.sleep(0.02)
    return one, other


async def test_a_peer_answers_as_long_as_it_is_there() -> None:
    one, other = await connected()
    assert one.sctp is not None
    ice = getattr(one.sctp.transport.transport, consent.TRANSPORT)
    assert all(hasattr(ice, name) for name in consent.NAMES)
    assert await consent.answers(one)
    for pair in other.sctp.transport.transport._connection._nominated.values():  # type: ignore[union-attr]
        pair.protocol.transport.sendto = lambda data, addr=None: None  # type: ignore[assignment]
    assert not await consent.answers(one)
    await one.close()
    assert not await consent.answers(one), "nobody is asked by a connection that is closed"
    await other.close()


async def test_a_connection_that_has_not_begun_has_nobody_to_ask() -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    assert not await consent.answers(connection)
    connection.createDataChannel("x")
    assert not await consent.answers(connection)
    await connection.close()


# playout_delay


def test_a_negotiated_playout_delay_is_sent_with_every_packet() -> None:
    header = HeaderExtensionsMap()
    header.configure(
        RTCRtpParameters(
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(id=5, uri=playout_delay.URI),
                RTCRtpHeaderExtensionParameters(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid"),
            ]
        )
    )
    sent = unpack_header_extensions(*header.set(HeaderExtensions(mid="0")))
    assert sent == [(1, b"0"), (5, b"\0\0\0")]


def test_without_negotiation_nothing_is_added() -> None:
    assert HeaderExtensionsMap().set(HeaderExtensions(mid="0")) == (0, b"")


# sctp_sack


class _Association:
    """What an acknowledgement looks at."""

    def __init__(self) -> None:
        self._sack_needed = True
        self._sack_duplicates: list[int] = []
        self._sack_misordered: set[int] = set()
        self._association_state = RTCSctpTransport.State.ESTABLISHED
        self._last_received_tsn = 7
        self._advertised_rwnd = 1024
        self.answers = 0

    async def _send_chunk(self, chunk: object) -> None:
        self.answers += 1


async def test_every_second_packet_is_acknowledged_and_the_last_one_soon() -> None:
    association = _Association()
    for packet in range(1, 7):
        await sctp_sack._send_sack(association)
        assert association.answers == packet // 2
        assert not association._sack_needed
    await sctp_sack._send_sack(association)
    await asyncio.sleep(3 * sctp_sack.DELAY)
    assert association.answers == 4


async def test_a_gap_is_told_at_once() -> None:
    association = _Association()
    association._sack_misordered = {9}
    await sctp_sack._send_sack(association)
    assert association.answers == 1


async def test_a_closed_association_is_not_acknowledged() -> None:
    association = _Association()
    await sctp_sack._send_sack(association)
    association._association_state = RTCSctpTransport.State.CLOSED
    await asyncio.sleep(3 * sctp_sack.DELAY)
    assert association.answers == 0


def test_data_is_acknowledged_through_the_patched_name() -> None:
    assert getattr(RTCSctpTransport, sctp_sack.NAME) is sctp_sack._send_sack
    assert "await self._send_sack()" in inspect.getsource(RTCSctpTransport._handle_data)
