"""Which RTP timestamp a received frame had.

Reason: the server tells by RTP timestamps which frame shows which viewpoint. aiortc counts the
times of received frames from the first one on and keeps that one's timestamp to itself.
Where: the private attribute `__timestamp_mapper` of `aiortc.RTCRtpReceiver`, and its `_origin`.
Written for: aiortc 1.16.0. Remove when: aiortc tells the timestamp of a received frame.
"""

from __future__ import annotations

from aiortc import RTCRtpReceiver

ATTRIBUTE = "_RTCRtpReceiver__timestamp_mapper"


def rtp_timestamp(receiver: RTCRtpReceiver, pts: int) -> int:
    """The RTP timestamp of a frame that aiortc gave the time `pts`, in units of 1/90000 s."""
    origin = getattr(receiver, ATTRIBUTE)._origin
    assert isinstance(origin, int)
    # aiortc moves the origin by 2**32 whenever the timestamps wrap.
    return (pts + origin) & 0xFFFFFFFF
