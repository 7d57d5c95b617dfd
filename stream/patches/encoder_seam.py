"""Our own encoder in place of aiortc's.

Reason: aiortc leaves x264 at preset medium (10 times the time of superfast), without a bound on
its buffer, and starts a new stream at every change of the bitrate. It has no interface for another
encoder.
Where: `aiortc.rtcrtpsender.get_encoder`, through which PLI and REMB reach the encoder.
Written for: aiortc 1.16.0. Remove when: aiortc lets the application choose the encoder of a sender.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import aiortc.rtcrtpsender
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

NAME = "get_encoder"

EncoderMaker = Callable[[RTCRtpCodecParameters], Encoder]

encoder_maker: ContextVar[EncoderMaker | None] = ContextVar("encoder_maker", default=None)
"""Set by a track's recv(). The sender's task calls recv() and then get_encoder(), so the value is
seen by that sender and no other; tracks that are not ours keep aiortc's encoder."""

_original = get_encoder


def _get_encoder(codec: RTCRtpCodecParameters) -> Encoder:
    make = encoder_maker.get()
    return make(codec) if make is not None else _original(codec)


def apply() -> None:
    """Install the seam."""
    setattr(aiortc.rtcrtpsender, NAME, _get_encoder)
