"""The STUN and TURN servers that a server names, as a client uses them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

from stream.ice_servers import IceServer

LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s";,]+))*)')
PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+))')


def servers_from(link: str) -> tuple[IceServer, ...]:
    """The ICE servers of a Link header (RFC 9725 section 4.6); other links are passed over.

    Args:
        link: the header; several ones with commas between them.
    """
    servers = []
    for url, rest in LINK.findall(link):
        found = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
            for name, quoted, bare in PARAMETER.findall(rest)
        }
        if found.get("rel") != "ice-server":
            continue
        with contextlib.suppress(ValueError):  # one that this version does not know
            servers.append(IceServer(url, found.get("username"), found.get("credential")))
    return tuple(servers)


def configuration(servers: Sequence[IceServer], relay_only: bool) -> RTCConfiguration:
    """What aiortc wants to know.

    Args:
        servers: those that aiortc does not know are passed over.
        relay_only: let media go through TURN servers only.
    """
    known = [RTCIceServer(s.url, s.username, s.credential) for s in servers if s.works_here]
    # An explicit list, even if empty: with None aiortc asks a public STUN server.
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    return RTCConfiguration(iceServers=known, iceTransportPolicy=policy)
