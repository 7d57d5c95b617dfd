"""One caller's packets to many receivers: order, holding back, bounds, coming and going."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import pytest
from aiortc.mediastreams import MediaStreamError

from stream.audio_delay import CLOCK_RATE
from stream.audio_relay import MAX_WAITING, MOST_PER_SECOND, AudioRelay, OpusPackets, RelayTrack
from stream.patches.encoded_audio import EncodedAudio

STEP = 960


def put(relay: AudioRelay, *numbers: int, origin: int = 0, arrived: float | None = None) -> None:
    """Let packets come in; each holds its number."""
    for n in numbers:
        at = time.monotonic() if arrived is None else arrived
        relay.put(EncodedAudio(b"packet %d" % n, origin + n * STEP, at))


async def take(track: RelayTrack, count: int) -> list[tuple[int, bytes]]:
    """The next packets: their times, and what is in them."""
    async with asyncio.timeout(10):
        packets = [await track.recv() for _ in range(count)]
    return [(packet.pts or 0, bytes(packet)) for packet in packets]


def whole(*numbers: int) -> list[tuple[int, bytes]]:
    return [(n * STEP, b"packet %d" % n) for n in numbers]


async def test_all_receivers_get_the_same_packets() -> None:
    relay = AudioRelay()
    tracks = [relay.track(lambda: 0.0) for _ in range(3)]
    put(relay, 0, 1, 2)
    for track in tracks:
        assert await take(track, 3) == whole(0, 1, 2)


async def test_packets_are_put_in_order_while_they_are_held_back() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.1)
    put(relay, 0, 2, 1, 3)
    assert await take(track, 4) == whole(0, 1, 2, 3)
    assert track.dropped == 0


async def test_what_was_overtaken_or_comes_twice_is_left_out() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.0)
    put(relay, 0, 2)
    assert await take(track, 2) == whole(0, 2)
    put(relay, 1, 2, 3)
    assert await take(track, 1) == whole(3)
    assert track.dropped == 2


async def test_packets_are_held_back() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.25)
    started = time.monotonic()
    put(relay, 0)
    assert await take(track, 1) == whole(0)
    assert 0.24 <= time.monotonic() - started < 2.0


async def test_who_joins_later_gets_what_comes_from_then_on() -> None:
    relay = AudioRelay()
    put(relay, 0, 1)
    first = relay.track(lambda: 0.0)
    put(relay, 2)
    second = relay.track(lambda: 0.0)
    put(relay, 3)
    assert await take(first, 2) == whole(2, 3)
    assert await take(second, 1) == whole(3)


async def test_who_leaves_ends_alone() -> None:
    relay = AudioRelay()
    stays, leaves = relay.track(lambda: 0.0), relay.track(lambda: 0.0)
    waiting = asyncio.ensure_future(leaves.recv())
    await asyncio.sleep(0)
    leaves.stop()
    with pytest.raises(MediaStreamError):
        await waiting
    assert relay.tracks == 1
    put(relay, 0)
    assert await take(stays, 1) == whole(0)
    leaves.stop()  # a second time does nothing


async def test_a_receiver_that_takes_nothing_keeps_little_and_loses_the_oldest() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.0)
    put(relay, *range(3 * MAX_WAITING))
    assert track.waiting == MAX_WAITING
    assert track.dropped == 2 * MAX_WAITING
    assert (await take(track, 1))[0] == whole(2 * MAX_WAITING)[0]


async def test_a_flood_of_packets_is_thinned() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.0)
    now = time.monotonic()
    put(relay, *range(MOST_PER_SECOND + 50), arrived=now)
    put(relay, 1000, arrived=now + 1)
    assert track.waiting + track.dropped == MOST_PER_SECOND + 1
    track.stop()


async def test_after_a_stall_old_packets_are_left_out() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.0)
    put(relay, 0, arrived=time.monotonic() - 0.5)
    put(relay, 25)
    assert await take(track, 1) == whole(25)
    assert track.dropped == 1


async def test_a_caller_who_comes_back_goes_on_where_the_clock_is() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.0)
    now = time.monotonic()
    put(relay, 0, origin=3_000_000_000, arrived=now - 3.0)
    put(relay, 0, origin=5, arrived=now)  # a new connection starts somewhere else
    put(relay, 1, origin=5, arrived=now + 0.02)
    (first, _), (second, _) = await take(track, 2)
    assert first == pytest.approx(3 * CLOCK_RATE, abs=2)
    assert second - first == STEP


async def test_the_end_of_the_call_ends_all_tracks() -> None:
    relay = AudioRelay()
    tracks = [relay.track(lambda: 0.0) for _ in range(2)]
    relay.close()
    late = relay.track(lambda: 0.0)
    for track in (*tracks, late):
        with pytest.raises(MediaStreamError):
            await track.recv()
    assert relay.tracks == 0


async def test_a_stopped_track_is_freed() -> None:
    relay = AudioRelay()
    track = relay.track(lambda: 0.0)
    put(relay, 0)
    await take(track, 1)
    track.stop()
    gone = weakref.ref(track)
    del track
    gc.collect()
    assert gone() is None


def test_what_stands_for_the_encoder_encodes_nothing() -> None:
    with pytest.raises(TypeError):
        OpusPackets().encode(None)  # type: ignore[arg-type]
