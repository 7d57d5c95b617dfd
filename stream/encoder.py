"""The video encoder of one receiver: what aiortc asks for a coded frame.

It follows the receiver's reports (REMB), chooses the size that suits them, and codes the picture by
itself or, where receivers rest at the same viewpoint, together with others. aiortc calls `encode`
in a thread, one frame after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aiortc.codecs.base import Encoder
from aiortc.mediastreams import VIDEO_TIME_BASE
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.frame import Frame
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from stream import nvenc
from stream.coders import Coded, Coder, EncoderSettings, Vp8Coder
from stream.quality_policy import Quality, QualityPolicy
from stream.rate_control import RateControl
from stream.shared_encodes import Member, SharedEncodes
from stream.view import Company

__all__ = ["EncoderFigures", "EncoderSettings", "Shown", "ViewEncoder", "make_encoder"]


MOST_SLOWNESS = 4.0
"""A frame has this many times its nominal bits at most."""


@dataclass
class EncoderFigures:
    """What the encoder has done; written by its thread, read by the statistics.

    Args:
        frames: encoded so far.
        keyframes: of these, key frames.
        shared: of these, frames that were coded once for several receivers.
        octets: bytes of video data so far.
        seconds: time that the newest frame took.
        codec: name of the negotiated codec.
        width: of the newest frame, pixels.
        rest_fps: frames per second that suit the view when it rests.
        rate: bits per second that are aimed at.
        packets: of the newest frame.
        size: of the newest frame, bytes.
    """

    frames: int = 0
    keyframes: int = 0
    shared: int = 0
    octets: int = 0
    seconds: float = 0.0
    codec: str = ""
    width: int = 0
    rest_fps: float = 0.0
    rate: int = 0
    packets: int = 0
    size: int = 0


@dataclass(frozen=True)
class Shown:
    """What the encoder is told of a frame, as its `opaque`.

    Args:
        moving: whether viewpoints are coming.
        company: with whom the picture is shared; None if that is not known.
    """

    moving: bool
    company: Company | None = None


class ViewEncoder(Encoder):
    """Encodes for one receiver.

    Args:
        coder: of the negotiated codec; `make_coder` makes more of them.
        make_coder: for a new stream, when the receiver has shared one and leaves it.
        settings: how to encode.
        figures: where to write what was done.
        encoded: called with the seconds that each frame took.
        sharing: where receivers meet who can share a stream; None to encode alone always.
        view: number of the receiver's view.
    """

    def __init__(
        self,
        make_coder: Callable[[], Coder],
        settings: EncoderSettings,
        figures: EncoderFigures,
        encoded: Callable[[float], None] | None = None,
        sharing: SharedEncodes | None = None,
        view: int = -1,
    ) -> None:
        self._settings = settings
        self._figures = figures
        self._encoded = encoded
        self._rate = RateControl(settings.floor, settings.ceiling)
        self._policy: QualityPolicy | None = None
        self._full = 0
        self._last = self._gap = 0.0
        self._scaler = VideoReformatter()
        coder = make_coder()
        self._coder = coder
        self._member: Member | None = None
        if sharing is not None and coder.shareable:
            self._member = Member(sharing, view, coder, make_coder)
        figures.codec = coder.codec_name
        figures.rate = self._rate.rate

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Encode one picture.

        Args:
            frame: yuv420p, square, with pts in units of 1/90000 s, and `Shown` as `opaque`.
            force_keyframe: the receiver asked for a key frame.

        Returns:
            the RTP payloads and the frame's time in units of 1/90000 s.
        """
        assert isinstance(frame, VideoFrame) and frame.pts is not None
        started = time.monotonic()
        shown = frame.opaque if isinstance(frame.opaque, Shown) else Shown(moving=True)
        if self._policy is None or self._full != frame.width:
            self._full = frame.width
            self._policy = QualityPolicy(frame.width, self._settings.fps)
        timestamp = frame.pts  # before the encoder sees it: PyAV changes it for VP8
        quality, slowness = Quality(frame.width, self._settings.fps), 1.0
        if self._settings.adapt:
            # The engine may not make as many frames as it should: each then has more bits.
            slowness = self._slowness(started) if shown.moving else 1.0
            quality = self._policy.decide(started, self._rate.rate * slowness, shown.moving)
        if quality.size != frame.width:
            frame = self._scaler.reformat(frame, quality.size, quality.size)
            frame.pts, frame.time_base = timestamp, VIDEO_TIME_BASE
        # x264 gives each frame the bits of one at the nominal rate.
        slowness = max(slowness, self._settings.fps / quality.fps)
        rate = min(round(self._rate.rate * slowness), self._settings.ceiling)
        coded = self._code(frame, shown, rate, force_keyframe, started)
        if coded.quantiser is not None:
            self._policy.encoded(coded.bits, coded.quantiser, coded.key)
        self._note(coded, frame.width, quality.fps, time.monotonic() - started)
        return coded.payloads, timestamp

    def _slowness(self, now: float) -> float:
        """How many times as far apart frames are as nominally; known a little late when it grows,
        and at once when it falls."""
        gap = min(now - self._last, MOST_SLOWNESS / self._settings.fps)
        self._last = now
        self._gap = min(gap, self._gap + 0.2 * (gap - self._gap))
        return max(1.0, self._gap * self._settings.fps)

    def _code(self, frame: VideoFrame, shown: Shown, rate: int, forced: bool, now: float) -> Coded:
        if self._member is not None:
            company = None if shown.moving or frame.width != self._full else shown.company
            return self._member.code(frame, company, rate, forced, now)
        if forced:
            self._coder.ask_keyframe()
        return self._coder.code(frame, rate, now)

    def _note(self, coded: Coded, width: int, rest_fps: float, seconds: float) -> None:
        figures = self._figures
        figures.frames += 1
        figures.keyframes += coded.key
        figures.octets += coded.bits // 8
        figures.packets = len(coded.payloads)
        figures.size = coded.bits // 8
        figures.width = width
        figures.rate = self._rate.rate
        figures.seconds = seconds
        group = self._member.group if self._member is not None else None
        figures.shared += group is not None and group.shared
        figures.rest_fps = rest_fps
        if self._encoded is not None:
            self._encoded(seconds)

    def close(self) -> None:
        """The receiver has gone: those who shared its stream go on without it."""
        if self._member is not None:
            self._member.close()

    def pack(self, packet: Packet[VideoStream]) -> tuple[list[bytes], int]:
        """Packetise data that was encoded elsewhere."""
        return self._coder.packetise(packet), packet.pts or 0

    def lost(self, packets: int, received: int) -> None:
        """The receiver has missed, and got, so many packets since the beginning. Called by the
        event loop's thread, as the bitrate is set."""
        self._rate.lost(packets, received)

    @property
    def target_bitrate(self) -> int:
        """Bits per second; aiortc assigns what the receiver reports (REMB)."""
        return self._rate.rate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._rate.report(time.monotonic(), bitrate)


def coder_for(mime_type: str, encoder: str = "x264") -> type[Coder]:
    """What codes a negotiated codec.

    Args:
        mime_type: such as "video/H264".
        encoder: of H.264: "auto", "x264" or "nvenc".

    Raises:
        ValueError: nothing makes this codec; negotiation offers only those that exist.
        EncoderUnavailable: NVENC was asked for and does not open.
    """
    for kind in (nvenc.coder(encoder), Vp8Coder):
        if mime_type.lower() == f"video/{kind.codec_name.lower()}":
            return kind
    raise ValueError(f"No encoder makes {mime_type}.")


def make_encoder(
    codec: RTCRtpCodecParameters,
    settings: EncoderSettings,
    figures: EncoderFigures,
    encoded: Callable[[float], None] | None = None,
    sharing: SharedEncodes | None = None,
    view: int = -1,
    encoder: str = "x264",
) -> ViewEncoder:
    """The encoder for a negotiated codec; see `ViewEncoder` and `coder_for`."""
    kind = coder_for(codec.mimeType, encoder)
    return ViewEncoder(lambda: kind(settings), settings, figures, encoded, sharing, view)
