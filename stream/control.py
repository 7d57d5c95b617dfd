"""Reading what a browser sends on its `control` channel."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

MAX_MESSAGE = 4096
"""Characters of a control message."""

MAX_PLAYOUT = 10_000
"""Milliseconds; browsers buffer no more sound than that."""


class BadControl(Exception):
    """The message cannot be read; the text says why."""


@dataclass(frozen=True)
class Ping:
    """The page measures the way to the server and back."""

    t: float


@dataclass(frozen=True)
class Retake:
    """The caller wants the avatar built anew."""


@dataclass(frozen=True)
class Keep:
    """The caller takes that back: the avatar stays."""


@dataclass(frozen=True)
class Refine:
    """The receiver turns refining on or off."""

    on: bool


@dataclass(frozen=True)
class Playout:
    """The receiver plays sound later than it shows a picture that came with it, by `seconds`."""

    seconds: float


Control = Ping | Retake | Keep | Refine | Playout


def parse(text: str | bytes) -> Control:
    """Read one message.

    Raises:
        BadControl: it is too long, not a JSON object, of an unknown type or incomplete.
    """
    if len(text) > MAX_MESSAGE:
        raise BadControl(f"A control message may have {MAX_MESSAGE} characters at most.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise BadControl("The control message is not JSON.") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if kind == "ping":
        t = message.get("t")
        # Compared, because isfinite() fails for whole numbers that no float can hold.
        if isinstance(t, bool) or not isinstance(t, (int, float)) or not abs(t) < math.inf:
            raise BadControl("A ping needs t, a finite number.")
        return Ping(t)
    if kind == "retake":
        return Retake()
    if kind == "keep":
        return Keep()
    if kind == "refine":
        on = message.get("on")
        if not isinstance(on, bool):
            raise BadControl("A refine message needs on, true or false.")
        return Refine(on)
    if kind == "playout":
        ms = message.get("ms")
        if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not abs(ms) <= MAX_PLAYOUT:
            raise BadControl(f"A playout message needs ms, a number up to {MAX_PLAYOUT}.")
        return Playout(ms / 1000)
    raise BadControl(
        'A control message is a JSON object with type "ping", "retake", "keep", "refine" or '
        '"playout".'
    )
