"""The states of a call, without any input or output.

waiting --(fit frames in a row)--> enrolling --(avatar built)--> live --> ended
   ^                                   |                          |
   +----(the picture was refused)------+          retake: enrols anew while staying live

Beside that a call is "away" while its caller's connection is lost; what was reached stays.
"""

from __future__ import annotations

from enum import StrEnum


class CallState(StrEnum):
    """What a call is doing."""

    WAITING = "waiting"
    ENROLLING = "enrolling"
    LIVE = "live"
    ENDED = "ended"


class WrongState(Exception):
    """The call cannot do this in its present state: an error of this program, not of its users."""


class CallMachine:
    """Which step of a call may follow which.

    Args:
        fit_frames: fit frames in a row that start the building of the avatar.
    """

    def __init__(self, fit_frames: int = 2) -> None:
        self._needed = fit_frames
        self._fit = 0
        self._building = False
        self._retaking = False
        self._live = False
        self._away = False
        self._ended = False

    @property
    def state(self) -> CallState:
        """The present state; a call that retakes its portrait stays live."""
        if self._ended:
            return CallState.ENDED
        if self._live:
            return CallState.LIVE
        return CallState.ENROLLING if self._building else CallState.WAITING

    @property
    def away(self) -> bool:
        """Whether a caller is waited for whose connection was lost."""
        return self._away and not self._ended

    @property
    def seat(self) -> str:
        """What the others in a room are told: "waiting", "live" or "away"."""
        if self.away:
            return "away"
        return "live" if self._live else "waiting"

    @property
    def wants_frames(self) -> bool:
        """Whether the caller's camera is to be looked at."""
        return not self._ended and not self._building and (self._retaking or not self._live)

    def checked(self, fit: bool) -> bool:
        """A camera frame was looked at; return whether the avatar shall be built from it now."""
        if not self.wants_frames:
            return False
        self._fit = self._fit + 1 if fit else 0
        if self._fit < self._needed:
            return False
        self._fit = 0
        self._building = True
        return True

    def refused(self) -> None:
        """The avatar could not be built; look for another frame."""
        self._finish_building()

    def built(self) -> None:
        """The avatar is there; the call is live."""
        self._finish_building()
        self._live = True
        self._retaking = False

    def adopt(self) -> None:
        """An avatar is there without enrolment: a call that has no caller."""
        if self._live or self._ended or self._building:
            raise WrongState("The call has an avatar or has ended.")
        self._live = True

    def retake(self) -> bool:
        """The caller wants a new portrait; return whether that changes anything."""
        if self._ended or not self._live or self._retaking:
            return False
        self._retaking = True
        return True

    def keep(self) -> None:
        """The caller takes the retake back; a portrait that is being built still comes."""
        self._retaking = False
        self._fit = 0

    def lost(self) -> bool:
        """The caller's connection was lost; return whether that is news."""
        news = not self._away and not self._ended
        self._away = True
        return news

    def back(self) -> bool:
        """The caller is connected; return whether they had been away.

        A retake that was under way is given up: who comes back is told that the call is live, and
        would not know that a portrait is still to be taken.
        """
        self.keep()
        news = self.away
        self._away = False
        return news

    def end(self) -> bool:
        """End the call; return False if it had already ended."""
        first = not self._ended
        self._ended = True
        return first

    def _finish_building(self) -> None:
        if not self._building:
            raise WrongState("No avatar was being built.")
        self._building = False
