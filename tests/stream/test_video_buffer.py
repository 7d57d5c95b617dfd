"""Order, repair and key frames of received video; packets are numbers here."""

from __future__ import annotations

import random

import pytest
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import VpxPayloadDescriptor

from stream.video_buffer import (
    ASK_AGAIN,
    JUMP,
    MAX_MISSING,
    PATIENCE,
    Piece,
    VideoBuffer,
    key_frame_test,
)

PERIOD = 1 / 30


class Sender:
    """Frames of three packets; `numbers` may begin anywhere."""

    def __init__(self, first: int = 65_530) -> None:
        self.number = first
        self.time = 0

    def frame(self, key: bool = False) -> list[tuple[int, Piece]]:
        self.time += 3000
        made = []
        for part in range(3):
            data = bytes([self.time // 3000 % 256, part])
            piece = Piece(self.time, data, part == 2, key and part == 0, 96)
            made.append((self.number & 0xFFFF, piece))
            self.number += 1
        return made


class Receiver:
    def __init__(self) -> None:
        self.buffer = VideoBuffer()
        self.frames: list[int] = []
        self.asked: list[int] = []
        self.key_frames_asked = 0

    def receive(self, now: float, *packets: tuple[int, Piece]) -> None:
        for number, piece in packets:
            self.asked += self.buffer.arrived(number, now)
            self.buffer.put(number, piece)
            for frame in self.buffer.take(now):
                assert len(frame.data) == 6 and frame.payload_type == 96
                self.frames.append(frame.timestamp // 3000)
            self.key_frames_asked += self.buffer.wants_key_frame(now)


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def test_a_frame_comes_out_with_its_last_packet(sender: Sender, receiver: Receiver) -> None:
    for n in range(20):
        receiver.receive(n * PERIOD, *sender.frame(key=n == 0))
        assert receiver.frames == list(range(1, n + 2))
    assert (receiver.asked, receiver.key_frames_asked) == ([], 0)


def test_nothing_comes_out_before_the_first_key_frame(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame())
    assert (receiver.frames, receiver.key_frames_asked) == ([], 1)
    receiver.receive(0.01, *sender.frame())
    assert receiver.key_frames_asked == 1, "asked twice at once"
    receiver.receive(0.4, *sender.frame())
    assert receiver.key_frames_asked == 2
    receiver.receive(0.5, *sender.frame(key=True))
    receiver.receive(0.53, *sender.frame())
    assert receiver.frames == [4, 5]
    assert receiver.key_frames_asked == 2


def test_a_repaired_gap_costs_no_frame(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    first, lost, last = sender.frame()
    receiver.receive(0.03, first, last)
    assert receiver.asked == [lost[0]]
    receiver.receive(0.06, *sender.frame())
    receiver.receive(0.09, *sender.frame())
    assert receiver.frames == [1]
    receiver.receive(0.10, lost)
    assert receiver.frames == [1, 2, 3, 4], "all that waited come out together"
    receiver.receive(0.11, lost)
    assert receiver.frames == [1, 2, 3, 4]
    assert receiver.key_frames_asked == 0


def test_what_stays_away_is_asked_for_again(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    first, lost, last = sender.frame()
    receiver.receive(0.03, first, last)
    now = 0.03
    while now < 0.03 + 3.5 * ASK_AGAIN:
        now += 0.01
        receiver.receive(now, *sender.frame())
    assert receiver.asked == [lost[0]] * 4


def test_given_up_means_nothing_until_a_key_frame(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    receiver.receive(0.03, sender.frame()[0])
    for n in range(2, 30):
        receiver.receive(n * PERIOD, *sender.frame())
    assert receiver.frames == [1]
    assert receiver.buffer.given_up == 1
    assert 1 <= receiver.key_frames_asked <= 3
    receiver.receive(1.0, *sender.frame(key=True))
    receiver.receive(1.03, *sender.frame())
    assert receiver.frames == [1, 31, 32]


def test_a_lost_packet_of_the_key_frame_is_repaired_too(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame())
    first, middle, last = sender.frame(key=True)
    receiver.receive(0.2, middle, last)
    assert receiver.frames == []
    receiver.receive(0.25, first)
    receiver.receive(0.28, *sender.frame())
    # The first packet came before the middle one was missed: its number is older than the start.
    assert receiver.frames in ([2, 3], [])


def test_a_packet_that_cannot_be_read_stops_nothing(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    first, odd, last = sender.frame()
    receiver.receive(0.03, first)
    assert receiver.buffer.arrived(odd[0], 0.03) == []  # and is never put
    receiver.receive(0.03, last)
    for n in range(2, 20):
        receiver.receive(n * PERIOD, *sender.frame())
    assert (receiver.frames, receiver.buffer.given_up) == ([1], 1)
    assert receiver.key_frames_asked >= 1
    receiver.receive(1.0, *sender.frame(key=True))
    assert receiver.frames == [1, 21]


def test_what_is_kept_for_a_frame_that_stays_incomplete_has_a_bound(
    sender: Sender, receiver: Receiver
) -> None:
    first, _, last = sender.frame(key=True)
    receiver.receive(0.0, first, last)
    most = 0
    for n in range(1, JUMP + 100):  # a sender who neither repairs nor makes key frames
        for number, piece in sender.frame():
            receiver.buffer.arrived(number, n * PERIOD)
            receiver.buffer.put(number, piece)
        if n % 50 == 0:
            assert receiver.buffer.take(n * PERIOD) == []
            most = max(most, len(receiver.buffer._pieces))
    assert 1000 < most <= JUMP + 1
    receiver.receive(JUMP * 1.0, *sender.frame(key=True))
    assert len(receiver.frames) == 1


def test_a_long_gap_is_not_asked_for(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    for _ in range(MAX_MISSING // 3 + 5):
        sender.frame()
    receiver.receive(2.0, *sender.frame())
    assert receiver.asked == []
    assert (receiver.buffer.given_up, receiver.key_frames_asked) == (1, 1)
    receiver.receive(2.1, *sender.frame(key=True))
    assert len(receiver.frames) == 2


def test_a_missing_mark_does_not_join_frames(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    *others, (number, last) = sender.frame()
    unmarked = Piece(last.timestamp, last.data, False, False, 96)
    receiver.receive(0.03, *others, (number, unmarked))
    assert receiver.frames == [1]
    receiver.receive(0.06, *sender.frame())
    assert receiver.frames == [1, 2, 3]


def test_padding_is_no_frame(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    padding = Piece(sender.time, b"", False, False, 96)
    receiver.receive(0.01, (sender.number & 0xFFFF, padding))
    sender.number += 1
    receiver.receive(0.03, *sender.frame())
    assert receiver.frames == [1, 2]


def test_a_new_stream_begins_anew(receiver: Receiver) -> None:
    receiver.receive(0.0, *Sender(100).frame(key=True))
    receiver.receive(0.5, *Sender(30_000).frame())
    assert receiver.key_frames_asked == 1
    receiver.receive(0.6, *Sender(30_003).frame(key=True))
    assert receiver.frames == [1, 1]


def test_a_failing_decoder_waits_for_a_key_frame(sender: Sender, receiver: Receiver) -> None:
    receiver.receive(0.0, *sender.frame(key=True))
    receiver.buffer.spoilt()
    receiver.receive(0.03, *sender.frame())
    assert (receiver.frames, receiver.key_frames_asked) == ([1], 1)


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_comes_once_and_in_order_over_a_bad_path(seed: int) -> None:
    """10 % loss, repairs as well; 30 % come up to 30 ms late; repairs after 40 ms."""
    chance = random.Random(seed)
    sender, receiver = Sender(), Receiver()
    sent: dict[int, Piece] = {}
    flying: list[tuple[float, int]] = []
    for step in range(3000):
        now = step * 0.01
        if step % 3 == 0:
            made = sender.frame(key=step == 0 or receiver.key_frames_asked > 0)
            receiver.key_frames_asked = 0
            sent.update(made)
            for number, _ in made:
                late = chance.uniform(0, 0.03) if chance.random() < 0.3 else 0.0
                if step == 0 or chance.random() > 0.1:
                    flying.append((now + late * (step > 0), number))
        due = sorted(each for each in flying if each[0] <= now)
        flying = [each for each in flying if each[0] > now]
        for _, number in due:
            receiver.asked.clear()
            receiver.receive(now, (number, sent[number]))
            repairs = [asked for asked in receiver.asked if chance.random() > 0.1]
            flying += [(now + 0.04, asked) for asked in repairs]
    assert receiver.frames == sorted(set(receiver.frames))
    assert len(receiver.frames) > 950
    assert receiver.buffer.given_up <= 5


def test_patience_is_longer_than_two_tries() -> None:
    assert PATIENCE > 2 * ASK_AGAIN


def test_key_frames_of_h264() -> None:
    begins = key_frame_test("H264")
    parameters, picture, other = bytes([0x67]) + b"p" * 10, bytes([0x65]) * 5000, bytes([0x41]) * 50
    together = bytes([24]) + len(parameters).to_bytes(2, "big") + parameters
    assert begins(together) and begins(parameters)
    parts = H264Encoder._packetize_fu_a(picture)
    assert [begins(part) for part in parts] == [True] + [False] * (len(parts) - 1)
    assert not begins(other) and not begins(b"")


def test_key_frames_of_vp8() -> None:
    begins = key_frame_test("VP8")
    for numbered in (None, 5, 300):
        first = bytes(VpxPayloadDescriptor(1, 0, numbered))
        later = bytes(VpxPayloadDescriptor(0, 0, numbered))
        assert begins(first + b"\x10rest")
        assert not begins(first + b"\x11rest")
        assert not begins(later + b"\x10rest")
        assert not begins(first)
