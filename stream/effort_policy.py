"""How much is given up when frames would be late.

First the refiner, which takes most of a frame's time; then every second frame; then half the width
and height. Switching back and forth would flicker, so a few misses in a row are needed to give up
the next thing, and single trials, further and further apart, to take the last one up again.
"""

from __future__ import annotations

from enum import IntEnum

MISSES = 3
"""Frames in a row that missed the budget before the next thing is given up."""

COMFORT = 0.8
"""Part of the budget that a trial must keep for a thing to be taken up again."""

FIRST_TRIAL = 1.0
LAST_TRIAL = 16.0
"""Seconds to the next trial: the first, doubling up to the last."""

SLOWNESS = 2.0
"""How many times as far apart frames are when the rate is given up."""


class Effort(IntEnum):
    """What goes into a frame: each gives up one thing more than the one before."""

    REFINED = 0
    RAW = 1
    SLOW = 2
    COARSE = 3

    @property
    def slowness(self) -> float:
        """How many times as far apart frames are as at the full rate."""
        return SLOWNESS if self >= Effort.SLOW else 1.0

    @property
    def word(self) -> str:
        """For messages."""
        return self.name.lower()


class EffortPolicy:
    """Pure decision for all receivers of a server, because they share the engine.

    Args:
        budget: seconds from the moment a frame fell due until it is ready.
        refined: the same where refining is all that there is to give up; None: no less.
    """

    def __init__(self, budget: float, refined: float | None = None) -> None:
        self._budget = budget
        self._refined = budget if refined is None else min(refined, budget)
        self._level = Effort.REFINED
        self._misses = 0
        self._settled = float("-inf")
        self._climbed = float("-inf")
        # Of each level: that refining hardly ever fits is no reason to stay at half the rate.
        self._pauses = dict.fromkeys(Effort, FIRST_TRIAL)
        self._next_trial = 0.0
        self._trying = False

    @property
    def level(self) -> Effort:
        """What goes into frames now, trials aside."""
        return self._level

    def decide(self, now: float, wanted: Effort = Effort.REFINED) -> Effort:
        """What shall go into a frame that is about to be rendered.

        Args:
            now: seconds.
            wanted: the most that its receiver asks for.
        """
        if self._level > wanted and now >= self._next_trial:
            self._next_trial = now + self._pauses[self._level]  # one trial at a time
            self._trying = True
            return Effort(self._level - 1)
        return max(self._level, wanted)

    def measured(self, now: float, seconds: float, effort: Effort) -> None:
        """Take in how long after it fell due a frame was ready.

        Args:
            now: when it was ready, seconds.
            seconds: since it fell due.
            effort: what `decide` said for it.
        """
        if effort < self._level:
            if self._trying:
                self._tried(now, seconds)
            return
        # What a trial holds up tells nothing, nor what fell due before things were as they are.
        if (self._trying and now < self._next_trial) or now - seconds < self._settled:
            return
        if seconds > self._allowed(effort):
            self._misses += 1
        elif effort == self._level:
            self._misses = 0
        if self._misses >= MISSES and self._level < max(Effort):
            below = Effort(self._level + 1)
            if now - self._climbed <= 2 * self._pauses[below]:
                self._lengthen(below)
            self._enter(below, now)

    def _allowed(self, effort: Effort) -> float:
        return self._refined if effort is Effort.REFINED else self._budget

    def _tried(self, now: float, seconds: float) -> None:
        self._trying = False
        if seconds <= COMFORT * self._allowed(Effort(self._level - 1)):
            # A trial that goes well soon after giving up says the load comes and goes: only a
            # longer quiet time earns short pauses again.
            if now - self._settled > 2 * self._pauses[self._level]:
                self._pauses[self._level] = FIRST_TRIAL
            self._climbed = now
            self._enter(Effort(self._level - 1), now)
        else:
            self._lengthen(self._level)
            self._next_trial = now + self._pauses[self._level]
            self._settled = now

    def _enter(self, level: Effort, now: float) -> None:
        self._level = level
        self._settled = now
        self._misses = 0
        self._trying = False
        self._next_trial = now + self._pauses[level]

    def _lengthen(self, level: Effort) -> None:
        self._pauses[level] = min(2 * self._pauses[level], LAST_TRIAL)
