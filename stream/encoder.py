"""The video encoder of one receiver: H.264, or VP8 where the receiver has no H.264.

Both encode I420 pictures with a constant bitrate, send key frames on demand only, and follow the
receiver's reports (REMB). aiortc calls `encode` in a thread, one frame after the other.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import av
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder as H264Packer
from aiortc.codecs.vpx import Vp8Encoder as Vp8Packer
from aiortc.mediastreams import VIDEO_TIME_BASE
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.frame import Frame
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from stream.keyframes import KeyframeGate
from stream.rate_control import RateControl

logger = logging.getLogger(__name__)

BUFFER_TIME = 10
"""The encoder may run ahead of its bitrate by 1/10 second: a key frame then has 21 kB at most, not
57 kB, and no frame takes long to travel."""

NO_PERIODIC_KEYFRAMES = 1_000_000


@dataclass
class EncoderFigures:
    """What the encoder has done; written by its thread, read by the statistics.

    Args:
        frames: encoded so far.
        keyframes: of these, key frames.
        octets: bytes of video data so far.
        seconds: time that the newest frame took.
        codec: name of the negotiated codec.
    """

    frames: int = 0
    keyframes: int = 0
    octets: int = 0
    seconds: float = 0.0
    codec: str = ""


@dataclass(frozen=True)
class EncoderSettings:
    """How to encode.

    Args:
        fps: nominal frames per second.
        floor: least bits per second.
        ceiling: most bits per second.
        keyframe_interval: least seconds between two key frames.
    """

    fps: float
    floor: int
    ceiling: int
    keyframe_interval: float


class ViewEncoder(Encoder):
    """What both codecs share: key frames, bitrate, figures.

    Args:
        settings: how to encode.
        figures: where to write what was done.
        encoded: called with the seconds that each frame took.
    """

    codec_name: ClassVar[str]
    packer: ClassVar[type[H264Packer] | type[Vp8Packer]]

    def __init__(
        self,
        settings: EncoderSettings,
        figures: EncoderFigures,
        encoded: Callable[[float], None] | None = None,
    ) -> None:
        self._settings = settings
        self._figures = figures
        self._encoded = encoded
        self._keyframes = KeyframeGate(settings.keyframe_interval)
        self._rate = RateControl(settings.floor, settings.ceiling)
        self._context: VideoCodecContext | None = None
        self._packer = self.packer()
        figures.codec = self.codec_name

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Encode one picture.

        Args:
            frame: yuv420p, with pts in units of 1/90000 s.
            force_keyframe: the receiver asked for a key frame.

        Returns:
            the RTP payloads and the frame's time in units of 1/90000 s.
        """
        assert isinstance(frame, VideoFrame) and frame.pts is not None
        started = time.monotonic()
        if force_keyframe:
            self._keyframes.ask()
        context = self._context
        if context is None or (context.width, context.height) != (frame.width, frame.height):
            context = self._context = self._open(frame.width, frame.height)
            self._keyframes.sent(started)
            frame.pict_type = PictureType.I
        elif self._keyframes.take(started):
            frame.pict_type = PictureType.I
        else:
            frame.pict_type = PictureType.NONE
        timestamp = frame.pts  # before the encoder sees it: PyAV changes it for VP8
        context = self._context = self._follow_rate(context)
        packets = context.encode(frame)
        payloads = [payload for packet in packets for payload in self._packetise(packet)]
        figures = self._figures
        figures.frames += 1
        figures.keyframes += any(packet.is_keyframe for packet in packets)
        figures.octets += sum(map(len, payloads))
        figures.seconds = time.monotonic() - started
        if self._encoded is not None:
            self._encoded(figures.seconds)
        return payloads, timestamp

    def pack(self, packet: Packet[VideoStream]) -> tuple[list[bytes], int]:
        """Packetise data that was encoded elsewhere."""
        return self._packetise(packet), packet.pts or 0

    @property
    def target_bitrate(self) -> int:
        """Bits per second; aiortc assigns what the receiver reports (REMB)."""
        return self._rate.rate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._rate.report(time.monotonic(), bitrate)

    @abstractmethod
    def _open(self, width: int, height: int) -> VideoCodecContext: ...

    @abstractmethod
    def _follow_rate(self, context: VideoCodecContext) -> VideoCodecContext: ...

    def _packetise(self, packet: Packet[VideoStream]) -> list[bytes]:
        payloads, _ = self._packer.pack(packet)
        return payloads


class H264ViewEncoder(ViewEncoder):
    """x264, constrained baseline, level 3.1.

    Opened in constant bitrate at the ceiling, it takes lower rates while it runs, without a key
    frame; rates above the ceiling, or an opening without a buffer size, would be ignored silently.
    """

    codec_name = "H264"

    packer = H264Packer

    def _open(self, width: int, height: int) -> VideoCodecContext:
        ceiling = self._settings.ceiling
        context = _context("libx264", width, height, self._settings.fps)
        context.bit_rate = ceiling
        context.gop_size = NO_PERIODIC_KEYFRAMES
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

    def _follow_rate(self, context: VideoCodecContext) -> VideoCodecContext:
        if context.is_open and context.bit_rate != self._rate.rate:
            context.bit_rate = self._rate.rate
        return context


class Vp8ViewEncoder(ViewEncoder):
    """libvpx, which cannot change its bitrate while it runs: each change needs a new stream.

    So the rate is followed in coarse steps, and not at every report.
    """

    codec_name = "VP8"
    packer = Vp8Packer

    STEP = 1.4
    """Ratio of rates at which a new stream pays."""

    PATIENCE = 4.0
    """Least seconds between two new streams."""

    _opened = 0.0

    def _open(self, width: int, height: int) -> VideoCodecContext:
        rate = self._rate.rate
        context = _context("libvpx", width, height, self._settings.fps)
        context.bit_rate = rate
        context.gop_size = NO_PERIODIC_KEYFRAMES
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
        self._opened = time.monotonic()
        return context

    def _follow_rate(self, context: VideoCodecContext) -> VideoCodecContext:
        rate, present = self._rate.rate, context.bit_rate or 1
        if max(rate / present, present / rate) < self.STEP:
            return context
        if time.monotonic() - self._opened < self.PATIENCE:
            return context
        self._keyframes.sent(time.monotonic())
        return self._open(context.width, context.height)


def _context(codec: str, width: int, height: int, fps: float) -> VideoCodecContext:
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(1001)
    context.time_base = VIDEO_TIME_BASE
    context.thread_count = 1
    return context


def make_encoder(
    codec: RTCRtpCodecParameters,
    settings: EncoderSettings,
    figures: EncoderFigures,
    encoded: Callable[[float], None] | None = None,
) -> ViewEncoder:
    """The encoder for a negotiated codec.

    Raises:
        ValueError: no encoder makes it; negotiation offers only those that exist.
    """
    for kind in (H264ViewEncoder, Vp8ViewEncoder):
        if codec.mimeType.lower() == f"video/{kind.codec_name.lower()}":
            return kind(settings, figures, encoded)
    raise ValueError(f"No encoder makes {codec.mimeType}.")
