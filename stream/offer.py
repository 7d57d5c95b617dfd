"""What must be known about an SDP offer or fragment before aiortc sees it: pure text."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

MAX_LINES = 2000
MAX_CANDIDATES = 64
"""Far more than browsers send."""

MAX_MEDIA = 8

MEDIA_KINDS = ("audio", "video", "application")

CANDIDATE_TYPES = {"host": True, "srflx": True, "relay": True, "prflx": False}
"""Whether a candidate of a type can be used; peer-reflexive ones are found, not told."""

CANDIDATE_PARTS = 8
"""Foundation, component, transport, priority, address, port, "typ", type; the rest may be left out
(RFC 8839 section 5.1)."""

MAX_EXTENSION = 255
"""The largest id of a header extension in a packet. Offers may hold larger ones, which only keep a
place (RFC 8285 section 7)."""


class BadSdp(Exception):
    """The text cannot be an offer or a fragment; the message says why."""


@dataclass(frozen=True)
class Fragment:
    """Trickled candidates (RFC 8840).

    Args:
        candidates: pairs of the media section's id, or None for the first section, and the
            candidate without its "candidate:".
        count: how many candidates were given, with those that cannot be used.
        username: the ICE user name fragment, if given.
    """

    candidates: tuple[tuple[str | None, str], ...]
    count: int
    username: str | None


class Video(Enum):
    """What an offer must do with video."""

    SENT = "send"
    RECEIVED = "receive"


DIRECTIONS = {
    "sendrecv": {Video.SENT, Video.RECEIVED},
    "sendonly": {Video.SENT},
    "recvonly": {Video.RECEIVED},
    "inactive": set[Video](),
}


def _video_directions(lines: list[str]) -> set[Video]:
    """What the video sections do, together; a section or session that says nothing does both."""
    session = DIRECTIONS["sendrecv"]
    found: set[Video] = set()
    kind, direction = "", session
    for line in [*lines, "m="]:
        if line.startswith("m="):
            if kind == "video":
                found |= direction
            elif not kind:
                session = direction
            kind, direction = line[2:].partition(" ")[0], session
        elif line.startswith("a=") and line[2:].strip() in DIRECTIONS:
            direction = DIRECTIONS[line[2:].strip()]
    return found


def _lines(text: str) -> list[str]:
    if "\0" in text:
        raise BadSdp("It holds a zero byte.")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise BadSdp(f"It has more than {MAX_LINES} lines.")
    return lines


def usable_candidate(candidate: str, relay_only: bool = False) -> str | None:
    """A candidate ("1 1 udp 2122260223 192.0.2.1 5000 typ host") without what is not needed, or
    None if it is one that cannot be checked here.

    Names under .local are left out. Browsers that have no camera permission hide their address
    behind one, aioice waits a second for each to be resolved, and usually in vain. The browser's
    own checks reach this server all the same and tell its address (RFC 8445 section 7.3.1.3).
    TCP candidates are left out as well, aioice has none, and so are those of a second component:
    there is none, because RTCP and RTP share a port here.

    With `relay_only`, all but relayed ones are left out, by what they say of themselves.

    Raises:
        BadSdp: it is no candidate.
    """
    parts = candidate.split()[:CANDIDATE_PARTS]
    if len(parts) < CANDIDATE_PARTS or parts[6] != "typ":
        raise BadSdp("A candidate is incomplete.")
    _, component, transport, priority, address, port, _, kind = parts
    if kind not in CANDIDATE_TYPES:
        raise BadSdp("A candidate is of no known type.")
    _number(component, 1, 256, "The component of a candidate")
    _number(priority, 0, 2**32 - 1, "The priority of a candidate")
    _number(port, 0, 65535, "The port of a candidate")
    if address.lower().endswith(".local"):
        return None
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise BadSdp("The address of a candidate is not an IP address.") from None
    if transport.lower() != "udp" or component != "1" or not CANDIDATE_TYPES[kind]:
        return None
    if relay_only and kind != "relay":
        return None
    if port == "0" or ip.is_multicast or ip.is_unspecified or "%" in address:
        raise BadSdp("A candidate names no address that could be sent to.")
    return " ".join(parts)


def _number(text: str, low: int, high: int, what: str) -> int:
    """A decimal number within limits; `what` begins the complaint."""
    if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise BadSdp(f"{what} is not a number from {low} to {high}.")
    return int(text)


def prepare(offer: str, wants: Video, relay_only: bool = False) -> str:
    """Return the offer as aiortc shall see it.

    Args:
        offer: SDP of the browser.
        wants: what the other side must do with video.
        relay_only: leave out candidates that are not relayed.

    Raises:
        BadSdp: it cannot be an offer.
    """
    lines = _lines(offer)
    if not lines or lines[0].strip() != "v=0":
        raise BadSdp("It does not begin with v=0.")
    media = [line for line in lines if line.startswith("m=")]
    if not any(line.startswith("m=video ") for line in media):
        raise BadSdp("It has no video section.")
    if wants not in _video_directions(lines):
        raise BadSdp(f"It does not {wants.value} video.")
    if len(media) > MAX_MEDIA:
        raise BadSdp(f"It has more than {MAX_MEDIA} media sections.")
    if not any(line.startswith("a=fingerprint:") for line in lines):
        raise BadSdp("It has no DTLS fingerprint.")
    _check_sections(lines)
    kept = []
    count = 0
    for line in lines:
        if line.startswith("a=candidate:"):
            count += 1
            candidate = usable_candidate(line.removeprefix("a=candidate:"), relay_only)
            if candidate is None:
                continue
            line = f"a=candidate:{candidate}"
        if line.startswith("a=extmap:") and _extension(line) > MAX_EXTENSION:
            continue
        # Told that nothing more comes, aioice gives up when the candidates it knows have failed,
        # perhaps before the browser's own checks have arrived. Peers that never connect are given
        # up by the clock instead.
        if not line.startswith("a=end-of-candidates"):
            kept.append(line)
    if count > MAX_CANDIDATES:
        raise BadSdp(f"It has more than {MAX_CANDIDATES} candidates.")
    return "\r\n".join(kept) + "\r\n"


def _extension(line: str) -> int:
    """The id in "a=extmap:3/sendonly urn:example"."""
    number = line.removeprefix("a=extmap:").partition(" ")[0].partition("/")[0]
    return _number(number, 1, 2**16 - 1, "The id of a header extension")


def _check_sections(lines: list[str]) -> None:
    """Refuse media sections that contradict themselves or each other.

    aiortc notices such things late, in parts that are hard to undo: a transport that several
    sections share and no section has, an association without a port.

    Raises:
        BadSdp: what is wrong.
    """
    sections: list[list[str]] = []
    for line in lines:
        if line.startswith("m="):
            sections.append([line])
        elif sections:
            sections[-1].append(line)
    kinds = [section[0][2:].partition(" ")[0] for section in sections]
    if not set(kinds) <= set(MEDIA_KINDS):
        raise BadSdp("It has a media section that is not audio, video or application.")
    if kinds.count("application") > 1:
        raise BadSdp("It has more than one application section.")
    ids = [_values(section, "mid") for section in sections]
    if any(len(each) > 1 for each in ids):
        raise BadSdp("A media section has two ids: perhaps an m= line is missing.")
    named = [(each or [""])[0] for each in ids]
    if len(set(named)) < len(named):
        raise BadSdp("Two media sections have the same id.")
    for group in _values(lines, "group"):
        semantics, *members = group.split() or [""]
        if semantics != "BUNDLE":
            continue
        if not set(members) <= set(named):
            raise BadSdp("It bundles a media section that is not there.")
        if len(set(members)) < len(members):
            raise BadSdp("It bundles a media section with itself.")
    for kind, section in zip(kinds, sections, strict=True):
        if kind == "application":
            _check_association(section)
        else:
            _check_payloads(section)


def _values(lines: list[str], name: str) -> list[str]:
    """What stands behind "a=NAME:" in some lines."""
    start = f"a={name}:"
    return [line.removeprefix(start).strip() for line in lines if line.startswith(start)]


def _check_payloads(section: list[str]) -> None:
    mapped = set()
    for value in _values(section, "rtpmap"):
        mapped.add(_number(value.partition(" ")[0], 0, 127, "A payload type"))
    for name in ("fmtp", "rtcp-fb"):
        for value in _values(section, name):
            payload = value.partition(" ")[0]
            if name == "rtcp-fb" and payload == "*":
                continue
            if _number(payload, 0, 127, "A payload type") not in mapped:
                raise BadSdp(f"a={name} names payload type {payload}, which has no a=rtpmap.")


def _check_association(section: list[str]) -> None:
    if " DTLS/SCTP " in section[0]:  # of old browsers: the port is the format
        ports = section[0].split()[3:4]
    else:
        ports = _values(section, "sctp-port")
    if len(ports) != 1:
        raise BadSdp("The application section has no SCTP port.")
    _number(ports[0], 1, 65535, "The SCTP port")
    for size in _values(section, "max-message-size"):
        _number(size, 0, 2**32 - 1, "The largest message size")


def media_ids(offer: str) -> list[str]:
    """The ids of an offer's media sections, in their order."""
    return _values(offer.splitlines(), "mid")


def ice_username(offer: str) -> str | None:
    """The first ICE user name fragment of an offer."""
    for line in offer.splitlines():
        if line.startswith("a=ice-ufrag:"):
            return line.removeprefix("a=ice-ufrag:").strip()
    return None


def parse_fragment(text: str, relay_only: bool = False) -> Fragment:
    """Read trickled candidates; those that cannot be used here are left out.

    Raises:
        BadSdp: it is no fragment.
    """
    candidates: list[tuple[str | None, str]] = []
    count = 0
    username: str | None = None
    mid: str | None = None
    known = False
    for line in _lines(text):
        name, colon, value = line.strip().partition(":")
        if name == "a=mid" and colon:
            mid, known = value.strip(), True
        elif name == "a=ice-ufrag" and colon:
            username, known = value.strip(), True
        elif name == "a=candidate" and colon:
            known = True
            count += 1
            candidate = usable_candidate(value, relay_only)
            if candidate is not None:
                candidates.append((mid, candidate))
        elif name == "a=end-of-candidates":
            known = True  # see prepare()
    if not known:
        raise BadSdp("It holds neither a candidate nor a=end-of-candidates.")
    return Fragment(tuple(candidates), count, username)
