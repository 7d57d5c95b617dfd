"""A call from end to end, over real WebRTC on loopback."""

from __future__ import annotations

import asyncio
import json

import pytest

from stream.call import Call
from tests.stream.bar_engine import POISON, BarEngine, bar_yaw
from tests.stream.conftest import Start
from tests.stream.peers import Receiver, until


async def shows(receiver: Receiver, yaw: float) -> None:
    await until(lambda: abs(bar_yaw(receiver.luma) - yaw) < 2, f"yaw {yaw}")


async def test_a_receiver_sees_the_viewpoint_it_asks_for(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    assert receiver.luma.shape == (256, 256)
    await shows(receiver, 0)
    receiver.aim(yaw=-30)
    await shows(receiver, -30)
    receiver.aim(yaw=40, pitch=5)
    await shows(receiver, 40)
    receiver.aim(eye=[0, 0, -0.75])
    await shows(receiver, 0)
    assert "H264" in (receiver.response.text if receiver.response else "")


async def test_two_receivers_have_a_view_each(start: Start) -> None:
    server = await start()
    caller = await server.caller()
    call = await caller.go_live()
    one, other = await server.receiver(call), await server.receiver(call)
    await one.watch()
    await other.watch()
    one.aim(yaw=-40)
    other.aim(yaw=40)
    await shows(one, -40)
    await shows(other, 40)
    await shows(one, -40)
    await until(lambda: caller.of_type("receivers")[-1:] == [{"type": "receivers", "count": 2}])
    await one.hang_up()
    await until(lambda: caller.of_type("receivers")[-1:] == [{"type": "receivers", "count": 1}])


async def test_each_frame_tells_which_viewpoint_it_shows(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    for n in range(25):
        receiver.aim(yaw=-45 + 3 * n)
        await asyncio.sleep(0.06)
    await until(lambda: receiver.of_type("frame")[-1]["seq"] == receiver.sequence)
    await asyncio.sleep(0.2)
    # aiortc counts a track's time from its first frame; the origin is what the server adds.
    mapper = receiver.receiver._RTCRtpReceiver__timestamp_mapper
    told = {message["rtp"]: message["seq"] for message in receiver.of_type("frame")}
    matched = 0
    for pts, luma in receiver.frames[1:-2]:
        sequence = told[(pts + mapper._origin) & 0xFFFFFFFF]
        if sequence is not None:
            assert abs(bar_yaw(luma) - (-45 + 3 * (sequence - 1))) < 1.5
            matched += 1
    assert matched >= 5


async def test_a_receiver_that_can_read_it_is_told_of_several_frames_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Receiver, "protocol", "frames")
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    aimed = receiver.aim(yaw=30)

    def told() -> dict[int, int | None]:
        return {rtp: seq for m in receiver.of_type("frames") for rtp, seq in m["frames"]}

    await until(lambda: aimed in told().values(), "the frame that shows it")
    assert not receiver.of_type("frame")
    assert len(told()) >= 4 * len(receiver.of_type("frames"))
    origin = receiver.receiver._RTCRtpReceiver__timestamp_mapper._origin
    shown = [(pts + origin) & 0xFFFFFFFF for pts, luma in receiver.frames if bar_yaw(luma) > 28]
    assert told()[shown[0]] == aimed


async def test_vp8_is_there_for_those_who_have_no_h264(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready(), "video/VP8")
    await receiver.watch()
    assert receiver.response is not None and "H264" not in receiver.response.text
    receiver.aim(yaw=20)
    await shows(receiver, 20)


async def test_the_caller_is_told_what_is_wrong_until_the_picture_is_fit(start: Start) -> None:
    server = await start()
    caller = await server.caller(brightness=20)
    response = await caller.connect()
    call = response.headers["Visavis-Call"]
    await until(lambda: len(caller.of_type("framing")) >= 3, "three looks at the picture")
    assert {message["code"] for message in caller.of_type("framing")} == {"dark"}
    assert caller.of_type("framing")[0]["reason"] == "More light, please."
    state = (await server.http.get(f"/calls/{call}")).json()
    assert state == {"call": call, "state": "waiting", "receivers": 0}
    caller.camera.brightness = 180
    await until(lambda: caller.of_type("live"), "the avatar")
    (live,) = caller.of_type("live")
    room = response.headers["Visavis-Room"]
    assert (live["call"], live["link"]) == (call, f"/c/{call}")
    assert (live["room"], live["room_link"]) == (room, f"/r/{room}")
    assert [message["fit"] for message in caller.of_type("framing")[-2:]] == [True, True]
    assert (await server.http.get(f"/calls/{call}")).json()["state"] == "live"
    assert all(name.startswith("enrol") for name in server.engine.checking_threads)


async def test_a_picture_that_the_engine_refuses_is_told_and_tried_again(start: Start) -> None:
    server = await start()
    caller = await server.caller(brightness=POISON + 4)
    await caller.connect()
    await until(lambda: [m for m in caller.of_type("framing") if m["code"] == "blurred"])
    assert not caller.of_type("live")
    caller.camera.brightness = 180
    await until(lambda: caller.of_type("live"), "the avatar")


async def test_a_retake_replaces_the_avatar_while_receivers_watch(start: Start) -> None:
    server = await start(avatar="once")
    caller = await server.caller(brightness=130)
    receiver = await server.receiver(await caller.go_live())
    await receiver.watch()
    (first,) = server.engine.avatars
    caller.camera.brightness = 200
    (call,) = server.calls.values()
    await until(lambda: _camera_brightness(call) > 190, "the lighter picture to arrive")
    caller.send(type="retake")
    await until(lambda: len(caller.of_type("live")) == 2, "the second avatar")
    await until(lambda: first.closed, "the first avatar to be closed")
    before = receiver.count
    await until(lambda: receiver.count > before + 5, "frames of the second avatar")
    newest = server.engine.rendered[-1].avatar
    assert newest is not first and newest.brightness > first.brightness + 30
    assert [m["code"] for m in receiver.messages if m["type"] == "error"] == []


def _camera_brightness(call: Call) -> float:
    shot = call.camera.newest
    return 0.0 if shot is None else float(shot.frame.to_ndarray(format="gray").mean())


async def test_statistics_and_pings_are_answered(start: Start) -> None:
    server = await start(statistics_interval=0.4)
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    receiver.send(type="ping", t=17.25)
    await until(lambda: receiver.of_type("pong"), "the pong")
    assert receiver.of_type("pong") == [{"type": "pong", "t": 17.25}]
    await until(lambda: len(receiver.of_type("stats")) >= 3, "statistics")
    newest = receiver.of_type("stats")[-1]
    assert newest["refined"] is True and newest["raster_ms"] == 1.0
    assert newest["fps"] > 5 and newest["bitrate"] > 0 and newest["encode_ms"] > 0
    receiver.send(type="refine", on=False)
    await until(lambda: receiver.of_type("stats")[-1]["refined"] is False, "raw frames")
    assert server.engine.rendered[-1].refine is False
    metrics = (await server.http.get("/metrics")).text
    assert "visavis_frames_raw_total" in metrics and "visavis_calls 1.0" in metrics


async def test_wrong_control_messages_are_answered_and_the_call_goes_on(start: Start) -> None:
    server = await start()
    caller = await server.caller()
    receiver = await server.receiver(await caller.go_live())
    await receiver.watch()
    for peer, wrong in ((receiver, '{"type": "retake"}'), (caller, '{"type":"refine","on":true}')):
        for text in ("nonsense", "[]", wrong):
            peer.control.send(text)
        await until(lambda peer=peer: len(peer.of_type("error")) == 3, "three complaints")
    receiver.aim(yaw=25)
    await shows(receiver, 25)


async def test_an_engine_that_fails_now_and_then_does_not_end_the_call(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    server.engine.failures = 3
    await until(lambda: server.engine.failures == 0, "the failures")
    before = receiver.count
    await until(lambda: receiver.count > before + 3, "frames after the failures")
    assert "visavis_render_failures_total 3.0" in (await server.http.get("/metrics")).text
    assert (await server.http.get("/healthz")).json()["status"] == "ok"


async def test_a_slow_engine_sends_raw_frames_rather_than_late_ones(start: Start) -> None:
    budgets = {"frame_budget": 0.2, "rest_budget": 0.2}
    server = await start(BarEngine(seconds=0.4), statistics_interval=0.4, **budgets)
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    await until(lambda: [m for m in receiver.of_type("stats") if not m["refined"]], "raw frames")


@pytest.mark.parametrize("via", ["channel", "socket"])
async def test_what_is_no_viewpoint_is_refused_and_the_call_goes_on(start: Start, via: str) -> None:
    from websockets.asyncio.client import connect

    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    wrong = ["nonsense", '{"seq": 1, "yaw": NaN}', '{"seq": 1, "yaw": "left"}', "[1]", "{" * 2000]
    if via == "channel":
        for text in wrong:
            receiver.viewpoint.send(text)
        await until(lambda: receiver.of_type("error"), "a complaint")
        assert receiver.of_type("error")[0]["code"] == "bad_viewpoint"
        receiver.aim(yaw=1e9)
    else:
        _, _, call, number = receiver.location.split("/")
        url = f"ws://127.0.0.1:{server.port}/calls/{call}/viewpoint?receiver={number}"
        async with connect(url) as socket:
            for text in wrong:
                await socket.send(text)
            error = json.loads(await socket.recv())
            assert (error["type"], error["code"]) == ("error", "bad_viewpoint")
            await socket.send(json.dumps({"seq": 0, "yaw": 1e9}).encode())
            await until(lambda: server.engine.rendered[-1].viewpoint.yaw == 60)
    await until(lambda: server.engine.rendered[-1].viewpoint.yaw == 60, "a clamped yaw")


async def test_a_socket_for_a_receiver_that_is_not_there_is_told_so(start: Start) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    server = await start()
    call = server.ready()
    for path in (f"/calls/{call}/viewpoint?receiver=nobody", "/calls/none/viewpoint"):
        async with connect(f"ws://127.0.0.1:{server.port}{path}") as socket:
            assert json.loads(await socket.recv())["type"] == "error"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4404
