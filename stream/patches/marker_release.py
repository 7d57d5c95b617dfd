"""Hand out a received frame when its last packet is there, not when the next frame begins.

Reason: aiortc's jitter buffer learns that a frame is complete from the next frame's first packet,
33 ms late at 30 frames per second. RTP marks the last packet of a video frame (RFC 3551 section
4.1, RFC 6184 section 5.1, RFC 7741 section 4.1).
Where: `aiortc.jitterbuffer.JitterBuffer.add`.
Written for: aiortc 1.16.0. Remove when: JitterBuffer releases on the marker bit.
"""

from __future__ import annotations

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

NAME = "add"

_original = JitterBuffer.add


def _add(self: JitterBuffer, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
    picture_lost, frame = _original(self, packet)
    if frame is not None or not self._is_video or self._origin is None:
        return picture_lost, frame
    if not packet.marker:
        # Only a packet that came late can complete a frame without being its last one.
        following = self._packets[(packet.sequence_number + 1) % self._capacity]
        if following is None or following.timestamp != packet.timestamp:
            return picture_lost, None
    return picture_lost, _complete_frame(self)


def _complete_frame(buffer: JitterBuffer) -> JitterFrame | None:
    """Take out the oldest frame if all its packets are there, up to the marked one."""
    origin = buffer._origin
    first = None if origin is None else buffer._packets[origin % buffer._capacity]
    if origin is None or first is None:
        return None
    data = []
    for count in range(buffer._capacity):
        packet = buffer._packets[(origin + count) % buffer._capacity]
        if packet is None or packet.timestamp != first.timestamp:
            return None
        data.append(packet._data)  # type: ignore[attr-defined]  # set by the receiver
        if packet.marker:
            buffer.remove(count + 1)
            return JitterFrame(data=b"".join(data), timestamp=first.timestamp)
    return None


def apply() -> None:
    """Install the earlier release."""
    setattr(JitterBuffer, NAME, _add)
