"""The private names that the patches against loss use exist, and the patches do what they say."""

from __future__ import annotations

import inspect

import pytest
from aiortc import RTCCertificate, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtcdtlstransport import SRTP_PROFILES
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RTP_HISTORY_SIZE, RtpPacket
from OpenSSL import SSL

from stream import patches
from stream.patches import lost_packets, repairs, rsa_peers
from stream.video_buffer import VideoBuffer

patches.apply()

PAYLOAD = b"x" * 1000


async def test_the_receiver_has_the_names_that_lost_packets_uses() -> None:
    connection = RTCPeerConnection()
    receiver = connection.addTransceiver("video", direction="recvonly").receiver
    for name in ("BUFFER", "NACKS", "CODECS", "DECODER", "DECODER_QUEUE", "DECODER_ERROR"):
        assert hasattr(receiver, getattr(lost_packets, name)), name
    for name in ("TIMESTAMPS", "KIND"):
        assert hasattr(receiver, getattr(lost_packets, name)), name
    await connection.close()
    assert RTCRtpReceiver.receive is lost_packets._receive
    assert RTCRtpReceiver._handle_rtp_packet is lost_packets._handle


def test_the_receiver_asks_where_ours_stands() -> None:
    source = inspect.getsource(lost_packets._original_handle)
    asked = source.index("self.__nack_generator.add(packet)")
    assert asked < source.index("self.__jitter_buffer.add(packet)")
    assert "sorted(self.__nack_generator.missing)" in source


async def test_a_decoder_that_is_too_slow_is_given_nothing_up_to_a_key_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = RTCPeerConnection()
    receiver = connection.addTransceiver("video", direction="recvonly").receiver
    buffer = VideoBuffer()
    assembly = lost_packets.Assembly(buffer, {96: lambda payload: payload == b"key"})
    codec = RTCRtpCodecParameters("video/VP8", 90000, payloadType=96)
    setattr(receiver, lost_packets.BUFFER, assembly)
    setattr(receiver, lost_packets.CODECS, {96: codec})
    setattr(receiver, lost_packets.DECODER, "a thread that takes nothing")
    queue = getattr(receiver, lost_packets.DECODER_QUEUE)

    async def add(self: RTCRtpReceiver, packet: RtpPacket, arrival_time_ms: int) -> None:
        buffer.arrived(packet.sequence_number, 0.0)
        packet._data = packet.payload  # type: ignore[attr-defined]
        assembly.add(packet)

    async def receive(number: int, payload: bytes) -> int:
        packet = RtpPacket(96, 1, number, 3000 * number)
        packet.payload = payload
        await lost_packets._handle(receiver, packet, 0)
        return queue.qsize()

    monkeypatch.setattr(lost_packets, "_original_handle", add)
    for number in range(2 * lost_packets.MOST_WAITING):
        assert await receive(number, b"other" if number else b"key") <= lost_packets.MOST_WAITING
    assert queue.qsize() == lost_packets.MOST_WAITING
    while not queue.empty():
        queue.get()
    assert await receive(2 * lost_packets.MOST_WAITING, b"other") == 0
    assert await receive(2 * lost_packets.MOST_WAITING + 1, b"key") == 1
    setattr(receiver, lost_packets.DECODER, None)
    await connection.close()


@pytest.fixture
async def sender(monkeypatch: pytest.MonkeyPatch) -> RTCRtpSender:
    """A sender with its history full; `sent` counts what it sends again."""
    connection = RTCPeerConnection()
    sender = connection.addTransceiver("video", direction="sendonly").sender
    for name in (repairs.HISTORY, repairs.OCTETS):
        assert hasattr(sender, name)
    for number in range(1000, 1000 + RTP_HISTORY_SIZE):
        packet = RtpPacket(sequence_number=number)
        packet.payload = PAYLOAD
        getattr(sender, repairs.HISTORY)[number % RTP_HISTORY_SIZE] = packet
    sender.sent = []

    async def send(self: RTCRtpSender, number: int) -> None:
        self.sent.append(number)

    monkeypatch.setattr(repairs, "_original", send)
    monkeypatch.setattr(RTCRtpSender, "_send_keyframe", lambda self: self.sent.append("key frame"))
    await connection.close()
    return sender


async def test_a_repair_is_sent_and_not_repeated_at_once(sender: RTCRtpSender) -> None:
    await sender._retransmit(1005)
    await sender._retransmit(1005)
    assert sender.sent == [1005, 1005]  # twice by one request


async def test_what_is_not_kept_gets_a_key_frame(sender: RTCRtpSender) -> None:
    await sender._retransmit(7)
    await sender._retransmit(8)
    assert sender.sent == ["key frame"]


async def test_repairs_end_with_the_budget_and_a_key_frame(sender: RTCRtpSender) -> None:
    for number in range(1000, 1000 + RTP_HISTORY_SIZE):
        await sender._retransmit(number)
    assert 40 <= sum(isinstance(each, int) for each in sender.sent) <= 50
    assert sender.sent.count("key frame") == 1


def test_rsa_is_offered_behind_ecdsa() -> None:
    assert getattr(RTCCertificate, rsa_peers.NAME) is rsa_peers._create_ssl_context
    certificate = RTCCertificate.generateCertificate()
    context = getattr(certificate, rsa_peers.NAME)(SRTP_PROFILES)
    names = SSL.Connection(context).get_cipher_list()
    wanted = [name for name in names if name in rsa_peers.SUITES]
    assert wanted == list(rsa_peers.SUITES)
    assert len(names) <= len(rsa_peers.SUITES) + 3, "TLS 1.3 has three of its own"
