"""The caller's voice through a server, between aiortc peers: the very packets, never decoded."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from fractions import Fraction
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCRtpTransceiver
from aiortc.codecs import opus
from aiortc.mediastreams import MediaStreamTrack
from av.packet import Packet

from stream.audio_relay import OpusPackets
from stream.patches import encoded_audio
from stream.patches.encoded_audio import EncodedAudio
from stream.patches.encoder_seam import encoder_maker
from tests.stream.conftest import Running, Start
from tests.stream.peers import Caller, Receiver, until

STEP = 960


class Voice(MediaStreamTrack):
    """Packets that no encoder has made: each holds its number. `silent` keeps back some."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.silent: set[int] = set()
        self._started = time.monotonic()

    async def recv(self) -> Packet[Any]:
        encoder_maker.set(lambda _: OpusPackets())
        while True:
            await asyncio.sleep(max(0.0, self._started + self.number * 0.02 - time.monotonic()))
            number = self.number
            self.number += 1
            if number not in self.silent:
                break
        packet: Packet[Any] = Packet(b"\xfc voice %d" % number)
        packet.pts, packet.time_base = number * STEP, Fraction(1, 48000)
        return packet


class Ear:
    """Keeps what arrives at an audio section, undecoded.

    Args:
        connection: gets an audio section that receives.
    """

    def __init__(self, connection: RTCPeerConnection) -> None:
        self.heard: list[EncodedAudio] = []
        self.section: RTCRtpTransceiver = connection.addTransceiver("audio", direction="recvonly")
        encoded_audio.hand_out(self.section.receiver, self.heard.append)

    def numbers(self) -> list[int]:
        """The numbers of the packets in the order of their arrival."""
        return [int(packet.payload.removeprefix(b"\xfc voice ")) for packet in self.heard]


async def speaker(server: Running) -> tuple[Caller, Voice]:
    """A caller with a voice; not connected yet."""
    caller = await server.caller()
    voice = Voice()
    caller.connection.addTrack(voice)
    return caller, voice


async def listener(server: Running, call: str) -> tuple[Receiver, Ear]:
    """A receiver that hears; not connected yet."""
    receiver = await server.receiver(call)
    return receiver, Ear(receiver.connection)


@pytest.fixture
def coded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened to decode or encode sound, in this process."""
    opened: list[str] = []
    for kind in (opus.OpusDecoder, opus.OpusEncoder):

        def note(self: object, name: str = kind.__name__) -> None:
            opened.append(name)

        monkeypatch.setattr(kind, "__init__", note)
    return opened


async def test_packets_arrive_as_they_were_sent(start: Start, coded: list[str]) -> None:
    server = await start()
    caller, _ = await speaker(server)
    call = await caller.go_live()
    ears = []
    for _ in range(2):
        receiver, ear = await listener(server, call)
        await receiver.connect()
        ears.append(ear)
    await until(lambda: all(len(ear.heard) >= 50 for ear in ears), "sound for both")
    for ear in ears:
        numbers = ear.numbers()
        assert numbers == sorted(set(numbers))
        # The timestamps keep the caller's spacing, over what was lost as well.
        first = ear.heard[0]
        for number, packet in zip(numbers, ear.heard, strict=True):
            passed = (packet.timestamp - first.timestamp) % 2**32
            assert passed == (number - numbers[0]) * STEP
    assert coded == []


async def test_silence_of_the_caller_is_a_gap_of_the_same_length(start: Start) -> None:
    server = await start()
    caller, voice = await speaker(server)
    call = await caller.go_live()
    receiver, ear = await listener(server, call)
    await receiver.connect()
    await until(lambda: len(ear.heard) >= 5, "sound")
    begins = voice.number + 10
    voice.silent = set(range(begins, begins + 30))
    await until(lambda: ear.numbers()[-1] > begins + 30, "the end of the silence")
    numbers, heard = ear.numbers(), ear.heard
    after = next(i for i, number in enumerate(numbers) if number >= begins + 30)
    passed = (heard[after].timestamp - heard[after - 1].timestamp) % 2**32
    assert passed == (numbers[after] - numbers[after - 1]) * STEP >= 30 * STEP


async def test_sound_is_held_back_as_long_as_the_picture_takes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start()
    caller, voice = await speaker(server)
    call = await caller.go_live()
    delays = []
    for path in (0.0, 0.3):
        receiver, ear = await listener(server, call)
        monkeypatch.setattr("stream.receiver.PLAYOUT", -path)
        monkeypatch.setattr("stream.audio_path.VideoPath.seconds", 0.0)
        await receiver.connect()
        await until(lambda heard=ear.heard: len(heard) >= 60, "sound")  # type: ignore[misc]
        late = sorted(
            packet.arrived - voice._started - number * 0.02
            for number, packet in zip(ear.numbers(), ear.heard, strict=True)
        )
        delays.append(late[len(late) // 2])
        await receiver.hang_up()
    assert 0.2 < delays[1] - delays[0] < 0.45


async def test_receivers_come_and_go(start: Start) -> None:
    server = await start()
    caller, _ = await speaker(server)
    call = await caller.go_live()
    stays, ear = await listener(server, call)
    await stays.connect()
    for _ in range(2):
        leaves, other = await listener(server, call)
        await leaves.connect()
        await until(lambda heard=other.heard: heard, "sound for who comes")  # type: ignore[misc]
        assert server.calls[call].audio.tracks == 2
        await leaves.hang_up()
        await until(lambda: server.calls[call].audio.tracks == 1, "forgetting who left")
    count = len(ear.heard)
    await until(lambda: len(ear.heard) > count + 10, "sound for who stays")


async def test_a_caller_who_comes_back_goes_on_speaking(start: Start) -> None:
    server = await start()
    caller, _ = await speaker(server)
    call = await caller.go_live()
    receiver, ear = await listener(server, call)
    await receiver.connect()
    await until(lambda: len(ear.heard) >= 10, "sound")
    again, _ = await speaker(server)
    key = caller.location.partition("key=")[2]
    again.path = f"/whip?resume={call}&key={key}"
    await again.connect()
    before = ear.heard[-1]
    await until(lambda: ear.heard[-1].arrived > before.arrived + 1.0, "sound of who came back")
    assert ear.numbers()[-1] < 500  # it is the new voice, whose timestamps began somewhere else
    passed = ((ear.heard[-1].timestamp - ear.heard[0].timestamp) % 2**32) / 48000
    assert passed == pytest.approx(ear.heard[-1].arrived - ear.heard[0].arrived, abs=0.4)
    steps = [
        (later.timestamp - earlier.timestamp) % 2**32
        for earlier, later in zip(ear.heard, ear.heard[1:], strict=False)
    ]
    assert max(steps) < 48000 * 20  # and never back, which would be nearly 2**32


async def test_a_caller_without_a_voice_is_seen(start: Start) -> None:
    server = await start()
    caller = await server.caller()
    receiver, ear = await listener(server, await caller.go_live())
    await receiver.connect()
    await until(lambda: receiver.count >= 3, "pictures")
    assert ear.section.currentDirection == "recvonly"
    assert ear.heard == []


async def test_a_receiver_without_sound_sees(start: Start) -> None:
    server = await start()
    caller, voice = await speaker(server)
    call = await caller.go_live()
    receiver = await server.receiver(call)
    await receiver.connect()
    await until(lambda: receiver.count >= 3, "pictures")
    assert server.calls[call].audio.tracks == 0
    assert voice.number > 0


async def test_sound_can_be_switched_off(start: Start, coded: list[str]) -> None:
    server = await start(audio=False)
    caller, voice = await speaker(server)
    call = await caller.go_live()
    receiver, ear = await listener(server, call)
    await receiver.connect()
    await until(lambda: receiver.count >= 3, "pictures")
    assert ear.section.currentDirection == "inactive"
    assert (ear.heard, voice.number, coded) == ([], 0, [])


async def test_sound_and_picture_are_streams_of_their_own(start: Start) -> None:
    server = await start()
    caller = await server.caller()
    receiver, _ = await listener(server, await caller.go_live())
    answer = (await receiver.connect()).text
    streams = [line.split()[0] for line in answer.splitlines() if line.startswith("a=msid:")]
    assert len(streams) == len(set(streams)) == 2


def without_opus(sdp: str) -> str:
    """The offer of a peer whose audio section has G.711 only."""
    kept = []
    audio = False
    for line in sdp.splitlines():
        if line.startswith("m="):
            audio = line.startswith("m=audio")
            line = " ".join(line.split()[:3] + ["0"]) if audio else line
        if not audio or not line.startswith(("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")):
            kept.append(line)
        elif line.startswith("a=rtpmap:0 "):
            kept.append(line)
    return "\r\n".join(kept) + "\r\n"


async def test_a_peer_without_opus_calls_without_sound(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()
    caller, voice = await speaker(server)
    offer = Caller.offer

    async def poor_offer(self: Caller) -> str:
        return without_opus(await offer(self))

    monkeypatch.setattr(Caller, "offer", poor_offer)
    with caplog.at_level(logging.WARNING):
        await caller.go_live()
    assert [r.getMessage() for r in caplog.records if "Opus" in r.getMessage()] == [
        "A peer has no Opus, the only sound that is handed on: it gets none."
    ]
    assert voice.number == 0


async def test_nothing_is_left_of_a_call(start: Start) -> None:
    server = await start()
    caller, _ = await speaker(server)
    call = await caller.go_live()
    receiver, ear = await listener(server, call)
    await receiver.connect()
    await until(lambda: ear.heard, "sound")
    relay = weakref.ref(server.calls[call].audio)
    tracks = weakref.WeakSet(server.calls[call].audio._tracks)
    assert len(tracks) == 1
    await receiver.close()
    await caller.hang_up()

    def freed() -> bool:
        gc.collect()
        return relay() is None and not tracks

    await until(freed, "the freeing of the relay")
    decoders = [t for t in threading.enumerate() if t.name == "audio-decoder"]
    assert decoders == []
