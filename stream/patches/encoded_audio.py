"""Hand out received Opus packets as they are, and send packets in a stream of their own.

Reason: sound is handed on, not changed. Decoding it and encoding it again would cost time, quality
and 80 ms: aiortc holds four packets back before it decodes, in a queue without a bound, and has no
interface for what is still encoded. Nor does it let an answer name one codec only, or put sound and
picture into two streams: of one stream a browser may hold the picture back to match the sound.
Where: the private attribute `__jitter_buffer` of `aiortc.RTCRtpReceiver`, whose `add` is given each
packet that arrives and returns what to decode; `RTCRtpTransceiver._codecs` between the offer and
the answer; `RTCRtpSender._stream_id`, the stream's name in the answer.
Written for: aiortc 1.16.0. Remove when: aiortc hands out encoded frames, reorders the codecs of an
answer by `setCodecPreferences`, and takes streams in `addTransceiver`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from aiortc import RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

BUFFER = "_RTCRtpReceiver__jitter_buffer"
CODECS = "_codecs"
STREAM = "_stream_id"


@dataclass(frozen=True)
class EncodedAudio:
    """One packet of Opus.

    Args:
        payload: what the caller's encoder made.
        timestamp: of RTP, in units of 1/48000 s, modulo 2**32.
        arrived: when it came in, in seconds of the monotonic clock.
    """

    payload: bytes
    timestamp: int
    arrived: float


class _Tap:
    """Stands where the jitter buffer was: passes packets on and gives the decoder nothing."""

    def __init__(self, sink: Callable[[EncodedAudio], None]) -> None:
        self._sink = sink

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        if packet.payload:
            self._sink(EncodedAudio(packet.payload, packet.timestamp, time.monotonic()))
        return False, None


def opus_only(transceiver: RTCRtpTransceiver) -> bool:
    """Leave Opus alone in the answer to an offer; False if the offer has none.

    To be called between `setRemoteDescription` and `createAnswer`.
    """
    found = [c for c in getattr(transceiver, CODECS) if c.mimeType.lower() == "audio/opus"]
    if not found:
        return False
    # Ask for what repairs a lost packet from the one after it (RFC 7587 section 6.1).
    found[0].parameters = {"minptime": 10, "useinbandfec": 1}
    setattr(transceiver, CODECS, found[:1])
    return True


def hand_out(receiver: RTCRtpReceiver, sink: Callable[[EncodedAudio], None]) -> None:
    """Give `sink` each packet of Opus that a receiver gets, in the order of arrival.

    To be called before media flows, and after `opus_only`: packets of other codecs are then unknown
    to the receiver. Its track gives nothing any more.
    """
    setattr(receiver, BUFFER, _Tap(sink))


def own_stream(sender: RTCRtpSender) -> None:
    """Send in a stream of its own. To be called before `createAnswer`."""
    setattr(sender, STREAM, str(uuid.uuid4()))
