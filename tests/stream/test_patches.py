"""The private names of aiortc that stream/patches uses exist, and the patches do what they say."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import aioice.ice
import aiortc.codecs
import aiortc.rtcrtpsender
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.codecs.h264 import H264Encoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
)
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket, unpack_header_extensions

from stream import patches
from stream.patches import (
    connecting,
    encoder_seam,
    host_addresses,
    marker_release,
    playout_delay,
    rtp_clock,
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


# marker_release


def packets(frames: list[int]) -> list[RtpPacket]:
    """Packets of frames of the given lengths; each holds the number of its frame."""
    made = []
    for number, length in enumerate(frames):
        for part in range(length):
            packet = RtpPacket(
                sequence_number=(65530 + len(made)) % 65536,
                timestamp=number * 3000,
                marker=int(part == length - 1),
            )
            packet._data = bytes([number, part])  # type: ignore[attr-defined]
            made.append(packet)
    return made


def released(order: list[RtpPacket], is_video: bool = True) -> list[tuple[int, bytes]]:
    """After how many packets each frame came out, and what was in it."""
    buffer = JitterBuffer(capacity=64, is_video=is_video)
    out = []
    for count, packet in enumerate(order, 1):
        _, frame = buffer.add(packet)
        if frame is not None:
            out.append((count, frame.data))
    return out


def whole(number: int, length: int) -> bytes:
    return b"".join(bytes([number, part]) for part in range(length))


def test_the_patched_name_exists() -> None:
    assert getattr(JitterBuffer, marker_release.NAME) is marker_release._add


def test_a_frame_comes_out_with_its_last_packet() -> None:
    lengths = [3, 1, 2]
    assert released(packets(lengths)) == [(3, whole(0, 3)), (4, whole(1, 1)), (6, whole(2, 2))]


def test_a_late_packet_completes_its_frame() -> None:
    a, b, c, d = packets([3, 1])
    assert released([a, c, b, d]) == [(3, whole(0, 3)), (4, whole(1, 1))]


def test_a_lost_packet_keeps_its_frame_and_those_after_it_back_until_it_is_sent_again() -> None:
    a, b, c, d, e = packets([3, 1, 1])
    out = released([a, c, d, e, b])
    assert out[0] == (5, whole(0, 3))


@pytest.mark.parametrize("position", [0, 1, 3])
def test_a_packet_that_comes_twice_changes_nothing(position: int) -> None:
    order = packets([2, 2])
    order.insert(position + 1, order[position])
    assert [data for _, data in released(order)] == [whole(0, 2), whole(1, 2)]


def test_sound_is_left_alone() -> None:
    assert released(packets([1, 1]), is_video=False) == [(2, whole(0, 1))]
