"""Whatever a network does to the packets of a caller's video, frames come out whole, in order, and
never later than from aiortc's own buffer, which learns that a frame is over from the next one."""

from __future__ import annotations

from dataclasses import dataclass

from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.video_buffer import PATIENCE, Piece, VideoBuffer

FRAME = 3000
"""Ticks of RTP between frames."""


@dataclass(frozen=True)
class Sent:
    """One packet on its way."""

    number: int
    frame: int
    part: int
    last: bool
    key: bool

    @property
    def data(self) -> bytes:
        return bytes([self.frame, self.part])


@st.composite
def sent(draw: st.DrawFn, keys: bool = False) -> list[Sent]:
    """Packets of some frames, of which the first is a key frame, and some later ones if there shall
    be more `keys`; numbers may wrap around."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=2, max_size=25))
    number = draw(st.integers(0, 0xFFFF))
    packets = []
    for frame, length in enumerate(lengths):
        key = frame == 0 or (keys and draw(st.integers(0, 9)) == 0)
        for part in range(length):
            packets.append(Sent(number, frame, part, part == length - 1, key and part == 0))
            number = (number + 1) & 0xFFFF
    return packets


def whole(packets: list[Sent], frame: int) -> bytes:
    return b"".join(packet.data for packet in packets if packet.frame == frame)


def ours(arrivals: list[Sent], seconds_each: float = 0.0) -> list[tuple[int, int, bytes]]:
    """After how many packets each frame came out, which it was, and what was in it."""
    buffer, out, now = VideoBuffer(), [], 100.0
    for count, packet in enumerate(arrivals, 1):
        buffer.arrived(packet.number, now)
        timestamp = packet.frame * FRAME
        buffer.put(packet.number, Piece(timestamp, packet.data, packet.last, packet.key, 97))
        out += [(count, frame.timestamp // FRAME, frame.data) for frame in buffer.take(now)]
        now += seconds_each
    return out


def stock(arrivals: list[Sent]) -> list[tuple[int, int, bytes]]:
    """The same of aiortc's buffer."""
    buffer, out = JitterBuffer(capacity=512, is_video=True), []
    for count, sent in enumerate(arrivals, 1):
        packet = RtpPacket(
            sequence_number=sent.number, timestamp=sent.frame * FRAME, marker=int(sent.last)
        )
        packet._data = sent.data  # type: ignore[attr-defined]
        _, frame = buffer.add(packet)
        if frame is not None:
            out.append((count, frame.timestamp // FRAME, frame.data))
    return out


@st.composite
def disturbed(draw: st.DrawFn, lose: bool, keys: bool = False) -> tuple[list[Sent], list[Sent]]:
    """What is sent, and what arrives: late, out of order, twice and, if so, never. The very first
    packet arrives first: nobody can tell that there was one before."""
    packets = draw(sent(keys))
    arrivals: list[tuple[float, int, Sent]] = []
    for index, packet in enumerate(packets[1:], 1):
        if lose and draw(st.integers(0, 9)) == 0:
            continue
        copies = 2 if draw(st.integers(0, 9)) == 0 else 1
        for _ in range(copies):
            late = draw(st.sampled_from([0, 0, 0, 0, 1.5, 2.5, 6.5]))
            arrivals.append((index + late, len(arrivals), packet))
    arrivals.sort(key=lambda arrival: arrival[:2])
    return packets, [packets[0], *(packet for _, _, packet in arrivals)]


@settings(deadline=None, max_examples=300)
@given(disturbed(lose=False))
def test_without_loss_the_same_frames_come_out_and_none_later(
    case: tuple[list[Sent], list[Sent]],
) -> None:
    packets, arrivals = case
    mine, theirs = ours(arrivals), stock(arrivals)
    assert [frame for _, frame, _ in mine] == list(range(packets[-1].frame + 1))
    assert all(data == whole(packets, frame) for _, frame, data in mine)
    when = {frame: count for count, frame, _ in mine}
    for count, frame, data in theirs:
        assert data == whole(packets, frame)
        assert when[frame] <= count


@settings(deadline=None, max_examples=100)
@given(sent())
def test_in_order_each_frame_comes_out_with_its_own_last_packet(packets: list[Sent]) -> None:
    lasts = [count for count, packet in enumerate(packets, 1) if packet.last]
    assert [count for count, _, _ in ours(packets)] == lasts


@settings(deadline=None, max_examples=300)
@given(disturbed(lose=True, keys=True), st.sampled_from([0.0, 0.02, PATIENCE / 3, PATIENCE * 2]))
def test_no_frame_with_a_hole_comes_out_nor_one_that_refers_to_a_lost_one(
    case: tuple[list[Sent], list[Sent]], seconds_each: float
) -> None:
    packets, arrivals = case
    mine = ours(arrivals, seconds_each)
    keys = {packet.frame for packet in packets if packet.key}
    previous = -1
    for _, frame, data in mine:
        assert data == whole(packets, frame)
        assert frame == previous + 1 or (frame > previous and frame in keys)
        previous = frame


@settings(deadline=None, max_examples=200)
@given(disturbed(lose=True))
def test_what_is_sent_again_in_time_makes_all_frames_whole(
    case: tuple[list[Sent], list[Sent]],
) -> None:
    packets, arrivals = case
    lost = [packet for packet in packets if packet not in arrivals]
    out = ours([*arrivals, *lost])
    assert [frame for _, frame, _ in out] == list(range(packets[-1].frame + 1))
    assert all(data == whole(packets, frame) for _, frame, data in out)
