"""The private names of aiortc that patches/encoded_audio.py uses exist, and do what it says."""

from __future__ import annotations

import inspect

from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
    rtcpeerconnection,
)
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from stream.patches import encoded_audio, lost_packets
from stream.patches.encoded_audio import EncodedAudio


def connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def test_each_packet_is_handed_out_and_none_is_decoded() -> None:
    peer = connection()
    receiver = peer.addTransceiver("audio").receiver
    assert isinstance(getattr(receiver, encoded_audio.BUFFER), JitterBuffer)
    heard: list[EncodedAudio] = []
    encoded_audio.hand_out(receiver, heard.append)
    buffer = getattr(receiver, encoded_audio.BUFFER)
    for number, payload in enumerate((b"a", b"", b"b")):
        packet = RtpPacket(sequence_number=number, timestamp=960 * number)
        packet.payload = payload
        assert buffer.add(packet) == (False, None)
    assert [(packet.payload, packet.timestamp) for packet in heard] == [(b"a", 0), (b"b", 1920)]
    await peer.close()


def test_the_receiver_decodes_what_its_buffer_returns() -> None:
    source = inspect.getsource(lost_packets._original_handle)  # aiortc's own
    asked = source.index("= self.__jitter_buffer.add(packet)")
    assert source.index("codec = self.__codecs.get(packet.payload_type)") < asked
    assert asked < source.index("if encoded_frame is not None")
    assert inspect.getsource(RTCRtpReceiver).count("self.__jitter_buffer.") == 1


async def test_an_answer_names_opus_only_and_asks_for_its_repair() -> None:
    caller, callee = connection(), connection()
    caller.addTransceiver("audio")
    caller.addTransceiver("video")
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(RTCSessionDescription(caller.localDescription.sdp, "offer"))
    voice, picture = callee.getTransceivers()
    assert len(getattr(voice, encoded_audio.CODECS)) > 1
    assert encoded_audio.opus_only(voice)
    assert not encoded_audio.opus_only(picture)
    encoded_audio.own_stream(voice.sender)
    answer = (await callee.createAnswer()).sdp
    section = answer[answer.index("m=audio") : answer.index("m=video")]
    assert section.count("a=rtpmap:") == 1
    assert "a=rtpmap:96 opus/48000/2" in section
    assert "a=fmtp:96 minptime=10;useinbandfec=1" in section
    streams = [line.split()[0] for line in answer.splitlines() if line.startswith("a=msid:")]
    assert len(set(streams)) == 2
    assert "transceiver.sender._stream_id" in inspect.getsource(rtcpeerconnection)
    await caller.close()
    await callee.close()
