"""Puts a caller's video packets in order and makes frames of them, also where packets are lost.

A frame is handed out as soon as its last packet is there, which RTP marks. Packets that are missing
are asked for again and again (NACK); when they stay away, everything up to the next key frame is
thrown away, and that key frame is asked for (PLI). So nothing reaches the decoder that refers to
what it has not seen, and no avatar is made of what a decoder guesses.

Pure: no socket and no clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ASK_AGAIN = 0.08
"""Seconds after which a packet that was asked for, and has not come, is asked for again."""

PATIENCE = 0.4
"""Seconds to wait for a missing packet: four tries on a path of 80 ms. A key frame takes one."""

MAX_MISSING = 40
"""Missing packets at once above which a key frame is the quicker way."""

JUMP = 3000
"""A sequence number so far from the last one begins another stream: at 2.5 Mbit/s, 13 seconds. Nor
are more packets than these kept for a frame that does not become complete."""

KEY_FRAME_INTERVAL = 0.3
"""Least seconds between two demands for a key frame; browsers answer no more of them."""


@dataclass(frozen=True)
class Piece:
    """One packet.

    Args:
        timestamp: the frame's, in units of RTP.
        data: of the codec, without headers of RTP; padding has none.
        last: whether it is marked as the frame's last.
        begins_key_frame: whether a decoder can begin here.
        payload_type: of RTP.
    """

    timestamp: int
    data: bytes
    last: bool
    begins_key_frame: bool
    payload_type: int


@dataclass(frozen=True)
class EncodedFrame:
    """All packets of a frame, joined."""

    timestamp: int
    data: bytes
    payload_type: int


@dataclass
class _Missing:
    since: float
    asked: float = float("-inf")


class VideoBuffer:
    """Packets in, frames out. Sequence numbers are those of RTP, modulo 2**16."""

    def __init__(self) -> None:
        self.asked = 0
        """Packets that were asked for, each time they were."""
        self.given_up = 0
        """How many times missing packets were given up for a key frame."""
        self.key_frames_asked = 0
        self._pieces: dict[int, Piece] = {}
        self._missing: dict[int, _Missing] = {}
        self._newest: int | None = None
        self._next = 0
        self._needs_key_frame = True
        self._asked_key_frame = float("-inf")

    def arrived(self, sequence_number: int, now: float) -> list[int]:
        """Note that a packet has come; return the numbers of those to ask for, if any.

        It counts as missing until it is `put`: a packet that cannot be read never is.
        """
        number = self._unwrapped(sequence_number)
        if self._newest is None or abs(number - self._newest) > JUMP:
            self._restart(number)
        elif number - self._next > JUMP:  # a sender who neither repairs nor begins anew
            self._restart(number)
        assert self._newest is not None
        if number > self._newest:
            for missing in range(max(self._newest + 1, self._next), number + 1):
                self._missing[missing] = _Missing(now)
            self._newest = number
        asked = []
        for missing, state in self._missing.items():
            if missing != number and now - state.asked >= ASK_AGAIN:
                state.asked = now
                asked.append(missing & 0xFFFF)
        if len(asked) > MAX_MISSING:
            return []
        self.asked += len(asked)
        return asked

    def put(self, sequence_number: int, piece: Piece) -> None:
        """Keep a packet that has `arrived`; one that comes twice or too late changes nothing."""
        number = self._unwrapped(sequence_number)
        self._missing.pop(number, None)
        if number >= self._next:
            self._pieces.setdefault(number, piece)

    def take(self, now: float) -> list[EncodedFrame]:
        """Hand out the frames that are complete and can be decoded, in their order."""
        frames: list[EncodedFrame] = []
        while True:
            if self._needs_key_frame:
                self._skip_to_key_frame(now)
            while (frame := self._complete()) is not None:
                if frame.data:
                    frames.append(frame)
            if self._needs_key_frame or not self._hopeless(now):
                return frames
            self.given_up += 1
            self._needs_key_frame = True

    def wants_key_frame(self, now: float) -> bool:
        """Whether to ask for a key frame now."""
        if not self._needs_key_frame or now - self._asked_key_frame < KEY_FRAME_INTERVAL:
            return False
        if self._key_frame_starts() and not self._hopeless(now):
            return False  # one is coming in
        self._asked_key_frame = now
        self.key_frames_asked += 1
        return True

    def spoilt(self) -> None:
        """The decoder has failed: what follows is of no use until a key frame."""
        self._needs_key_frame = True

    def _unwrapped(self, sequence_number: int) -> int:
        if self._newest is None:
            return sequence_number
        ahead = (sequence_number - self._newest) & 0xFFFF
        return self._newest + (ahead if ahead < 0x8000 else ahead - 0x10000)

    def _restart(self, number: int) -> None:
        self._pieces.clear()
        self._missing.clear()
        self._newest = self._next = number
        self._needs_key_frame = True

    def _complete(self) -> EncodedFrame | None:
        """Take out the next frame if all of it is there."""
        first = self._pieces.get(self._next)
        if first is None:
            return None
        if self._needs_key_frame and not first.begins_key_frame:
            return None
        number, data = self._next, []
        while True:
            piece = self._pieces.get(number)
            if piece is None:
                return None
            if piece.timestamp != first.timestamp:  # the mark is missing, yet the frame is over
                break
            data.append(piece.data)
            number += 1
            if piece.last or not first.data:
                break
        for taken in range(self._next, number):
            del self._pieces[taken]
        self._next = number
        self._needs_key_frame = self._needs_key_frame and not first.begins_key_frame
        return EncodedFrame(first.timestamp, b"".join(data), first.payload_type)

    def _hopeless(self, now: float) -> bool:
        """Whether what is missing before the next frame is not worth waiting for."""
        if not self._missing:
            return False
        if len(self._missing) > MAX_MISSING:
            return True
        return now - self._missing[min(self._missing)].since > PATIENCE

    def _key_frame_starts(self) -> list[int]:
        return [number for number, piece in self._pieces.items() if piece.begins_key_frame]

    def _skip_to_key_frame(self, now: float) -> None:
        """Throw away what lies before the newest key frame; if there is none, everything but what
        may be one when the missing packets have come."""
        assert self._newest is not None
        if starts := self._key_frame_starts():
            # Several packets of a frame may be ones to begin with: the first has the parameters.
            timestamp = self._pieces[max(starts)].timestamp
            self._next = min(n for n in starts if self._pieces[n].timestamp == timestamp)
        else:
            hopeful = len(self._missing) <= MAX_MISSING
            young = [n for n, each in self._missing.items() if now - each.since <= PATIENCE]
            self._next = min(young) if young and hopeful else self._newest + 1
        for numbers in (self._pieces, self._missing):
            for number in [each for each in numbers if each < self._next]:
                del numbers[number]


def key_frame_test(codec: str) -> Callable[[bytes], bool]:
    """A function that tells from an RTP payload whether a key frame begins with it.

    Args:
        codec: "H264" or "VP8".
    """
    return _h264_begins_key_frame if codec.upper() == "H264" else _vp8_begins_key_frame


def _h264_begins_key_frame(payload: bytes) -> bool:
    """A sequence parameter set, or an IDR picture (RFC 6184 section 5.2)."""
    if not payload:
        return False
    kind = payload[0] & 0x1F
    if kind == 24 and len(payload) > 3:  # several units in one packet: the first one tells
        kind = payload[3] & 0x1F
    elif kind == 28 and len(payload) > 1:  # a part of a unit, and the first part
        kind = payload[1] & 0x1F if payload[1] & 0x80 else 0
    return kind in (5, 7)


def _vp8_begins_key_frame(payload: bytes) -> bool:
    """The first packet of partition 0 of a picture that refers to none (RFC 7741 section 4)."""
    if not payload or payload[0] & 0x17 != 0x10:
        return False
    start = 1
    if payload[0] & 0x80 and len(payload) > 1:
        extended = payload[1]
        start += 1
        if extended & 0x80 and len(payload) > start:
            start += 2 if payload[start] & 0x80 else 1
        start += bool(extended & 0x40) + bool(extended & 0x30)
    return len(payload) > start and not payload[start] & 0x01
