from __future__ import annotations

import asyncio
import contextvars
import time

import pytest
from aiortc import RTCDtlsTransport
from hypothesis import given
from hypothesis import strategies as st

from stream.packet_pacer import AT_ONCE, MOST, PACKET, PacketPacer
from stream.patches import packet_pacing

FPS = 30.0
RATE = 1_500_000


def departures(packets: int, octets: int, rate: float, late: float = 0.0) -> list[float]:
    """When each packet of one frame leaves, if timers fire `late`."""
    pacer = PacketPacer(FPS)
    pacer.frame(packets, octets, rate)
    now, times = 10.0, []
    for _ in range(packets):
        wait = pacer.wait(now)
        now += wait + (late if wait else 0.0)
        times.append(now - 10.0)
    return times


@pytest.mark.parametrize("packets", range(1, 8))
def test_a_frame_of_the_usual_size_leaves_at_once(packets: int) -> None:
    assert departures(packets, packets * PACKET, RATE)[-1] == 0.0


def test_a_key_frame_is_spread() -> None:
    times = departures(15, 15 * PACKET, RATE)
    assert 0.010 < times[-1] <= MOST / FPS + 1e-9
    assert sum(time == 0.0 for time in times) <= 8
    gaps = [b - a for a, b in zip(times, times[1:], strict=False) if b > a]
    assert max(gaps) < 0.004


def test_a_fast_path_is_given_its_key_frames_sooner() -> None:
    # 10 Mbit/s: a frame of 20 packets is a usual one
    assert departures(20, 20 * PACKET, 10e6)[-1] == 0.0
    assert departures(60, 60 * PACKET, 10e6)[-1] <= MOST / FPS


def test_late_timers_are_made_up_for() -> None:
    assert departures(15, 15 * PACKET, RATE, late=0.002)[-1] <= MOST / FPS + 0.003


@given(st.integers(1, 200), st.floats(1e4, 5e7), st.floats(0, 0.003))
def test_no_frame_is_held_up_for_more_than_half_the_time_to_the_next(
    packets: int, rate: float, late: float
) -> None:
    times = departures(packets, packets * PACKET, rate, late)
    assert times == sorted(times)
    assert times[-1] <= MOST / FPS + late + 1e-9
    assert all(time == 0.0 for time in times[:AT_ONCE])


class Wire:
    """Notes when packets are put on it."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def send(self, transport: object, data: bytes) -> None:
        self.times.append(time.monotonic())


async def test_only_the_task_of_the_track_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    packet_pacing.apply()
    assert getattr(RTCDtlsTransport, packet_pacing.NAME) is packet_pacing._send_rtp
    wire = Wire()
    monkeypatch.setattr(packet_pacing, "_original", wire.send)
    pacer = PacketPacer(FPS)

    async def send(count: int) -> float:
        wire.times.clear()
        for _ in range(count):
            await packet_pacing._send_rtp(None, b"")  # type: ignore[arg-type]
        return wire.times[-1] - wire.times[0]

    async def send_paced() -> float:
        packet_pacing.packet_pacer.set(pacer)
        pacer.frame(15, 15 * PACKET, RATE)
        return await send(15)

    paced = await asyncio.create_task(send_paced(), context=contextvars.copy_context())
    assert paced >= 0.010
    assert packet_pacing.packet_pacer.get() is None
    quickest = min([await send(15) for _ in range(5)])
    assert quickest < 0.005
