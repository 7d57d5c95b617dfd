"""From viewpoint messages to the one viewpoint that the next frame shall show.

A receiver may send any number of messages, in any order and with any content: the newest valid one
wins, stale ones are dropped, and complaints about invalid ones are themselves thinned.
"""

from __future__ import annotations

import json
import math
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


NOTABLE_INTERVAL = 0.004
"""Seconds between viewpoints below which only the first since the last frame is announced to the
renderer: no screen makes more than 240 a second, and a flood must not wake it each time."""

REST = 0.25
"""Seconds without a viewpoint after which the next one counts as the first."""


@dataclass(frozen=True)
class Aim:
    """A viewpoint as it was received.

    Args:
        viewpoint: where to look from.
        sequence: the sender's number, or None if it gave none.
        received: when it came, seconds of a monotonic clock.
        interval: seconds between viewpoints lately; infinite if there was only one.
    """

    viewpoint: Viewpoint
    sequence: int | None
    received: float
    interval: float = math.inf


def parse(text: str | bytes) -> tuple[Viewpoint, int | None]:
    """Read one message, such as {"seq": 7, "yaw": 10.0, "pitch": 0}: the viewpoint and its number.

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
    return viewpoint, sequence


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
        self._next_complaint = -math.inf
        self._last_time = -math.inf
        self._interval = math.inf
        self.accepted = 0
        self.stale = 0
        self.refused = 0

    def receive(self, text: str | bytes, now: float) -> tuple[bool, ViewpointError | None]:
        """Take in one message.

        Returns:
            whether the renderer should look at the mailbox, and an error that the sender shall be
            told, if there is one and the last complaint is not too recent.
        """
        try:
            viewpoint, sequence = parse(text)
        except ViewpointError as error:
            self.refused += 1
            if now < self._next_complaint:
                return False, None
            self._next_complaint = now + COMPLAINT_INTERVAL
            return False, error
        if sequence is not None:
            if sequence <= self._last_sequence:
                self.stale += 1
                return False, None
            self._last_sequence = sequence
        self.accepted += 1
        self._time(now)
        aim = Aim(viewpoint, sequence, now, self._interval)
        replaced = self._mailbox.put(aim)
        return not replaced or self._interval >= NOTABLE_INTERVAL, None

    def _time(self, now: float) -> None:
        """Keep a moving average of the time between viewpoints."""
        gap = now - self._last_time
        self._last_time = now
        if gap > REST:
            self._interval = math.inf
        elif math.isinf(self._interval):
            self._interval = gap
        else:
            self._interval += 0.2 * (gap - self._interval)
