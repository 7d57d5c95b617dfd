"""Streams that several receivers share: each decodes what it is sent, whoever comes and goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from aiortc.codecs import depayload, get_decoder
from aiortc.jitterbuffer import JitterFrame
from av.video.frame import VideoFrame

from stream.coders import Coded, EncoderSettings, X264Coder
from stream.shared_encodes import JOIN_INTERVAL, KEEP_OUT, MOST_PLIS, REST, Member, SharedEncodes
from stream.view import Company
from tests.stream.bar_engine import BarEngine, bar_yaw
from tests.stream.conftest import Start
from tests.stream.peers import Receiver, until
from tests.stream.test_encoder import codec

FPS = 30.0
SIZE = 64
SETTINGS = EncoderSettings(FPS, 100_000, 1_000_000, 0.5)


class Counted(X264Coder):
    """Counts what is coded, by all of them."""

    coded = 0

    def code(self, frame: VideoFrame, rate: int, now: float) -> Coded:
        Counted.coded += 1
        return super().code(frame, rate, now)


class Watcher:
    """A receiver that decodes all that it is sent, as a browser does."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.number = number
        self.member = Member(stage.sharing, number, Counted(SETTINGS), lambda: Counted(SETTINGS))
        self.decoder = get_decoder(codec("video/H264"))
        self.rate = 800_000
        self.yaw = 0
        self.moving = False
        self.forced = False
        self.asleep = False
        self.keys: list[float] = []

    def watch(self, company: Company, now: float) -> None:
        forced, self.forced = self.forced, False
        shared = None if self.moving else company
        coded = self.member.code(painted(self.yaw, now), shared, self.rate, forced, now)
        if coded.key:
            self.keys.append(now)
        data = b"".join(depayload(codec("video/H264"), payload) for payload in coded.payloads)
        shown = self.decoder.decode(JitterFrame(data, round(now * 90000)))
        assert len(shown) == 1
        luma = np.asarray(shown[0].to_ndarray()[:SIZE], np.float64)
        # A picture of the wrong viewpoint, or one that refers to pictures never sent, differs.
        assert abs(float(luma[:, :32].mean()) - level(self.yaw, now)) < 4
        assert abs(float(luma[:, 32:].mean()) - 100) < 4

    def keys_since(self, then: float) -> int:
        return sum(time >= then for time in self.keys)


def level(yaw: int, now: float) -> float:
    return 50 + 10 * yaw + 20 * (round(now * FPS) % 5)


def painted(yaw: int, now: float) -> VideoFrame:
    whole = np.full((SIZE * 3 // 2, SIZE), 128, np.uint8)
    whole[:SIZE] = 100
    whole[:SIZE, :32] = round(level(yaw, now))
    frame = VideoFrame.from_ndarray(whole, format="yuv420p")
    frame.pts, frame.time_base = round(now * 90000), Fraction(1, 90000)
    return frame


class Stage:
    """Watchers of one person, and time."""

    def __init__(self, count: int) -> None:
        self.sharing = SharedEncodes()
        self.now = 100.0
        self.watchers = [Watcher(self, number) for number in range(count)]
        self._random = random.Random(1)

    def play(self, seconds: float, each: Callable[[], None] = lambda: None) -> int:
        """Let time pass; return how many pictures were coded."""
        before = Counted.coded
        for _ in range(round(seconds * FPS)):
            each()
            companies: dict[int, list[Watcher]] = {}
            for watcher in self.watchers:
                companies.setdefault(watcher.yaw, []).append(watcher)
            order = []
            for watchers in companies.values():
                company = Company(frozenset(watcher.number for watcher in watchers))
                order += [(watcher, company) for watcher in watchers if not watcher.asleep]
            self._random.shuffle(order)  # senders come in any order
            for watcher, company in order:
                watcher.watch(company, self.now)
            self.now += 1 / FPS
        return Counted.coded - before


def test_who_rests_at_one_viewpoint_shares_one_stream_after_a_while() -> None:
    stage = Stage(4)
    assert stage.play(1.0) == 4 * FPS, "not at once: people who pass by would cost key frames"
    stage.play(REST + JOIN_INTERVAL)
    assert stage.play(2.0) == 2.0 * FPS
    assert all(len(watcher.keys) <= 2 for watcher in stage.watchers)


def test_who_moves_has_a_stream_of_its_own_and_the_others_notice_nothing() -> None:
    stage = Stage(4)
    stage.play(REST + JOIN_INTERVAL + 1)
    mover, others = stage.watchers[2], [w for w in stage.watchers if w.number != 2]
    left = stage.now
    mover.moving, mover.yaw = True, 3
    assert stage.play(2.0) == pytest.approx(2 * 2.0 * FPS, abs=1)
    assert mover.keys_since(left) == 1
    assert all(other.keys_since(left) == 0 for other in others)
    mover.moving, mover.yaw = False, 0
    back = stage.now
    stage.play(REST + JOIN_INTERVAL)
    assert stage.play(2.0) == 2.0 * FPS
    assert all(watcher.keys_since(back) == 1 for watcher in stage.watchers)


def test_two_groups_of_viewpoints_have_two_streams() -> None:
    stage = Stage(4)
    for watcher in stage.watchers[2:]:
        watcher.yaw = 4
    stage.play(REST + JOIN_INTERVAL + 1)
    assert stage.play(2.0) == 2 * 2.0 * FPS


def test_people_who_come_and_go_cost_few_key_frames() -> None:
    stage = Stage(6)
    restless = random.Random(2)

    def stir() -> None:
        for watcher in stage.watchers[3:]:
            if restless.random() < 0.02:
                watcher.moving = not watcher.moving
                watcher.yaw = watcher.number if watcher.moving else 0

    stage.play(30.0, stir)
    for watcher in stage.watchers[:3]:
        assert watcher.keys_since(0) <= 2 + 30 / JOIN_INTERVAL


def test_a_key_frame_that_one_asks_for_is_one_for_all() -> None:
    stage = Stage(3)
    stage.play(REST + JOIN_INTERVAL + 1)
    asked = stage.now
    stage.watchers[0].forced = True
    assert stage.play(1.0) == FPS
    assert [watcher.keys_since(asked) for watcher in stage.watchers] == [1, 1, 1]


def test_who_loses_many_packets_is_left_alone_and_comes_back_later() -> None:
    stage = Stage(3)
    stage.play(REST + JOIN_INTERVAL + 1)
    lossy, others = stage.watchers[0], stage.watchers[1:]
    begun = stage.now
    for _ in range(MOST_PLIS + 3):
        lossy.forced = True
        stage.play(1.0)
    assert lossy.member.group is None
    assert all(other.keys_since(begun) <= MOST_PLIS + 1 for other in others)
    stage.play(KEEP_OUT + JOIN_INTERVAL)
    assert stage.play(1.0) == FPS


def test_who_missed_a_picture_leaves_with_a_key_frame() -> None:
    stage = Stage(3)
    stage.play(REST + JOIN_INTERVAL + 1)
    late = stage.watchers[0]
    late.asleep = True
    stage.play(1 / FPS)
    late.asleep = False
    woke = stage.now
    assert stage.play(1.0) == pytest.approx(2 * FPS, abs=1)
    assert late.keys_since(woke) == 1 and late.keys[-1] == woke


def test_a_slow_path_does_not_make_the_others_slow() -> None:
    stage = Stage(3)
    stage.watchers[0].rate = 150_000
    stage.play(REST + JOIN_INTERVAL + 1)
    assert stage.play(1.0) == 2 * FPS
    slow, *others = stage.watchers
    assert {id(other.member.group) for other in others} != {id(slow.member.group)}
    slow.rate = 800_000
    stage.play(JOIN_INTERVAL + 1)
    assert stage.play(1.0) == FPS, "its path is better now"
    slow.rate = 150_000
    stage.play(1.0)
    assert stage.play(1.0) == 2 * FPS


def test_who_is_closed_leaves_nothing_behind() -> None:
    stage = Stage(3)
    stage.play(REST + JOIN_INTERVAL + 1)
    gone = stage.watchers.pop(0)
    gone.member.close()
    assert stage.play(1.0) == FPS
    gone.member.code(painted(0, 0.0), Company(frozenset({0, 1})), 1, False, stage.now + 100)
    for watcher in stage.watchers:
        watcher.member.close()
    assert not stage.sharing.groups


def test_who_is_closed_while_joining_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(1)
    member, company = stage.watchers[0].member, Company(frozenset({0, 1}))
    may_join = member._may_join

    def closed_after(company: Company, now: float) -> bool:
        joins = may_join(company, now)
        if joins:
            member.close()  # by another thread, between the decision and the joining
        return joins

    monkeypatch.setattr(member, "_may_join", closed_after)
    for now in (0.0, REST + 1):
        assert member.code(painted(0, now), company, 800_000, False, now).payloads
    assert member._out_until == float("inf")
    assert not stage.sharing.groups


async def test_receivers_of_a_call_share_pictures_and_video_and_each_sees_its_own(
    start: Start,
) -> None:
    engine = BarEngine()
    server = await start(engine)
    call = server.ready()
    receivers = [await server.receiver(call) for _ in range(4)]
    for receiver in receivers:
        await receiver.watch()
    peers = list(server.calls[call].receivers.values())
    await until(
        lambda: all(
            peer._encoder and peer._encoder._member and peer._encoder._member.group
            for peer in peers
        ),
        "one stream for all",
    )
    groups = {id(peer._encoder._member.group) for peer in peers}  # type: ignore[union-attr]
    assert len(groups) == 1
    renders = sum(engine.batches)
    before = [receiver.count for receiver in receivers]
    await asyncio.sleep(2.0)
    frames = min(r.count - count for r, count in zip(receivers, before, strict=True))
    assert frames >= 4 and sum(engine.batches) - renders <= 2 * frames
    receivers[0].aim(yaw=35)
    await until(lambda: shows(receivers[0], 35), "its own viewpoint")
    count = receivers[1].count
    await until(lambda: receivers[1].count > count + 3, "frames of the others")
    assert all(shows(receiver, 0) for receiver in receivers[1:])
    assert len({id(p._encoder._member.group) for p in peers}) == 2  # type: ignore[union-attr]


def shows(receiver: Receiver, yaw: float) -> bool:
    return abs(bar_yaw(receiver.luma) - yaw) < 2
