"""Connect to peers that sign with RSA, such as GStreamer.

Reason: aiortc offers cipher suites for ECDSA alone. GStreamer's certificate is RSA, so the two have
no suite in common and DTLS fails (aiortc pull requests 1392 and 1421, both not merged). What RFC
8827 section 6.5 demands stays the first choice, browsers take it as before.
Where: `aiortc.rtcdtlstransport.RTCCertificate._create_ssl_context`.
Written for: aiortc 1.16.0. Remove when: aiortc takes RSA suites, or lets the application choose.
"""

from __future__ import annotations

from typing import Any

from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile

NAME = "_create_ssl_context"

SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""aiortc's own, in its order, and two for RSA. More would break the first message of the handshake
into several datagrams (aiortc issue 956)."""

_original = RTCCertificate._create_ssl_context


def _create_ssl_context(self: RTCCertificate, srtp_profiles: list[SRTPProtectionProfile]) -> Any:
    context: Any = _original(self, srtp_profiles)
    context.set_cipher_list(":".join(SUITES).encode())
    return context


def apply() -> None:
    """Install the longer list."""
    setattr(RTCCertificate, NAME, _create_ssl_context)
