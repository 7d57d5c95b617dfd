"""Who is let in: the decision by itself, and over HTTP with an engine whose times are known."""

from __future__ import annotations

import asyncio
import functools
import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from models.engine import RenderRequest
from stream import app
from stream.admission import CAMERA_RATE, COMFORT, Admission
from stream.gpu_load import Gpu, GpuLoad
from stream.gpu_watch import GpuWatch
from stream.settings import Settings
from tests.stream.bar_engine import BarEngine, Picture
from tests.stream.conftest import Running, Start
from tests.stream.fake_nvml import Device, FakeNvml
from tests.stream.peers import SDP, until

BUDGET = 0.050
MEGA = 1024**2


def admission(**settings: Any) -> Admission:
    return Admission(Settings(frame_budget=BUDGET, **settings))


# ---- the decision ----


def test_pictures_for_all_must_fit_the_budget() -> None:
    assert admission().has_time(4, 0.0099)
    assert not admission().has_time(4, 0.0101)
    assert admission().has_time(1000, None), "what is not known refuses nobody"
    assert admission().used(4, 0.01) == pytest.approx(0.8)
    assert admission().used(4, None) is None


def test_it_can_be_turned_off() -> None:
    off = admission(admission="off")
    assert off.has_time(1000, 1.0)
    assert off.has_memory(GpuLoad((gpu(free=0),)))
    assert admission(admission="refined").refined and not admission().refined


def test_the_answer_does_not_change_with_every_measurement() -> None:
    noise = random.Random(1)
    decision = admission()
    answers = [decision.has_time(4, 0.01 * noise.uniform(0.85, 1.15)) for _ in range(1000)]
    first_no = answers.index(False)
    assert not any(answers[first_no:])
    assert decision.has_time(4, 0.99 * COMFORT * 0.01), "there is room indeed"
    assert decision.has_time(4, 0.0099), "and is as good as before"


def test_somebody_who_leaves_makes_room_for_another() -> None:
    decision = admission()
    assert not decision.has_time(10, BUDGET / 10.5)
    assert decision.has_time(9, BUDGET / 10.5)
    assert not decision.has_time(10, BUDGET / 11.5), "ten were too many before"


def gpu(free: int, own: int | None = 5) -> Gpu:
    return Gpu(0, "x", memory_used=10**10 - free, memory_total=10**10, own_memory=own)


def test_an_avatar_must_fit_into_memory() -> None:
    decision = admission(min_gpu_memory=100)
    assert decision.has_memory(GpuLoad((gpu(100),)))
    assert not decision.has_memory(GpuLoad((gpu(99),)))
    assert not decision.has_memory(GpuLoad((gpu(500), gpu(99))))
    assert decision.has_memory(GpuLoad((gpu(500), gpu(99, own=None)))), "somebody else's GPU"
    assert decision.has_memory(GpuLoad((Gpu(0, "x", own_memory=5),))), "it does not tell"
    assert decision.has_memory(GpuLoad(reason="no driver"))


def test_all_faces_must_be_followed() -> None:
    decision = admission()
    seconds = 1 / (CAMERA_RATE * 3)  # a thread follows three
    assert decision.has_lift_time(2, seconds, 1) and not decision.has_lift_time(3, seconds, 1)
    assert decision.has_lift_time(5, seconds, 2) and not decision.has_lift_time(6, seconds, 2)
    assert decision.has_lift_time(1, 10.0, 1), "a conversation has two sides"
    assert not decision.has_lift_time(2, 10.0, 1)
    assert decision.has_lift_time(100, None, 1), "what is not known refuses nobody"
    assert decision.lifting(3, seconds, 1) == pytest.approx(1.0)


def test_faces_that_are_not_followed_cost_nothing() -> None:
    assert admission(avatar="once").has_lift_time(100, 1.0, 1)
    assert admission(admission="off").has_lift_time(100, 1.0, 1)


# ---- over HTTP ----


class Weighed(BarEngine):
    """Renders one picture after the other, each in known times.

    Args:
        raw: seconds of a raw picture.
        refine: seconds more of a refined one.
    """

    def __init__(self, raw: float, refine: float = 0.0) -> None:
        super().__init__()
        self.raw, self.refine = raw, refine
        self._one = threading.Lock()

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        with self._one:
            refined = sum(request.refine for request in requests)
            time.sleep(self.raw * len(requests) + self.refine * refined)
        return super().render(requests)

    def stage_times(self) -> dict[str, float]:
        return {"rasterise": self.raw * 1e3, "refine": self.refine * 1e3, "i420": 0.0}


async def measured(server: Running) -> None:
    await until(lambda: server.app.state.switchboard.budget_used is not None, "a measured time")
    await asyncio.sleep(0.7)  # just enough is soon too little again: a resting view costs little


async def ask_to_join(server: Running, call: str) -> httpx.Response:
    receiver = await server.receiver(call)
    return await server.http.post(receiver.path, content=await receiver.offer(), headers=SDP)


async def sample(server: Running, name: str) -> float:
    """A figure of /metrics; 0 if it is not there."""
    lines = (await server.http.get("/metrics")).text.splitlines()
    return next((float(x.split()[-1]) for x in lines if x.startswith(f"{name} ")), 0.0)


def assert_busy(response: httpx.Response, words: str) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert int(response.headers["Retry-After"]) > 0
    assert response.json()["title"] == "The server is busy" and words in response.json()["detail"]


async def test_a_receiver_for_whom_there_is_no_time(start: Start) -> None:
    engine = Weighed(raw=0.2)
    server = await start(engine, frame_budget=BUDGET)
    call, other = server.ready(), server.ready()
    await (await server.receiver(call)).watch()
    await measured(server)
    for number in (1, 2):
        assert_busy(await ask_to_join(server, call), "no time to draw for one more person")
        assert await sample(server, 'visavis_refused_total{reason="time"}') == number
    assert len(server.calls[call].receivers) == 1
    assert (await server.http.get("/healthz")).json()["budget_used"] > 0.2 / BUDGET
    assert await sample(server, "visavis_frame_budget_used_ratio") > 0.2 / BUDGET
    # A call that nobody can see is none: its first receiver is let in whatever the others take.
    assert (await ask_to_join(server, other)).status_code == 201
    assert_busy(await ask_to_join(server, other), "no time")
    engine.raw = 0.0005
    await until(lambda: (server.app.state.switchboard.budget_used or 0) < 0.2, "a faster engine")
    assert (await ask_to_join(server, call)).status_code == 201


@pytest.mark.parametrize(("admission", "status"), [("raw", 201), ("refined", 503), ("off", 201)])
async def test_what_must_fit_is_a_setting(start: Start, admission: str, status: int) -> None:
    """Refined pictures for two do not fit, raw ones do many times over."""
    server = await start(Weighed(raw=0.0005, refine=0.1), frame_budget=BUDGET, admission=admission)
    call = server.ready()
    await (await server.receiver(call)).watch()
    await measured(server)
    assert (await ask_to_join(server, call)).status_code == status


async def test_receivers_of_all_calls_count(start: Start) -> None:
    server = await start(Weighed(raw=0.022), frame_budget=BUDGET)  # there is room for two
    call, other = server.ready(), server.ready()
    await (await server.receiver(call)).watch()
    await measured(server)
    assert (await ask_to_join(server, other)).status_code == 201
    assert_busy(await ask_to_join(server, other), "no time")


async def test_a_camera_for_which_there_is_no_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "lifting_threads", lambda: 1)
    server = await start(BarEngine(follow_seconds=0.1))  # one face can be followed, not two
    caller = await server.caller()
    call = await caller.go_live()
    await (await server.receiver(call)).watch()
    lift_time = server.app.state.switchboard._services.lift_time
    await until(lambda: lift_time.seconds(time.monotonic()) is not None, "a measured time")
    room = caller.of_type("live")[0]["room"]
    second = await server.caller(room=room)
    await second.connect()
    for path in ("/whip", f"/whip?room={room}"):
        other = await server.caller()
        response = await server.http.post(path, content=await other.offer(), headers=SDP)
        assert_busy(response, "no time to follow one more face")
    assert len((await server.http.get(f"/rooms/{room}")).json()["members"]) == 2
    assert (await ask_to_join(server, call)).status_code == 201, "watching costs no lifts"


async def test_memory_of_the_gpu_that_renders(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(used=0, total=1000 * MEGA)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(device))  # type: ignore[arg-type]
    monkeypatch.setattr(app, "GpuWatch", functools.partial(GpuWatch, 0.02, 0.05))
    server = await start(min_gpu_memory=100 * MEGA)
    call, other = server.ready(), server.ready()
    gpus = server.app.state.gpus
    await until(lambda: gpus.load().available, "the GPU")
    assert (await ask_to_join(server, call)).status_code == 201
    device.used = 901 * MEGA
    await until(lambda: gpus.load().gpus[0].memory_used == device.used, "the memory to fill")
    assert_busy(await ask_to_join(server, call), "graphics memory is full")
    caller = await server.caller()
    response = await server.http.post("/whip", content=await caller.offer(), headers=SDP)
    assert_busy(response, "graphics memory is full")
    assert await sample(server, 'visavis_refused_total{reason="memory"}') == 2
    assert (await ask_to_join(server, other)).status_code == 201, "the first of its call"
    device.used = 900 * MEGA
    await until(lambda: gpus.load().gpus[0].memory_used == device.used, "memory to be freed")
    assert (await ask_to_join(server, call)).status_code == 201
