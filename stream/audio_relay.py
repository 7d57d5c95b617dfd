"""One caller's voice to any number of receivers: packets of Opus, neither decoded nor encoded."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aiortc.codecs.base import Encoder
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.frame import Frame
from av.packet import Packet

from stream.audio_delay import CLOCK_RATE, AudioTimeline, HoldBack
from stream.patches.encoded_audio import EncodedAudio
from stream.patches.encoder_seam import encoder_maker

MOST_PER_SECOND = 200
"""Packets of a caller that are handed on: twice as many as there are of 10 ms each. Opus allows
for 400, which nobody needs."""

MAX_WAITING = 64
"""Packets that wait for one receiver; of 20 ms, as browsers make them, more than MAX_HOLD."""

MAX_LATE = 0.2
"""Seconds after which a packet that should have left is of no use. After a stall of this process
the sound goes on with the newest packets instead of a burst of old ones."""

MAX_LATE_AT_FIRST = 0.02
"""The same before the first packet is sent: receivers buffer for long what begins with a burst."""

TIME_BASE = Fraction(1, CLOCK_RATE)


@dataclass(order=True, frozen=True)
class _Waiting:
    """A packet in the order of its time, with when it would leave if it were not held back."""

    time: int
    base: float = field(compare=False)
    payload: bytes = field(compare=False)


class OpusPackets(Encoder):
    """What aiortc takes for an encoder; packets go through it unchanged."""

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Never called: the track gives packets only."""
        raise TypeError("sound is handed on as it came, it is never encoded")

    def pack(self, packet: Packet[Any]) -> tuple[list[bytes], int]:
        """The RTP payload of a packet, and its time in units of 1/48000 s."""
        assert packet.pts is not None
        return [bytes(packet)], packet.pts


class RelayTrack(MediaStreamTrack):
    """The caller's voice for one receiver, held back. Made by `AudioRelay.track`.

    Args:
        aim: gives the seconds to hold back, None as long as that is not known.
        stopped: called once when the track has ended.
    """

    kind = "audio"

    def __init__(
        self, aim: Callable[[], float | None], stopped: Callable[[RelayTrack], None]
    ) -> None:
        super().__init__()
        self.dropped = 0
        """Packets that were not sent: too late, twice, or too many."""
        self._aim = aim
        self._stopped = stopped
        self._hold = HoldBack()
        self._held: list[_Waiting] = []
        self._changed = asyncio.Event()
        self._last: int | None = None

    @property
    def waiting(self) -> int:
        """Packets that are held back now."""
        return len(self._held)

    def put(self, packet: _Waiting) -> None:
        """Leave a packet to be sent when it is time."""
        if self.readyState != "live":
            return
        heapq.heappush(self._held, packet)
        if len(self._held) > MAX_WAITING:
            heapq.heappop(self._held)
            self.dropped += 1
        self._changed.set()

    async def recv(self) -> Packet[Any]:
        """Wait for the next packet; called by aiortc, again as soon as the last one is sent.

        Raises:
            MediaStreamError: the track has been stopped.
        """
        encoder_maker.set(lambda _: OpusPackets())
        while self.readyState == "live":
            now = time.monotonic()
            hold = self._hold.follow(self._aim(), now)
            due = self._held[0].base + hold if self._held and hold is not None else None
            if due is None or due > now:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), None if due is None else due - now)
                continue
            packet = heapq.heappop(self._held)
            # Its successor has been sent, and receivers take packets in the order they are sent.
            overtaken = self._last is not None and packet.time <= self._last
            late = MAX_LATE if self._last is not None else MAX_LATE_AT_FIRST
            if overtaken or now - due > late:
                self.dropped += 1
                continue
            self._last = packet.time
            made: Packet[Any] = Packet(packet.payload)
            made.pts, made.time_base = packet.time, TIME_BASE
            return made
        raise MediaStreamError

    def stop(self) -> None:
        """End the track."""
        if self.readyState == "live":
            super().stop()
            self._held.clear()
            self._changed.set()
            self._stopped(self)


class AudioRelay:
    """Belongs to the event loop's thread, and to the call: it outlives the caller's connection."""

    def __init__(self) -> None:
        self._timeline = AudioTimeline()
        self._tracks: set[RelayTrack] = set()
        self._closed = False
        self._second = -math.inf
        self._in_second = 0

    @property
    def tracks(self) -> int:
        """Receivers that get the sound."""
        return len(self._tracks)

    def track(self, aim: Callable[[], float | None]) -> RelayTrack:
        """A track for one more receiver; it is forgotten when it is stopped.

        Args:
            aim: gives the seconds by which to hold the sound back, None as long as that is not
                known.
        """
        track = RelayTrack(aim, self._tracks.discard)
        if self._closed:
            track.stop()
        else:
            self._tracks.add(track)
        return track

    def put(self, packet: EncodedAudio) -> None:
        """Hand on a packet of the caller, unless they are far too many: each costs as many times as
        there are receivers."""
        if packet.arrived - self._second >= 1.0:
            self._second, self._in_second = packet.arrived, 0
        self._in_second += 1
        if self._in_second > MOST_PER_SECOND:
            return
        at, base = self._timeline.place(packet.timestamp, packet.arrived)
        for track in self._tracks:
            track.put(_Waiting(at, base, packet.payload))

    def close(self) -> None:
        """End all tracks."""
        self._closed = True
        for track in list(self._tracks):
            track.stop()
