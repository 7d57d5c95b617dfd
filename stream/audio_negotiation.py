"""Which of an offer's audio sections carry the caller's voice: one with Opus at most."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiortc import RTCPeerConnection, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamTrack

from stream.patches import encoded_audio
from stream.patches.encoded_audio import EncodedAudio

logger = logging.getLogger(__name__)


def hear(connection: RTCPeerConnection, sink: Callable[[EncodedAudio], None] | None) -> bool:
    """Take a caller's voice; to be called between the offer and the answer.

    Args:
        connection: knows the offer.
        sink: is given each packet; None leaves the voice out.

    Returns:
        whether there is a voice to come.
    """
    section = _choose(connection, wanted=sink is not None)
    if section is None or sink is None:
        return False
    section.direction = "recvonly"
    encoded_audio.hand_out(section.receiver, sink)
    return True


def speak(connection: RTCPeerConnection, make_track: Callable[[], MediaStreamTrack] | None) -> bool:
    """Give a receiver the caller's voice; to be called between the offer and the answer.

    Args:
        connection: knows the offer.
        make_track: makes what is sent, if the receiver takes it; None leaves the voice out.

    Returns:
        whether there is a voice to be sent.
    """
    section = _choose(connection, wanted=make_track is not None)
    if section is None or make_track is None:
        return False
    section.sender.replaceTrack(make_track())
    section.direction = "sendonly"  # were it to receive as well, aiortc would decode what comes
    encoded_audio.own_stream(section.sender)
    return True


def _choose(connection: RTCPeerConnection, wanted: bool) -> RTCRtpTransceiver | None:
    """The first audio section with Opus; all others are answered as inactive."""
    sections = [t for t in connection.getTransceivers() if t.kind == "audio"]
    chosen = None
    for section in sections:
        section.direction = "inactive"
        if wanted and chosen is None and encoded_audio.opus_only(section):
            chosen = section
    if wanted and sections and chosen is None:
        logger.warning("A peer has no Opus, the only sound that is handed on: it gets none.")
    return chosen
