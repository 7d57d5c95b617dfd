"""Ten thousand viewpoints a second: thinned, the newest wins, the call goes on."""

from __future__ import annotations

import asyncio
import json
import time

from websockets.asyncio.client import connect

from tests.stream.bar_engine import bar_yaw
from tests.stream.conftest import Start
from tests.stream.peers import until

FLOOD = 10_000
BURST = 100


async def test_ten_thousand_messages_over_a_socket(start: Start) -> None:
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    _, _, call, number = receiver.location.split("/")
    url = f"ws://127.0.0.1:{server.port}/calls/{call}/viewpoint?receiver={number}"
    rendered = len(server.engine.batches)
    began = time.monotonic()
    async with connect(url, compression=None) as socket:
        for sequence in range(FLOOD):
            # One in ten is wrong, and the numbers of another are stale.
            yaw = float("nan") if sequence % 10 == 3 else 40 * (-1) ** sequence
            stale = sequence % 10 == 7
            text = json.dumps({"seq": 0 if stale else sequence, "yaw": yaw})
            await socket.send(text)
            if sequence % BURST == BURST - 1:
                await asyncio.sleep(BURST / FLOOD)
        await socket.send(json.dumps({"seq": FLOOD, "yaw": 25}))
        await until(lambda: abs(bar_yaw(receiver.luma) - 25) < 2, "the last viewpoint")
        seconds = time.monotonic() - began
        complaints = 0
        while True:
            try:
                async with asyncio.timeout(0.2):
                    complaints += json.loads(await socket.recv())["type"] == "error"
            except TimeoutError:
                break
    assert 1 <= complaints <= 2 * seconds + 2
    # Thinned: no more pictures than the frame rate allows, for however long it took.
    assert len(server.engine.batches) - rendered <= seconds * 15 * 1.4 + 5
    metrics = (await server.http.get("/metrics")).text
    assert f'visavis_viewpoints_total{{result="refused"}} {FLOOD / 10}' in metrics
    assert f'visavis_viewpoints_total{{result="stale"}} {FLOOD / 10}' in metrics


async def test_a_flood_over_the_data_channel(start: Start) -> None:
    """A twentieth of a second of it: aiortc's sending side takes seconds to send that."""
    server = await start()
    receiver = await server.receiver(server.ready())
    await receiver.watch()
    before = receiver.count
    for _ in range(5):
        for _ in range(BURST):
            receiver.aim(yaw=-40)
        await asyncio.sleep(BURST / FLOOD)

    def last_is_shown() -> bool:
        receiver.aim(yaw=25)  # the channel is unreliable: sent again and again, as a page does
        return abs(bar_yaw(receiver.luma) - 25) < 2

    await until(last_is_shown, "the last viewpoint")
    assert receiver.count > before
    assert receiver.connection.connectionState == "connected"
