"""Changes to aiortc's private parts, one per module, each with its reason and when it can go.

Written for aiortc 1.16.0 and aioice 0.13.0, which pyproject.toml therefore pins exactly;
tests/stream/test_patches.py fails when a name that is used here has gone.
"""

from __future__ import annotations

from stream.patches import (
    connecting,
    encoder_seam,
    host_addresses,
    lost_packets,
    packet_pacing,
    playout_delay,
    repairs,
    rsa_peers,
    sctp_sack,
    turn_servers,
)

_applied = False


def apply() -> None:
    """Change aiortc for this process; a second call does nothing."""
    global _applied
    if _applied:
        return
    connecting.apply()
    encoder_seam.apply()
    host_addresses.apply()
    lost_packets.apply()
    packet_pacing.apply()
    playout_delay.apply()
    repairs.apply()
    rsa_peers.apply()
    sctp_sack.apply()
    turn_servers.apply()
    _applied = True
