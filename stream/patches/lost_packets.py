"""What a video receiver does about lost packets, with a buffer of our own.

Reason: aiortc asks for a missing packet (NACK) only in the moment when another gap opens, so a
repair that is lost as well is not asked for again on a quiet path. It forgets a gap after 128
packets and then waits for 512 before it goes on and asks for a key frame: up to 13 seconds at 40
packets per second. What follows is handed to the decoder although it refers to pictures that are
lost, and VP8 decodes that without complaint. And it hands out one frame per packet at most, so
frames that waited for a repair stay late.
Where: the private attributes `__jitter_buffer` and `__nack_generator` of `aiortc.RTCRtpReceiver`,
its methods `receive` and `_handle_rtp_packet`, and of its other private attributes the decoder's
queue, its error flag and the timestamp mapper.
Written for: aiortc 1.16.0. Remove when: aiortc repeats NACKs, gives a gap up in less than a second,
and waits for a key frame then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtp import RtpPacket

from stream.video_buffer import EncodedFrame, Piece, VideoBuffer, key_frame_test

BUFFER = "_RTCRtpReceiver__jitter_buffer"
NACKS = "_RTCRtpReceiver__nack_generator"
CODECS = "_RTCRtpReceiver__codecs"
DECODER = "_RTCRtpReceiver__decoder_thread"
DECODER_QUEUE = "_RTCRtpReceiver__decoder_queue"
DECODER_ERROR = "_RTCRtpReceiver__decoder_error"
TIMESTAMPS = "_RTCRtpReceiver__timestamp_mapper"
KIND = "_RTCRtpReceiver__kind"

MOST_WAITING = 30
"""Frames that wait for the decoder at most, a second of most cameras: its queue has no bound, and a
decoder that is too slow would fall behind without end. Then all is left out up to a key frame."""

_original_receive = RTCRtpReceiver.receive
_original_handle = RTCRtpReceiver._handle_rtp_packet


class _Nacks:
    """Stands where the NACK generator was. After `add` is true, `missing` is asked for."""

    def __init__(self, buffer: VideoBuffer) -> None:
        self._buffer = buffer
        self.missing: set[int] = set()

    def add(self, packet: RtpPacket) -> bool:
        self.missing = set(self._buffer.arrived(packet.sequence_number, time.monotonic()))
        return bool(self.missing)


class Assembly:
    """Stands where the jitter buffer was: `add` gives no frame, `ready` holds them."""

    def __init__(self, buffer: VideoBuffer, tests: dict[int, Callable[[bytes], bool]]) -> None:
        self.buffer = buffer
        self.ready: list[EncodedFrame] = []
        self._tests = tests

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        now = time.monotonic()
        test = self._tests.get(packet.payload_type)
        piece = Piece(
            packet.timestamp,
            packet._data,  # type: ignore[attr-defined]  # set by the receiver
            bool(packet.marker),
            test is not None and test(packet.payload),
            packet.payload_type,
        )
        self.buffer.put(packet.sequence_number, piece)
        self.ready += self.buffer.take(now)
        return self.buffer.wants_key_frame(now), None


async def _receive(self: RTCRtpReceiver, parameters: RTCRtpReceiveParameters) -> None:
    if getattr(self, KIND) == "video" and getattr(self, DECODER) is None:
        buffer = VideoBuffer()
        tests = {
            codec.payloadType: key_frame_test(codec.name)
            for codec in parameters.codecs
            if codec.payloadType is not None
        }
        setattr(self, NACKS, _Nacks(buffer))
        setattr(self, BUFFER, Assembly(buffer, tests))
    await _original_receive(self, parameters)


async def _handle(self: RTCRtpReceiver, packet: RtpPacket, arrival_time_ms: int) -> None:
    assembly = getattr(self, BUFFER)
    if not isinstance(assembly, Assembly):
        return await _original_handle(self, packet, arrival_time_ms)
    if getattr(self, DECODER_ERROR).is_set():
        getattr(self, DECODER_ERROR).clear()
        assembly.buffer.spoilt()
    await _original_handle(self, packet, arrival_time_ms)
    ready, assembly.ready = assembly.ready, []
    for frame in ready:
        if getattr(self, DECODER_QUEUE).qsize() >= MOST_WAITING:
            assembly.buffer.spoilt()
            break
        _decode(self, frame)


def _decode(receiver: RTCRtpReceiver, frame: EncodedFrame) -> None:
    codec: Any = getattr(receiver, CODECS)[frame.payload_type]
    timestamp = getattr(receiver, TIMESTAMPS).map(frame.timestamp)
    if getattr(receiver, DECODER):
        getattr(receiver, DECODER_QUEUE).put((codec, JitterFrame(frame.data, timestamp)))


def apply() -> None:
    """Install the buffer in every video receiver that begins to receive from now on."""
    for name, method in (("receive", _receive), ("_handle_rtp_packet", _handle)):
        setattr(RTCRtpReceiver, name, method)
