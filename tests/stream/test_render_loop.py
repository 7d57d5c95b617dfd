from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from models.viewpoint import Viewpoint
from stream.avatar_lease import AvatarLease
from stream.metrics import Metrics
from stream.pacer import Pacer
from stream.render_loop import GIVE_WAY, RenderLoop, View
from stream.settings import Settings
from stream.viewpoint_inbox import Aim
from tests.stream.bar_engine import BarAvatar, BarEngine, bar_yaw


class Screen:
    """Takes what a view is given."""

    def __init__(self, engine: BarEngine, fps: float = 30.0) -> None:
        self.shown: list[tuple[int | None, bool]] = []
        self.lease: AvatarLease | None = AvatarLease(BarAvatar(engine, 0.0))  # type: ignore[arg-type]
        self.view = View(lambda: self.lease, self._deliver, Pacer(fps))

    def aim(self, sequence: int) -> None:
        self.view.aims.put(Aim(Viewpoint(), sequence, time.monotonic()))

    def _deliver(self, picture: Any, aim: Aim | None, refined: bool, *_: Any) -> None:
        self.shown.append((aim.sequence if aim is not None else None, refined))


@contextmanager
def rendering(engine: BarEngine, **settings: Any) -> Iterator[RenderLoop]:
    loop = RenderLoop(engine, Settings(**settings), Metrics())  # type: ignore[arg-type]
    loop.start()
    try:
        yield loop
    finally:
        loop.stop()
    assert not loop.alive


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_a_view_is_rendered_at_rest_and_at_a_new_viewpoint() -> None:
    engine = BarEngine()
    screen = Screen(engine)
    with rendering(engine) as loop:
        loop.add(screen.view)
        wait(lambda: len(screen.shown) >= 3)
        assert screen.shown[0] == (None, True)
        screen.aim(7)
        loop.wake()
        wait(lambda: screen.shown[-1][0] == 7)
        loop.remove(screen.view)
        time.sleep(0.1)
        count = len(screen.shown)
        time.sleep(0.1)
        assert len(screen.shown) == count


def test_what_pictures_have_no_room_for_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    engine, metrics = BarEngine(), Metrics()
    screen = Screen(engine)
    loop = RenderLoop(engine, Settings(), metrics)  # type: ignore[arg-type]
    loop.start()
    try:
        loop.add(screen.view)
        wait(lambda: screen.shown)
        assert "visavis_gaussians_left_out_total 0.0" in metrics.text().decode()
        for engine.lost in (70, 100):
            seen = len(screen.shown)
            wait(lambda seen=seen: len(screen.shown) > seen + 1)
    finally:
        loop.stop()
    assert "visavis_gaussians_left_out_total 100.0" in metrics.text().decode()
    assert [record.message for record in caplog.records] == [
        "Avatars need more room than there is; their backs are not drawn."
    ]


def test_views_that_fall_due_together_are_rendered_together() -> None:
    engine = BarEngine()
    screens = [Screen(engine) for _ in range(5)]
    with rendering(engine, render_threads=1, max_batch=3) as loop:
        with loop._changed:  # let none begin before all are there
            for screen in screens:
                loop._views.append(screen.view)
            loop._changed.notify()
        wait(lambda: all(screen.shown for screen in screens))
    # On a busy machine a view of the first batch may fall due again before the second begins.
    assert engine.batches[0] == 3 and engine.batches[1] in (2, 3)


def test_an_engine_that_renders_together_is_asked_for_all_at_once_by_one_thread() -> None:
    class Watched(BarEngine):
        inside = most_inside = 0

        def render(self, requests):  # type: ignore[no-untyped-def]
            with self._lock:
                self.inside += 1
                self.most_inside = max(self.most_inside, self.inside)
            try:
                return super().render(requests)
            finally:
                with self._lock:
                    self.inside -= 1

    engine = Watched(seconds=0.01, batch=32)
    screens = [Screen(engine) for _ in range(12)]
    with rendering(engine, render_threads=3) as loop:
        with loop._changed:
            for screen in screens:
                loop._views.append(screen.view)
            loop._changed.notify_all()
        wait(lambda: all(len(screen.shown) > 5 for screen in screens))
    assert engine.batches[0] == 12
    assert engine.most_inside == 1


def test_the_next_batch_is_rendered_while_the_last_is_delivered() -> None:
    engine = BarEngine(batch=32)
    slow, quick = Screen(engine), Screen(engine)
    holding = threading.Event()
    deliver = slow.view.deliver

    def held_up(*picture: Any) -> None:
        holding.set()
        wait(lambda: quick.shown)
        deliver(*picture)

    slow.view.deliver = held_up
    with rendering(engine, render_threads=2) as loop:
        loop.add(slow.view)
        wait(holding.is_set)
        loop.add(quick.view)
        wait(lambda: slow.shown)


def test_an_engine_that_fails_is_given_back() -> None:
    engine = BarEngine(batch=32)
    engine.failures = 2
    screen = Screen(engine)
    with rendering(engine, render_threads=2) as loop:
        loop.add(screen.view)
        wait(lambda: len(screen.shown) > 2)
        screen.lease = None
        time.sleep(0.1)
        screen.lease = AvatarLease(BarAvatar(engine, 0.0))  # type: ignore[arg-type]
        count = len(screen.shown)
        wait(lambda: len(screen.shown) > count)


@pytest.mark.parametrize("batch", [1, 32])
def test_a_far_too_slow_engine_gives_up_refining_then_the_rate_then_the_size(batch: int) -> None:
    engine = BarEngine(seconds=0.4, batch=batch)
    screen = Screen(engine)
    with rendering(engine, frame_budget=0.01, rest_budget=0.01) as loop:
        loop.add(screen.view)
        wait(lambda: any(request.coarse for request in list(engine.rendered)))
        wait(lambda: screen.view.pacer.slowness == 2)
    kinds = [(request.refine, request.coarse) for request in engine.rendered]
    assert kinds.index((True, False)) < kinds.index((False, False)) < kinds.index((False, True))


def test_frames_give_way_to_lifting_and_come_back() -> None:
    engine = BarEngine()
    screen = Screen(engine)
    with rendering(engine) as loop:
        loop.add(screen.view)
        loop.give_way("one", True)
        loop.give_way("two", True)
        wait(lambda: screen.view.pacer.slowness == GIVE_WAY)
        loop.give_way("one", False)
        count = len(screen.shown)
        wait(lambda: len(screen.shown) > count + 2)
        assert screen.view.pacer.slowness == GIVE_WAY
        loop.give_way("two", False)
        wait(lambda: screen.view.pacer.slowness == 1)


def test_a_picture_that_was_overtaken_is_dropped() -> None:
    first_may_go = threading.Event()

    class Stumbling(BarEngine):
        def render(self, requests):  # type: ignore[no-untyped-def]
            if not self.batches:
                self.batches.append(0)
                first_may_go.wait(20)
            return super().render(requests)

    engine = Stumbling()
    screen = Screen(engine)
    screen.aim(1)
    with rendering(engine, render_threads=2) as loop:
        loop.add(screen.view)
        wait(lambda: engine.batches)
        screen.aim(2)
        loop.wake()
        wait(lambda: screen.shown)
        first_may_go.set()
        screen.aim(3)
        loop.wake()
        wait(lambda: screen.shown[-1][0] == 3)
    numbers = [number for number, _ in screen.shown]
    assert numbers == sorted(numbers) and 1 not in numbers


def test_a_view_without_an_avatar_waits_for_one() -> None:
    engine = BarEngine()
    screen = Screen(engine)
    lease, screen.lease = screen.lease, None
    with rendering(engine) as loop:
        loop.add(screen.view)
        time.sleep(0.1)
        assert not screen.shown
        screen.lease = lease
        wait(lambda: screen.shown)


def test_a_retired_avatar_is_not_closed_under_the_renderer() -> None:
    """BarEngine asserts that no closed avatar is drawn."""
    engine = BarEngine(seconds=0.01)
    screen = Screen(engine)
    with rendering(engine) as loop:
        loop.add(screen.view)
        for _ in range(10):
            count = len(screen.shown)
            wait(lambda count=count: len(screen.shown) > count)
            old, screen.lease = screen.lease, AvatarLease(BarAvatar(engine, 0.0))  # type: ignore[arg-type]
            assert old is not None
            old.retire()
            wait(lambda old=old: old.closed)
    failures = loop._metrics.render_failures.collect()[0].samples[0].value
    assert failures == 0


class Audience:
    """Receivers of one call, whose avatar can be replaced."""

    def __init__(self, engine: BarEngine, count: int) -> None:
        self.engine = engine
        self.lease = AvatarLease(BarAvatar(engine, 0.0))  # type: ignore[arg-type]
        self.pictures: list[list[tuple[int, float]]] = [[] for _ in range(count)]
        self.views = [
            View(lambda: self.lease, functools.partial(self._deliver, number), Pacer(30.0))
            for number in range(count)
        ]
        self._alive: list[Any] = []

    def _deliver(self, number: int, picture: Any, *_: Any) -> None:
        self._alive.append(picture)  # so that an identity is not used twice
        self.pictures[number].append((id(picture), bar_yaw(picture[: self.engine.size])))

    def replace_avatar(self) -> None:
        old, self.lease = self.lease, AvatarLease(BarAvatar(self.engine, 0.0))  # type: ignore[arg-type]
        old.retire()

    @property
    def fewest(self) -> int:
        return min(len(pictures) for pictures in self.pictures)


@pytest.mark.parametrize("batch", [1, 32])
def test_receivers_who_rest_at_one_viewpoint_share_pictures_and_one_who_moves_has_its_own(
    batch: int,
) -> None:
    engine = BarEngine(64, batch=batch)
    audience = Audience(engine, 4)
    with rendering(engine) as loop:
        for view in audience.views:
            loop.add(view)
            time.sleep(0.013)  # they join out of step
        end = time.monotonic() + 1.5
        while time.monotonic() < end:  # the person moves all the time
            audience.replace_avatar()
            loop.wake()
            time.sleep(1 / 20)
        began, renders = [len(p) for p in audience.pictures], sum(engine.batches)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            audience.replace_avatar()
            loop.wake()
            time.sleep(1 / 20)
        shown = [pictures[at:] for pictures, at in zip(audience.pictures, began, strict=True)]
        renders = sum(engine.batches) - renders
        assert min(map(len, shown)) > 10
        # Nearly every picture is for all four; the machine may be busy for a while.
        assert renders < 1.4 * max(map(len, shown))
        everybody = set.intersection(*({key for key, _ in pictures} for pictures in shown))
        assert len(everybody) > 0.6 * len(shown[0])

        mover, others = audience.views[0], audience.pictures[1:]
        seen = [len(pictures) for pictures in others]
        mover.aims.put(Aim(Viewpoint(yaw=30), 1, time.monotonic()))
        loop.wake()
        wait(lambda: abs(audience.pictures[0][-1][1] - 30) < 2)
        audience.replace_avatar()
        loop.wake()
        wait(lambda: all(len(p) > at + 3 for p, at in zip(others, seen, strict=True)))
        assert all(abs(yaw) < 2 for pictures in others for _, yaw in pictures[5:])
        alone = {key for key, yaw in audience.pictures[0] if yaw > 20}
        assert alone and not alone & {key for pictures in others for key, _ in pictures}
        mover.aims.put(Aim(Viewpoint(), 2, time.monotonic()))
        loop.wake()
        count = len(audience.pictures[0])
        wait(lambda: len(audience.pictures[0]) > count + 40)
    assert audience.pictures[0][-1][0] in {key for key, _ in others[0][-30:]}


def test_who_wants_raw_pictures_is_not_given_those_of_others() -> None:
    engine = BarEngine(64)
    audience = Audience(engine, 2)
    audience.views[1].refine = False
    with rendering(engine) as loop:
        for view in audience.views:
            loop.add(view)
        wait(lambda: audience.fewest > 5)
    refined, raw = ({key for key, _ in pictures} for pictures in audience.pictures)
    assert not refined & raw


def test_a_new_state_of_the_person_is_rendered_soon_for_a_view_that_rests() -> None:
    engine = BarEngine(64)
    audience = Audience(engine, 1)
    with rendering(engine, fps=5.0) as loop:
        audience.views[0].pacer.fps = 5.0
        loop.add(audience.views[0])
        wait(lambda: audience.fewest > 8)  # by now it is sent every 0.6 s
        waits = []
        for _ in range(5):
            count, begun = audience.fewest, time.monotonic()
            audience.replace_avatar()
            loop.wake()
            wait(lambda count=count: audience.fewest > count)
            waits.append(time.monotonic() - begun)
            time.sleep(0.25)
    assert sorted(waits)[2] < 0.15


def test_raw_frames_for_those_who_want_them() -> None:
    engine = BarEngine()
    raw, refined = Screen(engine), Screen(engine)
    raw.view.refine = False
    with rendering(engine) as loop:
        loop.add(raw.view)
        loop.add(refined.view)
        wait(lambda: len(raw.shown) > 3 and len(refined.shown) > 3)
    assert not any(was for _, was in raw.shown)
    assert all(was for _, was in refined.shown)


def test_a_slow_engine_refines_when_the_view_rests() -> None:
    engine = BarEngine(seconds=0.15)
    screen = Screen(engine)
    moving = threading.Event()

    def move() -> None:
        number = 0
        while not moving.is_set():
            number += 1
            screen.aim(number)
            loop.wake()
            moving.wait(1 / 60)

    # Budgets are wide apart, so that a busy machine does not blur the difference.
    with rendering(engine, frame_budget=0.1, rest_budget=30.0) as loop:
        hand = threading.Thread(target=move)
        hand.start()
        loop.add(screen.view)
        wait(lambda: [number for number, refined in screen.shown if number and not refined])
        moving.set()
        hand.join()
        last = screen.view.started
        wait(lambda: screen.view.delivered > last + 5 and screen.shown[-1][1])
        assert not loop.refining, "it would still be too slow for a view that moves"


def test_a_person_who_moves_is_sent_in_time_though_the_view_rests() -> None:
    engine = BarEngine(64, seconds=0.15)
    audience = Audience(engine, 1)
    still = threading.Event()

    def live() -> None:
        while not still.is_set():
            audience.replace_avatar()
            loop.wake()
            still.wait(1 / 20)

    with rendering(engine, frame_budget=0.1, rest_budget=30.0) as loop:
        person = threading.Thread(target=live)
        person.start()
        loop.add(audience.views[0])
        wait(lambda: not loop.refining)
        still.set()
        person.join()


def test_pictures_have_the_size_of_the_engine() -> None:
    engine = BarEngine(512)
    pictures: list[np.ndarray[Any, Any]] = []
    screen = Screen(engine)
    screen.view.deliver = lambda picture, *_: pictures.append(picture)
    with rendering(engine) as loop:
        loop.add(screen.view)
        wait(lambda: pictures)
    assert pictures[0].shape == (768, 512)
