"""A call from end to end, over real WebRTC on loopback."""

from __future__ import annotations

from tests.stream.bar_engine import bar_yaw
from tests.stream.conftest import Start
from tests.stream.peers import until


async def test_receiver_sees_the_viewpoint_it_asks_for(start: Start) -> None:
    server = await start()
    caller = await server.caller()
    call = await caller.go_live()
    receiver = await server.receiver(call)
    await receiver.watch()
    assert receiver.luma.shape == (256, 256)
    assert abs(bar_yaw(receiver.luma)) < 2
    for yaw in (-30.0, 40.0):
        receiver.aim(yaw=yaw)
        await until(lambda yaw=yaw: abs(bar_yaw(receiver.luma) - yaw) < 2, f"yaw {yaw}")
