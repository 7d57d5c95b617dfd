"""Which RTP timestamp a frame will have.

Reason: the receiver's page learns from a message which frame shows which viewpoint, and knows
frames by their RTP timestamp only. aiortc adds a random origin to a frame's own time and keeps it
to itself; after the first frame it can be told from the timestamp that was sent last.
Where: the private attribute `__rtp_timestamp` of `aiortc.RTCRtpSender`.
Written for: aiortc 1.16.0. Remove when: aiortc tells the timestamp of a frame.
"""

from __future__ import annotations

from aiortc import RTCRtpSender

ATTRIBUTE = "_RTCRtpSender__rtp_timestamp"


def last_sent(sender: RTCRtpSender) -> int:
    """The RTP timestamp of the last packet that was sent; 0 before the first one."""
    value = getattr(sender, ATTRIBUTE)
    assert isinstance(value, int)
    return value
