"""From viewpoint messages to the one viewpoint that the next frame shall show.

A receiver may send any number of messages, in any order and with any content: the newest valid one
wins, stale ones are dropped, and complaints about invalid ones are themselves thinned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from models.errors import ViewpointError
from models.viewpoint import Viewpoint
from stream.mailbox import Mailbox

MAX_MESSAGE = 1024
"""Characters of a viewpoint message; a real one has fewer than 100."""

MAX_SEQUENCE = 2**53 - 1
"""The largest integer that JavaScript counts to."""

COMPLAINT_INTERVAL = 0.5
"""Least seconds between two error messages to one receiver."""


@dataclass(frozen=True)
class Aim:
    """A viewpoint as it was received.

    Args:
        viewpoint: where to look from.
        sequence: the sender's number, or None if it gave none.
        received: when, seconds of a monotonic clock.
    """

    viewpoint: Viewpoint
    sequence: int | None
    received: float


def parse(text: str | bytes, now: float) -> Aim:
    """Read one message, such as {"seq": 7, "yaw": 10.0, "pitch": 0}.

    Raises:
        ViewpointError: it is too long, not JSON, not an object, or its values are no viewpoint.
    """
    if len(text) > MAX_MESSAGE:
        raise ViewpointError(f"A viewpoint message may have {MAX_MESSAGE} characters at most.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ViewpointError(
            'The viewpoint message is not JSON; send one such as {"seq": 1, "yaw": 10}.'
        ) from None
    viewpoint = Viewpoint.parse(message)
    sequence = message.get("seq")
    if sequence is not None and (
        isinstance(sequence, bool)
        or not isinstance(sequence, int)
        or not 0 <= sequence <= MAX_SEQUENCE
    ):
        raise ViewpointError("seq must be a whole number that grows with every message.")
    return Aim(viewpoint, sequence, now)


class ViewpointInbox:
    """The newest viewpoint that came in over one channel.

    A receiver may have a data channel and a WebSocket; each has an inbox of its own, because each
    counts for itself, and both fill the same mailbox.

    Args:
        mailbox: where the newest viewpoint is left for the renderer.
    """

    def __init__(self, mailbox: Mailbox[Aim]) -> None:
        self._mailbox = mailbox
        self._last_sequence = -1
        self._next_complaint = float("-inf")
        self.accepted = 0
        self.stale = 0
        self.refused = 0

    def receive(self, text: str | bytes, now: float) -> tuple[bool, ViewpointError | None]:
        """Take in one message.

        Returns:
            whether the mailbox was empty and holds a viewpoint now, and an error that the sender
            shall be told, if there is one and the last complaint is not too recent.
        """
        try:
            aim = parse(text, now)
        except ViewpointError as error:
            self.refused += 1
            if now < self._next_complaint:
                return False, None
            self._next_complaint = now + COMPLAINT_INTERVAL
            return False, error
        if aim.sequence is not None:
            if aim.sequence <= self._last_sequence:
                self.stale += 1
                return False, None
            self._last_sequence = aim.sequence
        self.accepted += 1
        return not self._mailbox.put(aim), None
