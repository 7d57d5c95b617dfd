"""One stream of coded video: H.264 by x264, or VP8 by libvpx.

Both code I420 pictures with a constant bitrate and make key frames on demand only. A coder belongs
to one receiver, or to several who share it, and is used by one thread at a time.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import av
from aiortc.codecs.h264 import H264Encoder as H264Packer
from aiortc.codecs.vpx import Vp8Encoder as Vp8Packer
from aiortc.mediastreams import VIDEO_CLOCK_RATE, VIDEO_TIME_BASE
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from stream.keyframes import KeyframeGate

BUFFER_TIME = 10
"""The encoder may run ahead of its bitrate by 1/10 second: a key frame then has 21 kB at most, not
57 kB, and no frame takes long to travel."""

NO_PERIODIC_KEYFRAMES = 1_000_000

LAMBDA = 118
"""FFmpeg gives the quantiser in this unit (FF_QP2LAMBDA)."""


@dataclass(frozen=True)
class EncoderSettings:
    """How to encode.

    Args:
        fps: nominal frames per second.
        floor: least bits per second.
        ceiling: most bits per second.
        keyframe_interval: least seconds between two key frames.
        adapt: whether pictures become smaller and fewer when bits are few.
    """

    fps: float
    floor: int
    ceiling: int
    keyframe_interval: float
    adapt: bool = True


@dataclass(frozen=True)
class Coded:
    """One coded frame.

    Args:
        payloads: of its RTP packets.
        key: whether it is a key frame.
        bits: of all payloads.
        quantiser: mean over the frame, 0 to 51; None where the codec does not tell.
    """

    payloads: list[bytes]
    key: bool
    bits: int
    quantiser: float | None


class Coder(ABC):
    """What all codecs share.

    Args:
        settings: how to encode.
    """

    codec_name: ClassVar[str]
    packer: ClassVar[type[H264Packer] | type[Vp8Packer]]
    shareable: ClassVar[bool] = True
    """Whether a receiver may change from one coder's stream to another's at a key frame."""

    def __init__(self, settings: EncoderSettings) -> None:
        self.settings = settings
        self._keyframes = KeyframeGate(settings.keyframe_interval)
        self._context: VideoCodecContext | None = None
        self._packer = self.packer()
        self._pts = -1

    def ask_keyframe(self) -> None:
        """A receiver needs a key frame; it comes as soon as the last one is long enough ago."""
        self._keyframes.ask()

    def code(self, frame: VideoFrame, rate: int, now: float) -> Coded:
        """Code one picture.

        Args:
            frame: yuv420p; its pts is replaced.
            rate: bits per second.
            now: seconds of a monotonic clock.
        """
        context = self._context
        if context is None or (context.width, context.height) != (frame.width, frame.height):
            context = self._context = self._open(frame.width, frame.height, rate, now)
            self._keyframes.sent(now)
            frame.pict_type = PictureType.I
        elif self._keyframes.take(now):
            frame.pict_type = PictureType.I
        else:
            frame.pict_type = PictureType.NONE
        context = self._context = self._follow_rate(context, rate, now)
        # Receivers who share a coder have clocks of their own.
        self._pts = frame.pts = max(self._pts + 1, round(now * VIDEO_CLOCK_RATE))
        packets = context.encode(frame)
        payloads = [payload for packet in packets for payload in self.packetise(packet)]
        return Coded(
            payloads,
            any(packet.is_keyframe for packet in packets),
            8 * sum(map(len, payloads)),
            _quantiser(packets[0]) if packets else None,
        )

    def packetise(self, packet: Packet[VideoStream]) -> list[bytes]:
        """The RTP payloads of a coded frame."""
        payloads, _ = self._packer.pack(packet)
        return payloads

    @abstractmethod
    def _open(self, width: int, height: int, rate: int, now: float) -> VideoCodecContext: ...

    @abstractmethod
    def _follow_rate(
        self, context: VideoCodecContext, rate: int, now: float
    ) -> VideoCodecContext: ...


class X264Coder(Coder):
    """x264, constrained baseline, level 3.1.

    Opened in constant bitrate at the ceiling, it takes lower rates while it runs, without a key
    frame; rates above the ceiling, or an opening without a buffer size, would be ignored silently.
    """

    codec_name = "H264"
    packer = H264Packer

    def _open(self, width: int, height: int, rate: int, now: float) -> VideoCodecContext:
        ceiling = self.settings.ceiling
        context = new_context("libx264", width, height, self.settings.fps)
        context.bit_rate = ceiling
        context.profile = "Baseline"
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "level": "31",
            "maxrate": str(ceiling),
            "bufsize": str(ceiling // BUFFER_TIME),
            "forced-idr": "1",
            "sc_threshold": "0",  # no key frame at a scene change: the view never cuts
        }
        return context

    def _follow_rate(self, context: VideoCodecContext, rate: int, now: float) -> VideoCodecContext:
        if context.is_open and context.bit_rate != rate:
            context.bit_rate = rate
        return context


class SteppedCoder(Coder):
    """A codec whose bitrate cannot be changed without a key frame: it is followed in coarse steps,
    and not at every report."""

    STEP = 1.4
    """Ratio of rates at which a change pays."""

    PATIENCE = 4.0
    """Least seconds between two changes."""

    _stepped = 0.0

    def _step_pays(self, present: int, rate: int, now: float) -> bool:
        if max(rate / present, present / rate) < self.STEP or now - self._stepped < self.PATIENCE:
            return False
        self._stepped = now
        return True


class Vp8Coder(SteppedCoder):
    """libvpx, which cannot change its bitrate while it runs: each change needs a new stream."""

    codec_name = "VP8"
    packer = Vp8Packer
    shareable = False  # its payloads count the pictures of one receiver

    def _open(self, width: int, height: int, rate: int, now: float) -> VideoCodecContext:
        context = new_context("libvpx", width, height, self.settings.fps)
        context.bit_rate = rate
        context.qmin, context.qmax = 2, 56
        context.options = {
            "deadline": "realtime",
            "cpu-used": "-6",
            "lag-in-frames": "0",
            "minrate": str(rate),
            "maxrate": str(rate),  # equal to minrate: constant bitrate
            "bufsize": str(rate // 2),
            "error-resilient": "0",
            "static-thresh": "1",
            "undershoot-pct": "100",
            "overshoot-pct": "15",
        }
        self._stepped = now
        return context

    def _follow_rate(self, context: VideoCodecContext, rate: int, now: float) -> VideoCodecContext:
        if not self._step_pays(context.bit_rate or 1, rate, now):
            return context
        self._keyframes.sent(now)
        return self._open(context.width, context.height, rate, now)


def new_context(codec: str, width: int, height: int, fps: float) -> VideoCodecContext:
    """A context that is not open, for pictures in real time."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(1001)
    context.time_base = VIDEO_TIME_BASE
    context.thread_count = 1
    context.gop_size = NO_PERIODIC_KEYFRAMES
    return context


def _quantiser(packet: Packet[VideoStream]) -> float | None:
    if not packet.has_sidedata("quality_stats"):
        return None
    (value,) = struct.unpack_from("<i", bytes(packet.get_sidedata("quality_stats")))
    return float(value) / LAMBDA
