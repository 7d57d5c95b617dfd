"""What must be known about an SDP offer or fragment before aiortc sees it: pure text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MAX_LINES = 2000
MAX_CANDIDATES = 64
"""Far more than browsers send."""

MAX_MEDIA = 8


class BadSdp(Exception):
    """The text cannot be an offer or a fragment; the message says why."""


@dataclass(frozen=True)
class Fragment:
    """Trickled candidates (RFC 8840).

    Args:
        candidates: pairs of the media section's id and the candidate without its "candidate:".
        username: the ICE user name fragment, if given.
    """

    candidates: tuple[tuple[str, str], ...]
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


def is_usable_candidate(candidate: str) -> bool:
    """Whether a candidate ("1 1 udp 2122260223 192.0.2.1 5000 typ host") can be checked here.

    Names under .local are left out. Browsers that have no camera permission hide their address
    behind one, aioice waits a second for each to be resolved, and usually in vain. The browser's
    own checks reach this server all the same and tell its address (RFC 8445 section 7.3.1.3).
    TCP candidates are left out as well: aioice has none.
    """
    parts = candidate.split()
    return len(parts) >= 8 and parts[2].lower() == "udp" and not parts[4].endswith(".local")


def prepare(offer: str, wants: Video) -> str:
    """Return the offer as aiortc shall see it.

    Args:
        offer: SDP of the browser.
        wants: what the other side must do with video.

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
    sections = {line.removeprefix("a=mid:").strip() for line in lines if line.startswith("a=mid:")}
    for line in lines:
        if line.startswith("a=group:BUNDLE") and not sections.issuperset(line.split()[1:]):
            raise BadSdp("It bundles a media section that is not there.")
    kept = []
    count = 0
    for line in lines:
        if line.startswith("a=candidate:"):
            count += 1
            if not is_usable_candidate(line.removeprefix("a=candidate:")):
                continue
        # Told that nothing more comes, aioice gives up when the candidates it knows have failed,
        # perhaps before the browser's own checks have arrived. Peers that never connect are given
        # up by the clock instead.
        if not line.startswith("a=end-of-candidates"):
            kept.append(line)
    if count > MAX_CANDIDATES:
        raise BadSdp(f"It has more than {MAX_CANDIDATES} candidates.")
    return "\r\n".join(kept) + "\r\n"


def ice_username(offer: str) -> str | None:
    """The first ICE user name fragment of an offer."""
    for line in offer.splitlines():
        if line.startswith("a=ice-ufrag:"):
            return line.removeprefix("a=ice-ufrag:").strip()
    return None


def parse_fragment(text: str) -> Fragment:
    """Read trickled candidates; those that cannot be used here are left out.

    Raises:
        BadSdp: it is no fragment.
    """
    candidates: list[tuple[str, str]] = []
    username = None
    mid = "0"
    known = False
    for line in _lines(text):
        name, colon, value = line.strip().partition(":")
        if name == "a=mid" and colon:
            mid, known = value, True
        elif name == "a=ice-ufrag" and colon:
            username, known = value.strip(), True
        elif name == "a=candidate" and colon:
            known = True
            if len(value.split()) < 8:
                raise BadSdp("A candidate is incomplete.")
            if is_usable_candidate(value):
                candidates.append((mid, value))
        elif name == "a=end-of-candidates":
            known = True  # see prepare()
    if not known:
        raise BadSdp("It holds neither a candidate nor a=end-of-candidates.")
    if len(candidates) > MAX_CANDIDATES:
        raise BadSdp(f"It has more than {MAX_CANDIDATES} candidates.")
    return Fragment(tuple(candidates), username)
