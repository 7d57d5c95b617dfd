"""Repairs of lost packets within a budget, and a key frame where they cannot be.

Reason: aiortc sends again whatever is asked for, as often as it is asked. On a path that is too
narrow the repairs then take the place of the video, for as long as the path stays narrow. And a
packet that it no longer keeps is never mentioned: the receiver waits for it, seconds long, before
it asks for a key frame.
Where: `aiortc.RTCRtpSender._retransmit`, and its private attributes for the history and the count
of bytes.
Written for: aiortc 1.16.0. Remove when: aiortc bounds its retransmissions.
"""

from __future__ import annotations

import time

from aiortc import RTCRtpSender
from aiortc.rtp import RTP_HISTORY_SIZE

from stream.repair_budget import RepairBudget

NAME = "_retransmit"
HISTORY = "_RTCRtpSender__rtp_history"
OCTETS = "_RTCRtpSender__octet_count"

BUDGET = "_repair_budget"
"""Ours, set at the first request."""

_original = RTCRtpSender._retransmit


async def _retransmit(self: RTCRtpSender, sequence_number: int) -> None:
    budget = getattr(self, BUDGET, None)
    if budget is None:
        budget = RepairBudget()
        setattr(self, BUDGET, budget)
    now = time.monotonic()
    budget.earn(getattr(self, OCTETS))
    if budget.under_way(sequence_number, now):
        return
    packet = getattr(self, HISTORY).get(sequence_number % RTP_HISTORY_SIZE)
    kept = packet is not None and packet.sequence_number == sequence_number
    copies = budget.spend(sequence_number, len(packet.payload), now) if kept else 0
    for _ in range(copies):
        await _original(self, sequence_number)
    if not copies and self.kind == "video" and budget.wants_key_frame(now):
        self._send_keyframe()


def apply() -> None:
    """Install the budget."""
    setattr(RTCRtpSender, NAME, _retransmit)
