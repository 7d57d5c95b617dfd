from __future__ import annotations

import functools
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.codecs import depayload, get_decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.video.frame import VideoFrame

from stream.encoder import EncoderFigures, EncoderSettings, Shown, ViewEncoder, make_encoder
from tests.stream.bar_engine import Picture

SIZE = 256
CEILING = 1_500_000
NOISY = 60
CODECS = ["video/H264", "video/VP8"]


class Clock:
    """Replaces the encoder's clock: one frame every 1/30 s, however long it takes."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("stream.encoder.time", clock)
    return clock


def codec(name: str) -> RTCRtpCodecParameters:
    return RTCRtpCodecParameters(mimeType=name, clockRate=90000, payloadType=97)


def encoder(name: str, figures: EncoderFigures | None = None, adapt: bool = False) -> ViewEncoder:
    settings = EncoderSettings(30.0, 200_000, CEILING, keyframe_interval=0.49, adapt=adapt)
    return make_encoder(codec(name), settings, figures or EncoderFigures())


def set_rate(sender: ViewEncoder, rate: float) -> None:
    """As if the receiver's reports had settled there."""
    sender._rate._rate = rate


def picture(number: int, size: int = SIZE, noise: int = 12) -> VideoFrame:
    """A texture that moves by two pixels a frame, with a little noise: hard to encode."""
    frame = VideoFrame.from_ndarray(drawn(number % 40, size, noise), format="yuv420p")
    frame.pts, frame.time_base = number * 3000 + 17, Fraction(1, 90000)
    return frame


@functools.cache
def drawn(number: int, size: int, amplitude: int) -> Picture:
    """I420 [size*3/2, size]."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (size // 8 + 2, size // 4 + 2), np.uint8)
    texture = np.kron(coarse, np.ones((8, 8), np.uint8))
    shifted: Picture = texture[:size, 2 * number % size :][:, :size]
    noise = np.random.default_rng(number).integers(0, amplitude, (size, size), np.uint8)
    whole = np.full((size * 3 // 2, size), 128, np.uint8)
    whole[:size] = np.minimum(shifted, 255 - amplitude) + noise
    return whole


@pytest.mark.parametrize("name", CODECS)
def test_what_is_encoded_can_be_decoded(name: str, clock: Clock) -> None:
    sender, receiver = encoder(name), get_decoder(codec(name))
    for number in range(5):
        frame = picture(number)
        original = frame.to_ndarray(format="gray").astype(float)
        payloads, timestamp = sender.encode(frame)
        assert timestamp == number * 3000 + 17
        assert max(map(len, payloads)) <= 1300
        data = b"".join(depayload(codec(name), payload) for payload in payloads)
        decoded = receiver.decode(JitterFrame(data, timestamp))
        assert len(decoded) == 1, "no frame is held back"
        shown = decoded[0].to_ndarray(format="gray").astype(float)
        assert np.abs(shown - original).mean() < 20
        clock.now += 1 / 30


@pytest.mark.parametrize("name", CODECS)
def test_key_frames_come_first_and_on_demand_only(name: str, clock: Clock) -> None:
    figures = EncoderFigures()
    sender = encoder(name, figures)
    keys = []
    for number in range(60):
        before = figures.keyframes
        sender.encode(picture(number), force_keyframe=number in (20, 22, 24))
        if figures.keyframes > before:
            keys.append(number)
        clock.now += 1 / 30
    # 22 and 24 come within half a second of the answer to 20, so one more is due at 35.
    assert keys == [0, 20, 35]


def test_h264_follows_the_bitrate_without_a_key_frame(clock: Clock) -> None:
    figures = EncoderFigures()
    sender = encoder("video/H264", figures)
    octets = []
    for report in (5_000_000, 400_000, 5_000_000):
        for number in range(60):
            sender.target_bitrate = report
            clock.now += 0.1  # the reports of a longer time
            sender.target_bitrate = report
            if number == 30:
                before = figures.octets
            sender.encode(picture(number))
            clock.now += 1 / 30
        octets.append(figures.octets - before)
    assert figures.keyframes == 1
    assert octets[1] < 0.6 * octets[0]
    assert octets[2] > 1.5 * octets[1]
    assert octets[0] * 8 < 1.3 * CEILING


@pytest.mark.parametrize("reports", [(1.5, 0.4, 1.2), (0.3, 1.4, 0.5)])
def test_h264_meets_each_rate_with_a_single_key_frame(
    clock: Clock, reports: tuple[float, ...]
) -> None:
    figures = EncoderFigures()
    sender = encoder("video/H264", figures)
    number = 0
    for rate in reports:
        set_rate(sender, rate * 1e6)
        before = 0
        for frame in range(150):
            sender.encode(picture(number))
            number, clock.now = number + 1, clock.now + 1 / 30
            if frame == 29:
                before = figures.octets
        assert (figures.octets - before) * 8 / 4 == pytest.approx(rate * 1e6, rel=0.2)
    assert figures.keyframes == 1


def test_a_moving_view_is_sent_smaller_and_a_resting_one_whole_when_bits_are_few(
    clock: Clock,
) -> None:
    figures, receiver = EncoderFigures(), get_decoder(codec("video/H264"))
    sender = encoder("video/H264", figures, adapt=True)
    set_rate(sender, 270_000)
    sizes = []
    for number in range(450):
        frame = picture(number if number < 300 else 0, noise=NOISY)
        frame.pts, frame.opaque = number * 3000, Shown(moving=number < 300)
        payloads, timestamp = sender.encode(frame)
        assert timestamp == number * 3000
        data = b"".join(depayload(codec("video/H264"), payload) for payload in payloads)
        (decoded,) = receiver.decode(JitterFrame(data, timestamp))
        sizes.append(decoded.width)
        clock.now += 1 / 30
    assert sizes[0] == SIZE and sizes[299] < SIZE and sizes[-1] == SIZE
    changes = sum(one != other for one, other in itertools.pairwise(sizes))
    assert figures.keyframes == 1 + changes and changes <= 4
    assert figures.width == SIZE and figures.rest_fps == 30, "nothing moves: bits enough for all"


def test_a_resting_view_of_a_restless_person_is_sent_less_often_when_bits_are_few(
    clock: Clock,
) -> None:
    figures = EncoderFigures()
    sender = encoder("video/H264", figures, adapt=True)
    set_rate(sender, 270_000)
    octets, begun, number = 0, 0.0, 0
    while number < 300:
        frame = picture(number, noise=NOISY)
        frame.opaque = Shown(moving=False)
        sender.encode(frame)
        if number == 100:
            octets, begun = figures.octets, clock.now
        number, clock.now = number + 1, clock.now + 1 / max(figures.rest_fps, 10)
    assert figures.width == SIZE and 10 <= figures.rest_fps < 20
    rate = (figures.octets - octets) * 8 / (clock.now - begun)
    assert rate == pytest.approx(270_000, rel=0.25), "fewer frames, each with more bits"


def test_an_engine_that_makes_few_frames_leaves_more_bits_to_each(clock: Clock) -> None:
    figures = EncoderFigures()
    sender = encoder("video/H264", figures, adapt=True)
    set_rate(sender, 270_000)
    octets = 0
    for number in range(100):
        frame = picture(number, noise=NOISY)
        frame.opaque = Shown(moving=True)
        sender.encode(frame)
        octets = figures.octets if number == 39 else octets
        clock.now += 1 / 10
    assert (figures.octets - octets) * 8 / 6 == pytest.approx(270_000, rel=0.25)


@pytest.mark.parametrize("name", CODECS)
def test_a_key_frame_comes_with_the_next_picture_after_it_was_asked_for(
    name: str, clock: Clock
) -> None:
    figures = EncoderFigures()
    sender = encoder(name, figures)
    for number in range(40):
        before = figures.keyframes
        sender.encode(picture(number), force_keyframe=number == 30)
        assert figures.keyframes - before == (number in (0, 30))
        clock.now += 1 / 30


def test_a_key_frame_stays_small(clock: Clock) -> None:
    sender = encoder("video/H264")
    largest = 0
    for number in range(60):
        payloads, _ = sender.encode(picture(number), force_keyframe=number == 40)
        largest = max(largest, sum(map(len, payloads)))
        clock.now += 1 / 30
    assert largest * 8 < 0.15 * CEILING


def test_vp8_starts_anew_for_a_large_change_of_the_bitrate_only(clock: Clock) -> None:
    figures = EncoderFigures()
    sender = encoder("video/VP8", figures)
    for number in range(100):
        sender.target_bitrate = 1_600_000 if number % 2 else 1_400_000
        sender.encode(picture(number, 64))
        clock.now += 0.1
    assert figures.keyframes <= 2
    before = figures.keyframes
    for number in range(100):
        sender.target_bitrate = 400_000
        sender.encode(picture(number, 64))
        clock.now += 0.1
    assert 1 <= figures.keyframes - before <= 3


@pytest.mark.parametrize("name", CODECS)
def test_another_size_starts_anew(name: str, clock: Clock) -> None:
    figures = EncoderFigures()
    sender = encoder(name, figures)
    for size in (256, 256, 512):
        sender.encode(picture(0, size))
    assert figures.keyframes == 2


def test_h264_is_constrained_baseline_of_level_3_1(clock: Clock) -> None:
    payloads, _ = encoder("video/H264").encode(picture(0))
    data = b"".join(depayload(codec("video/H264"), payload) for payload in payloads)
    start = data.index(b"\x00\x00\x01\x67") + 4
    profile, constraints, level = data[start : start + 3]
    assert (profile, level) == (66, 31)
    assert constraints & 0x40, "constrained: no slice groups, no arbitrary order"
    context = av.CodecContext.create("h264", "r")
    context.decode(av.Packet(data))
    assert "Baseline" in str(context.profile)


def test_a_codec_that_is_not_offered_is_an_error() -> None:
    with pytest.raises(ValueError, match="AV1"):
        encoder("video/AV1")
