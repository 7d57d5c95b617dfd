"""Calls that a Python program opens, at a server on loopback that looks at brightness alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from models.viewpoint import Viewpoint
from stream import client_caller
from stream.client import (
    AvatarError,
    ConnectionLost,
    JoinError,
    SourceError,
    Told,
    call,
    join,
)
from stream.client_http import read_room
from stream.messages import Member
from tests.stream.bar_engine import bar_yaw
from tests.stream.conftest import Start
from tests.stream.own_calls import FIT, UNFIT, opened, url, wall
from tests.stream.peers import PATIENCE, Camera, until


async def test_pictures_become_an_avatar_that_others_see(start: Start) -> None:
    server = await start()
    async with opened(server, lambda: wall(FIT)) as own:
        await own.ready(PATIENCE)
        assert list(server.calls) == [own.call]
        assert (own.told.state, own.told.code) == ("live", "ok")
        assert own.link == f"{url(server)}/c/{own.call}"
        assert own.room_link == f"{url(server)}/r/{own.room}"
        await until(lambda: own.told.members == (Member(own.call, "live"),), "the seat")
        async with join(own.link) as view:
            frame = await view.snapshot(Viewpoint(yaw=25.0))
            yaw = bar_yaw(frame.rgb.mean(axis=2).astype(np.uint8))
            assert yaw == pytest.approx(25.0, abs=2.0)
            await until(lambda: own.told.receivers == 1, "the receiver")
        await until(lambda: own.told.receivers == 0, "the receiver's leaving")
        await until(lambda: own.round_trip is not None, "the answer to a ping")
    assert not server.calls
    await own.close()
    assert [told.state async for told in own.changes()] == [own.told.state]


async def test_the_server_says_what_is_wrong_and_what_is_right(start: Start) -> None:
    server = await start()
    brightness = UNFIT
    states: list[Told] = []
    async with opened(server, lambda: wall(brightness)) as own:

        async def listen() -> None:
            async for told in own.changes():
                states.append(told)

        listening = asyncio.create_task(listen())
        await until(lambda: own.told.words == "More light, please.", "what is wrong")
        with pytest.raises(AvatarError, match=r"no avatar after 0.1 s. More light, please.$"):
            await own.ready(0.1)
        brightness = FIT
        await own.ready(PATIENCE)
        await until(lambda: own.told.fps is not None, "the rate that is of use")
        brightness = UNFIT
        await until(lambda: own.told.state == "held", "the loss of the face")
        assert (own.told.code, own.told.words) == ("no_face", "Please face the camera.")
        brightness = FIT
        await until(lambda: own.told.state == "live", "the face again")
    await listening
    assert all(a != b for a, b in itertools.pairwise(states))
    order = [state for state, _ in itertools.groupby(told.state for told in states)]
    assert order == ["framing", "live", "held", "live"]
    assert Told("framing", "dark", "More light, please.") in [
        Told(told.state, told.code, told.words) for told in states
    ]


class Counted:
    """Pictures that are made when they are asked for; the last one's brightness is their number."""

    def __init__(self, many: int = 10**9) -> None:
        self.asked = 0
        self.closed = False
        self._many = many

    async def pictures(self) -> AsyncIterator[np.ndarray]:
        try:
            while self.asked < self._many:
                self.asked += 1
                yield wall(FIT)
        finally:
            self.closed = True


async def test_no_more_pictures_are_asked_for_than_are_due(start: Start) -> None:
    server = await start()
    counted = Counted()
    async with opened(server, counted.pictures(), fps=5) as own:
        begun = time.monotonic()
        await until(lambda: server.calls[own.call].camera.count >= 5, "pictures")
        assert counted.asked <= 5 * (time.monotonic() - begun) + 5
    assert counted.closed


async def test_the_servers_wish_for_fewer_pictures_is_followed(start: Start) -> None:
    server = await start(live_fps=2.0)
    async with opened(server, lambda: wall(FIT)) as own:
        await own.ready(PATIENCE)
        await until(lambda: own.told.fps is not None, "the wish")
        assert own._camera.rate == own.told.fps <= 15


async def test_the_end_of_the_pictures_is_no_end_of_the_call(start: Start) -> None:
    server = await start()
    counted = Counted(many=20)
    async with opened(server, counted.pictures()) as own:
        await own.sent()
        assert counted.asked == 20 and counted.closed
        await own.ready(PATIENCE)
        assert own.ended is None and own.call in server.calls
    frames = iter([wall(FIT)] * 3)
    async with opened(server, lambda: next(frames)) as own:
        await own.sent()
        assert own.ended is None


async def test_a_track_of_a_camera_ends_as_it_does(start: Start) -> None:
    server = await start()
    camera = Camera(FIT)
    async with opened(server, camera) as own:
        await own.ready(PATIENCE)
    assert camera.readyState == "ended"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (np.zeros((120, 160), np.uint8), r"RGB, uint8, \[H, W, 3\].* not uint8, \[120, 160\]"),
        (np.zeros((120, 160, 3), np.float32), r"not float32, \[120, 160, 3\]"),
        (np.zeros((8, 160, 3), np.uint8), "sides of 16 pixels at least"),
        ("a picture", "not a value of type str"),
    ],
)
async def test_what_is_no_picture_is_said_in_one_line(
    start: Start, given: object, why: str
) -> None:
    server = await start()
    with pytest.raises(SourceError, match=why):
        async with opened(server, lambda: given) as own:
            async for _ in own.changes():
                pass
    assert not server.calls


async def test_what_pictures_raise_comes_out(start: Start) -> None:
    server = await start()

    async def broken() -> AsyncIterator[np.ndarray]:
        yield wall(UNFIT)
        raise ZeroDivisionError

    for method in ("ready", "sent", "nothing"):
        with pytest.raises(ZeroDivisionError):
            async with opened(server, broken()) as own:
                if method == "ready":
                    await own.ready(PATIENCE)
                elif method == "sent":
                    await own.sent()
                else:
                    await until(lambda own=own: own._camera.source.over, "the failure")
        assert not server.calls


async def test_hanging_up_frees_the_call_even_after_an_error(start: Start) -> None:
    server = await start()
    counted = Counted()
    with pytest.raises(ZeroDivisionError):
        async with opened(server, counted.pictures()):
            assert len(server.calls) == 1
            raise ZeroDivisionError
    assert not server.calls and counted.closed


async def test_cancelling_a_program_frees_its_call(start: Start) -> None:
    server = await start()

    async def program() -> None:
        async with opened(server, lambda: wall(FIT)):
            await asyncio.Event().wait()

    task = asyncio.create_task(program())
    await until(lambda: server.calls, "the call")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not server.calls


async def test_the_servers_end_of_the_call_is_told(start: Start) -> None:
    server = await start()
    async with opened(server, lambda: wall(UNFIT)) as own:
        ending = asyncio.create_task(server.calls[own.call].end("The server is shutting down."))
        states = [told.state async for told in own.changes()]
        assert states[-1] == "ended"
        assert own.ended == "The server is shutting down."
        await own.sent()
        with pytest.raises(ConnectionLost, match="The server is shutting down"):
            await own.ready(PATIENCE)
        await ending


async def test_a_connection_that_breaks_is_an_error(start: Start) -> None:
    server = await start()
    async with opened(server, lambda: wall(FIT)) as own:
        caller = server.calls[own.call].caller
        assert caller is not None
        closing = asyncio.create_task(caller.connection.close())
        with pytest.raises(ConnectionLost, match="was lost"):
            async for _ in own.changes():
                pass
        await closing
    assert not server.calls  # though the server waits for a caller who was lost


async def refusal(server: str, **options: object) -> JoinError:
    with pytest.raises(JoinError) as caught:
        async with asyncio.timeout(PATIENCE):
            async with call(server, lambda: wall(FIT), **options):  # type: ignore[arg-type]
                pass
    assert "\n" not in caught.value.reason and caught.value.reason.endswith(".")
    return caught.value


async def test_callers_sit_down_in_a_room(start: Start) -> None:
    server = await start(room_size=2)
    async with opened(server, lambda: wall(FIT)) as first:
        async with asyncio.timeout(PATIENCE):
            async with call(first.room_link, lambda: wall(FIT)) as second:
                assert second.room == first.room and second.call != first.call
                await until(lambda: len(first.told.members) == 2, "the other")
                error = await refusal(first.room_link, wait=5.0)
                assert (error.code, error.retry_after) == ("full", 30.0)
        await until(lambda: len(first.told.members) == 1, "the other's leaving")
    error = await refusal(first.room_link)
    assert error.code == "unknown_room" and "There is no such room" in error.reason


async def test_addresses_that_no_call_can_be_opened_at() -> None:
    for address in ("localhost:8080", "http://x/c/demo", "http://x/r/", "http://me:secret@x"):
        error = await refusal(address)
        assert error.code == "bad_address" and "secret" not in error.reason
    assert (await refusal("http://127.0.0.1:1")).code == "no_server"
    address, room = read_room("https://v.example/calls/r/a%20b/")
    assert (address.url, room) == ("https://v.example/calls", "a b")
    assert read_room("https://v.example/calls/")[1] is None


async def test_no_way_for_media_is_said(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_caller, "MEDIA_TIMEOUT", 0.0)
    server = await start()
    error = await refusal(url(server))
    assert error.code == "no_connection" and "UDP" in error.reason
    assert not server.calls
