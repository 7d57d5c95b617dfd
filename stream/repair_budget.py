"""Which lost packets are sent again: some, and not the same one twice at once.

Where the path carries too little, repairs make it worse: what is repaired is lost again, or waits
in a queue while the receiver asks for it once more. Measured on a path of 400 kbit/s, repairs
without a bound took all of it, and no picture got through any more. So repairs get a part of what
video gets; above that, a key frame ends the need for them.
"""

from __future__ import annotations

SHARE = 0.2
"""Bytes of repairs that each byte of video earns: enough for 15 % loss."""

BURST = 48_000
"""Bytes that may be saved up: forty packets, a quarter second of video at 1.5 Mbit/s."""

AGAIN = 0.06
"""Least seconds between two repairs of one packet. Browsers that do not know the delay of the path
ask each 100 ms."""

GENEROUS = 0.5
"""Part of `BURST` above which a repair goes out twice. It is lost as often as what it repairs, and
a browser waits 100 ms before it asks again: at 5 % loss for every twentieth repair."""

KEY_FRAME_INTERVAL = 1.0
"""Least seconds between two key frames that stand in for repairs: what was asked for before such a
key frame arrives is still asked for a while."""

KEPT = 1024
"""Packets whose last repair is remembered."""


class RepairBudget:
    """Pure counting for one sender. `now` is seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.repaired = 0
        """Packets that were sent again."""
        self.refused = 0
        """Requests that went unanswered, because a repair is under way or for want of budget."""
        self._saved = float(BURST)
        self._video = 0
        self._last: dict[int, float] = {}
        self._key_frame = float("-inf")

    def earn(self, octets: int) -> None:
        """Note how many bytes of video have been sent up to now."""
        self._saved = min(BURST, self._saved + SHARE * max(0, octets - self._video))
        self._video = octets

    def under_way(self, sequence_number: int, now: float) -> bool:
        """Whether a packet has just been sent again."""
        if now - self._last.get(sequence_number, float("-inf")) >= AGAIN:
            return False
        self.refused += 1
        return True

    def spend(self, sequence_number: int, octets: int, now: float) -> int:
        """How many times a packet may be sent again now, 0 to 2; it is counted as sent then."""
        if octets > self._saved:
            self.refused += 1
            return 0
        copies = 2 if self._saved > GENEROUS * BURST else 1
        self._saved -= octets * copies
        self.repaired += 1
        self._last.pop(sequence_number, None)
        self._last[sequence_number] = now
        if len(self._last) > KEPT:
            del self._last[next(iter(self._last))]
        return copies

    def wants_key_frame(self, now: float) -> bool:
        """Whether to send a key frame in place of a repair that cannot be."""
        if now - self._key_frame < KEY_FRAME_INTERVAL:
            return False
        self._key_frame = now
        return True
