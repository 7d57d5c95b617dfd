"""Whether a frame can be refined in time, or must go out raw.

The engine's refiner takes most of a frame's time. Where it is too slow for the frame budget (a busy
machine, many receivers) frames go out raw rather than late. Switching back and forth would flicker,
so a few misses in a row are needed to give up refining, and single trials, further and further
apart, to take it up again.
"""

from __future__ import annotations

MISSES = 3
"""Refined frames in a row that missed the budget before frames go out raw."""

COMFORT = 0.8
"""Part of the budget that a trial must keep for refining to be taken up again."""

FIRST_TRIAL = 1.0
LAST_TRIAL = 16.0
"""Seconds to the next trial: the first, doubling up to the last."""


class RefinePolicy:
    """Pure decision for all receivers of a server, because they share the engine.

    Args:
        budget: seconds from the moment a frame fell due until it is ready.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._misses = 0
        self._raw_since: float | None = None
        self._trial_pause = FIRST_TRIAL
        self._next_trial = 0.0

    @property
    def refining(self) -> bool:
        """Whether frames are refined now, trials aside."""
        return self._raw_since is None

    def decide(self, now: float) -> bool:
        """Whether the frames that are about to be rendered shall be refined."""
        if self._raw_since is None:
            return True
        if now >= self._next_trial:
            self._next_trial = now + self._trial_pause  # one trial at a time
            return True
        return False

    def measured(self, now: float, seconds: float) -> None:
        """Take in how long after it fell due a refined frame was ready; raw ones are not told."""
        if self._raw_since is None:
            self._misses = self._misses + 1 if seconds > self._budget else 0
            if self._misses >= MISSES:
                self._raw_since = now
                self._next_trial = now + self._trial_pause
                self._misses = 0
            return
        if seconds <= COMFORT * self._budget:
            # A trial that goes well soon after giving up says the load comes and goes: only a
            # longer quiet time earns short pauses again.
            if now - self._raw_since > 2 * self._trial_pause:
                self._trial_pause = FIRST_TRIAL
            self._raw_since = None
        else:
            self._trial_pause = min(self._trial_pause * 2, LAST_TRIAL)
            self._next_trial = now + self._trial_pause
