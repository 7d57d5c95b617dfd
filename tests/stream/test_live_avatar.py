"""The avatar follows the camera, over real WebRTC, with an engine that sees brightness alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref

import pytest

from models.engine import Followed
from tests.stream.bar_engine import POISON, BarAvatar, BarEngine, BarFollower, Picture
from tests.stream.conftest import Running, Start
from tests.stream.peers import Caller, Receiver, until


def shown(server: Running) -> float:
    """The brightness of the avatar in the newest picture."""
    avatar = server.engine.rendered[-1].avatar
    assert isinstance(avatar, BarAvatar)
    return avatar.brightness


async def live_call(server: Running, brightness: int = 130) -> tuple[Caller, Receiver]:
    caller = await server.caller(brightness)
    receiver = await server.receiver(await caller.go_live())
    await receiver.watch()
    return caller, receiver


def states(peer: Caller | Receiver) -> list[tuple[str, str]]:
    return [(message["state"], message["code"]) for message in peer.of_type("presence")]


async def test_the_avatar_follows_the_camera_without_a_retake(start: Start) -> None:
    server = await start()
    caller, receiver = await live_call(server, 130)
    assert shown(server) == pytest.approx(130, abs=8)
    for brightness in (200, 150):
        caller.camera.brightness = brightness
        await until(lambda b=brightness: abs(shown(server) - b) < 8, "the avatar to follow")
    assert len(caller.of_type("live")) == 1
    assert states(receiver) == states(caller) == [("live", "ok")]
    open_ones = [avatar for avatar in list(server.engine.avatars) if not avatar.closed]
    assert len(open_ones) <= 3, "those before are given up"


async def test_receivers_are_told_how_well_it_follows(start: Start) -> None:
    server = await start(statistics_interval=0.3)
    caller, receiver = await live_call(server)
    await until(lambda: len(receiver.of_type("stats")) >= 4, "statistics")
    newest = receiver.of_type("stats")[-1]
    assert newest["lift_fps"] > 3 and 0 < newest["lift_ms"] < 500
    figures = (await server.http.get("/metrics")).text
    assert "visavis_relift_seconds_count" in figures
    assert 'visavis_stage_seconds_count{stage="follow"}' in figures
    caller.camera.brightness = 20
    await until(lambda: receiver.of_type("stats")[-1]["lift_fps"] == 0, "the avatar to be held")
    assert 'visavis_frames_held_total{code="no_face"}' in (await server.http.get("/metrics")).text


async def test_the_caller_is_told_how_many_camera_pictures_are_of_use(start: Start) -> None:
    server = await start(live_fps=5.0)
    caller = await server.caller(150)
    await caller.go_live()
    await until(lambda: caller.of_type("camera") == [{"type": "camera", "fps": 10}], "the rate")


async def test_the_last_good_avatar_is_held_while_the_face_is_away(start: Start) -> None:
    server = await start()
    caller, receiver = await live_call(server, 150)
    caller.camera.brightness = 20
    await until(lambda: states(receiver)[-1:] == [("held", "no_face")], "the receiver to be told")
    await until(lambda: states(caller)[-1:] == [("held", "no_face")], "the caller to be told")
    assert caller.of_type("presence")[-1]["reason"] == "Please face the camera."
    assert "left the picture" in receiver.of_type("presence")[-1]["reason"]
    before = receiver.count
    await until(lambda: receiver.count > before + 3, "frames of the avatar that stays")
    assert shown(server) > 90
    late = await server.receiver(receiver.path.removeprefix("/whep/"))
    await late.watch()
    await until(lambda: states(late) == [("held", "no_face")], "one who joins to be told")
    caller.camera.brightness = 200
    for peer in (caller, receiver, late):
        await until(lambda p=peer: states(p)[-1:] == [("live", "ok")], "that it follows again")
    await until(lambda: shown(server) > 190, "the avatar to follow")
    assert len(states(receiver)) == 3, "each change is told once"


async def test_a_camera_that_stops_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.live_avatar.NO_PICTURE_AFTER", 0.2)
    server = await start()
    caller, receiver = await live_call(server)
    caller.connection.getSenders()[0].replaceTrack(None)
    await until(lambda: states(receiver)[-1:] == [("held", "no_picture")], "the receiver")
    await until(lambda: states(caller)[-1:] == [("held", "no_picture")], "the caller")
    caller.connection.getSenders()[0].replaceTrack(caller.camera)
    await until(lambda: states(receiver)[-1:] == [("live", "ok")], "that it follows again")


async def test_an_engine_that_cannot_follow_does_not_end_the_call(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.live_avatar.AFTER_FAILURE", 0.1)
    server = await start()
    caller, receiver = await live_call(server, 130)
    caller.camera.brightness = POISON + 4
    await until(lambda: states(receiver)[-1:] == [("held", "failed")], "the receiver to be told")
    await asyncio.sleep(0.5)
    logged = [r for r in caplog.records if "could not be followed" in r.message]
    assert len(logged) == 1 and logged[0].levelno == logging.ERROR
    caller.camera.brightness = 200
    await until(lambda: abs(shown(server) - 200) < 8, "the avatar to follow again")
    await until(lambda: states(receiver)[-1:] == [("live", "ok")], "that to be told")


async def test_a_follower_that_cannot_be_had_is_asked_for_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.live_avatar.AFTER_FAILURE", 0.1)

    class Late(BarEngine):
        refusals = 3

        def follow(self, avatar: object) -> BarFollower:
            self.refusals -= 1
            if self.refusals >= 0:
                raise RuntimeError("not yet")
            return super().follow(avatar)  # type: ignore[arg-type]

    server = await start(Late())
    caller, _ = await live_call(server, 130)
    caller.camera.brightness = 200
    await until(lambda: abs(shown(server) - 200) < 8, "the avatar to follow")


async def test_a_retake_begins_to_follow_anew(start: Start) -> None:
    server = await start()
    caller, receiver = await live_call(server, 130)
    await until(lambda: server.engine.followers and server.engine.followers[0].updates, "lifts")
    caller.send(type="retake")
    await until(lambda: len(caller.of_type("live")) == 2, "the second avatar")
    await until(lambda: len(server.engine.followers) == 2, "the second follower")
    first, second = server.engine.followers
    await until(lambda: first.closed and second.updates > 2, "the second one to take over")
    updates = first.updates
    caller.camera.brightness = 200
    await until(lambda: abs(shown(server) - 200) < 8, "the avatar to follow")
    assert first.updates == updates and not second.closed
    assert not [m for m in receiver.messages if m["type"] == "error"]


async def test_an_avatar_that_is_built_once_stays(start: Start) -> None:
    server = await start(avatar="once")
    caller, receiver = await live_call(server, 130)
    caller.camera.brightness = 200
    call = server.calls[receiver.path.removeprefix("/whep/")]
    await until(lambda: call.camera.newest.frame.to_ndarray(format="gray").mean() > 190)
    await asyncio.sleep(0.3)
    assert shown(server) == pytest.approx(130, abs=8)
    assert server.engine.followers == [] and len(server.engine.avatars) == 1


async def test_slow_lifts_take_the_newest_frame_and_frames_go_on(start: Start) -> None:
    """Were frames queued, each avatar would be older than the one before."""
    server = await start(BarEngine(follow_seconds=0.25), statistics_interval=0.5)
    caller, receiver = await live_call(server)
    await until(lambda: server.engine.followers[0].updates > 8, "some lifts")
    newest = receiver.of_type("stats")[-1]
    assert 250 < newest["lift_ms"] < 600
    assert newest["lift_fps"] < 4.5 < newest["fps"]


@pytest.mark.parametrize("moment", ["following", "updating"])
async def test_a_call_that_ends_while_it_is_lifted_leaves_nothing(
    start: Start, moment: str
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class SlowFollower(BarFollower):
        def update(self, picture: Picture, time: float) -> Followed:
            if moment == "updating":
                entered.set()
                go_on.wait(20)
            return super().update(picture, time)

    class SlowEngine(BarEngine):
        def follow(self, avatar: object) -> BarFollower:
            if moment == "following":
                entered.set()
                go_on.wait(20)
            follower = SlowFollower(self)
            self.followers.append(follower)
            return follower

    engine = SlowEngine()
    server = await start(engine)
    caller = await server.caller()
    slug = await caller.go_live()
    await until(entered.is_set, "the engine to be asked")
    kept = list(engine.avatars)
    engine.avatars.add = kept.append  # type: ignore[assignment,method-assign]
    call = weakref.ref(server.calls[slug])
    assert (await caller.hang_up()).status_code == 200
    go_on.set()
    await until(lambda: engine.followers and engine.followers[0].closed, "the follower to close")
    assert engine.followers[0].updates <= 1
    await until(lambda: all(a.closed for a in kept), "all avatars to be closed")
    assert len(kept) == 1 + (moment == "updating")

    def gone() -> bool:
        gc.collect()
        return call() is None

    await until(gone, "the call to be collected")
