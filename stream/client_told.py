"""What a server has told a caller, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stream.messages import (
    CameraRate,
    Ended,
    Error,
    Framing,
    Live,
    Member,
    Presence,
    Receivers,
    Room,
)

FRAMING = "framing"
ENDED = "ended"


@dataclass(frozen=True)
class Told:
    """The newest of everything.

    Args:
        state: "framing" until there is an avatar; then "live", or "held" while the pictures cannot
            be followed and the last good avatar stays; "ended".
        code: why: "ok" for a fit picture, or a slug such as "no_face"; "" before any was looked at.
        words: the same for a person to read, perhaps empty.
        receivers: how many are looking.
        members: who is in the room, in the order of their seats.
        fps: pictures per second that are of use to the server; None before it has said.
    """

    state: str = FRAMING
    code: str = ""
    words: str = ""
    receivers: int = 0
    members: tuple[Member, ...] = ()
    fps: int | None = None

    @property
    def avatar(self) -> bool:
        """Whether there is an avatar to look at."""
        return self.state not in (FRAMING, ENDED)

    def after(self, message: Mapping[str, Any]) -> Told:
        """What is known after one message more. Those of a kind that is not known change nothing.

        Raises:
            KeyError, TypeError: the message lacks something.
        """
        kind = message["type"]
        if kind in (Framing.type, Error.type):
            return replace(self, code=str(message["code"]), words=str(message["reason"]))
        if kind == Live.type:
            return replace(self, state="live", code="ok", words="")
        if kind == Presence.type:
            state, code = str(message["state"]), str(message["code"])
            return replace(self, state=state, code=code, words=str(message["reason"]))
        if kind == Receivers.type:
            return replace(self, receivers=int(message["count"]))
        if kind == Room.type:
            members = tuple(Member(str(m["call"]), str(m["state"])) for m in message["members"])
            return replace(self, members=members)
        if kind == CameraRate.type:
            return replace(self, fps=int(message["fps"]))
        if kind == Ended.type:
            return replace(self, state=ENDED, code=ENDED, words=str(message["reason"]))
        return self
