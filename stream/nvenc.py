"""H.264 by the encoder of an NVIDIA GPU, where there is one.

Not every GPU has it: H100 and H200 have none, T4, L4, L40S and RTX cards do. That FFmpeg lists the
encoder proves nothing, so it is tried.
"""

from __future__ import annotations

import functools
import logging

import av
import numpy as np
from aiortc.codecs.h264 import H264Encoder as H264Packer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from models.errors import VisavisError
from stream.coders import BUFFER_TIME, Coded, Coder, SteppedCoder, X264Coder, new_context

logger = logging.getLogger(__name__)

NAME = "h264_nvenc"
TRIAL_SIZE = 256


class EncoderUnavailable(VisavisError):
    """The encoder that was asked for does not work here."""


class NvencCoder(SteppedCoder):
    """NVENC with the least delay: constant bitrate, no frame held back, SPS and PPS with every key
    frame, because aiortc does not send them otherwise.

    FFmpeg can change the bitrate while the encoder runs, but makes a key frame of the next picture
    (libavcodec/nvenc.c, reconfig_encoder), so it is done in steps. Pictures may be NV12 in the
    GPU's memory (see `planes`) or I420 in ours, which FFmpeg then copies to the GPU. Not measured:
    no GPU with an encoder was at hand.
    """

    codec_name = "H264"
    packer = H264Packer

    _pix_fmt = "yuv420p"

    def code(self, frame: VideoFrame, rate: int, now: float) -> Coded:
        """Code one picture; see `Coder`. It may lie on the GPU."""
        self._pix_fmt = "cuda" if frame.format.name == "cuda" else "yuv420p"
        return super().code(frame, rate, now)

    def _open(self, width: int, height: int, rate: int, now: float) -> VideoCodecContext:
        context = new_context(NAME, width, height, self.settings.fps)
        context.pix_fmt = self._pix_fmt
        context.bit_rate = rate
        context.max_b_frames = 0
        context.profile = "baseline"
        context.options = {
            "preset": "p4",
            "tune": "ull",
            "rc": "cbr",
            "bufsize": str(rate // BUFFER_TIME),
            "delay": "0",
            "zerolatency": "1",
            "rc-lookahead": "0",
            "forced-idr": "1",
            "level": "3.1",
        }
        self._stepped = now
        return context

    def _follow_rate(self, context: VideoCodecContext, rate: int, now: float) -> VideoCodecContext:
        if context.is_open and self._step_pays(context.bit_rate or 1, rate, now):
            context.bit_rate = rate
            self._keyframes.sent(now)
        return context


class AutoCoder(NvencCoder):
    """NVENC, or x264 where it does not open: many GPUs encode for a few streams at once only."""

    _software: X264Coder | None = None

    def code(self, frame: VideoFrame, rate: int, now: float) -> Coded:
        """Code one picture; see `Coder`."""
        if self._software is None:
            try:
                return super().code(frame, rate, now)
            except av.error.FFmpegError as error:
                logger.warning("NVENC does not open (%s); the processor encodes.", error)
                self._software = X264Coder(self.settings)
        return self._software.code(frame, rate, now)

    def ask_keyframe(self) -> None:
        """A receiver needs a key frame."""
        if self._software is None:
            super().ask_keyframe()
        else:
            self._software.ask_keyframe()


def planes(luma: object, chroma: object) -> VideoFrame:
    """A frame of NV12 planes where they lie, without a copy.

    Args:
        luma: uint8 [H, W]: whatever has `__dlpack__`, such as a tensor of torch.
        chroma: uint8 [H / 2, W / 2, 2], U and V by turns, on the same device.
    """
    return VideoFrame.from_dlpack((luma, chroma), format="nv12")


@functools.cache
def problem() -> str | None:
    """Why NVENC cannot be used here, in one line; None if it can. One picture is encoded."""
    previous = av.logging.get_level()
    av.logging.set_level(av.logging.PANIC)  # FFmpeg complains of a driver that is not there
    try:
        context = new_context(NAME, TRIAL_SIZE, TRIAL_SIZE, 30.0)
        frame = VideoFrame.from_ndarray(
            np.full((TRIAL_SIZE * 3 // 2, TRIAL_SIZE), 128, np.uint8), format="yuv420p"
        )
        frame.pts = 0
        if sum(packet.size for packet in [*context.encode(frame), *context.encode(None)]) == 0:
            return "it encodes nothing"
    except av.error.FFmpegError as error:
        return str(error.log[-1]).strip() if error.log else str(error.strerror)
    except ValueError as error:  # this FFmpeg was built without it
        return str(error)
    finally:
        av.logging.set_level(previous)
    return None


def coder(encoder: str) -> type[Coder]:
    """What encodes H.264.

    Args:
        encoder: "x264"; "nvenc"; or "auto": NVENC if a trial with one picture succeeds.

    Raises:
        EncoderUnavailable: NVENC was asked for and does not open.
    """
    if encoder == "x264":
        return X264Coder
    reason = problem()
    if encoder == "auto":
        return AutoCoder if reason is None else X264Coder
    if reason is not None:
        raise EncoderUnavailable(
            f"NVENC does not open here ({reason}). Use --encoder x264, or auto, which takes NVENC "
            "where it works.",
            "no_nvenc",
        )
    return NvencCoder
