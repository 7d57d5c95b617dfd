"""Whether one more receiver fits, by what pictures really cost.

One who is let in although there is no room makes everybody's picture late. The rule: a picture for
every receiver, the new one included, must be rendered within the frame budget. By default raw
pictures must fit: under load, frames go out raw before anybody is turned away.

One who brings a camera must be followed too: all faces must be lifted `CAMERA_RATE` times a second
by the threads that there are for it.

On a GPU, a further avatar must fit into its memory too.
"""

from __future__ import annotations

from stream.gpu_load import GpuLoad
from stream.settings import Settings

COMFORT = 0.8
"""Part of the budget that must do for as many receivers as were too many before: measurements
differ from one moment to the next, and the answer must not."""


CAMERA_RATE = 8.0
"""Avatars per second that each caller must get: with fewer, mouths no longer move with words."""

CONVERSATION = 2
"""Callers who are let in whatever it costs."""


class Admission:
    """Pure decision for all receivers of a server, because they share the engine.

    Args:
        settings: `admission`, `frame_budget` and `min_gpu_memory`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._too_many: int | None = None

    @property
    def refined(self) -> bool:
        """Whether it is refined pictures that must fit."""
        return self._settings.admission == "refined"

    def used(self, receivers: int, seconds: float | None) -> float | None:
        """Part of the frame budget that a picture for each receiver takes; None if unknown.

        Args:
            receivers: of the whole server.
            seconds: of the engine for one picture; None if unknown.
        """
        return None if seconds is None else receivers * seconds / self._settings.frame_budget

    def has_time(self, receivers: int, seconds: float | None) -> bool:
        """Whether a picture for one more receiver can be rendered in time.

        Args:
            receivers: that are there already, of the whole server.
            seconds: of the engine for one picture, raw or refined as `refined` says; None if
                unknown, which is no reason to refuse anybody.
        """
        used = self.used(receivers + 1, seconds)
        if self._settings.admission == "off" or used is None:
            return True
        crowd = self._too_many is not None and receivers >= self._too_many
        if used > (COMFORT if crowd else 1.0):
            if not crowd:
                self._too_many = receivers
            return False
        if crowd:
            self._too_many = None
        return True

    def lifting(self, callers: int, seconds: float | None, threads: int) -> float | None:
        """Part of the time of the lifting threads that following so many takes; None if unknown.

        Args:
            callers: who are followed, of the whole server.
            seconds: of a thread for one lift; None if unknown.
            threads: that lift.
        """
        if seconds is None or self._settings.avatar != "live":
            return None
        return callers * seconds * CAMERA_RATE / threads

    def has_lift_time(self, callers: int, seconds: float | None, threads: int) -> bool:
        """Whether one more caller can be followed; the first two always are, for a conversation has
        two sides.

        Args:
            callers: who are there already.
            seconds: as for `lifting`.
            threads: as for `lifting`.
        """
        used = self.lifting(callers + 1, seconds, threads)
        return (
            self._settings.admission == "off"
            or callers < CONVERSATION
            or used is None
            or used <= 1.0
        )

    def has_memory(self, load: GpuLoad) -> bool:
        """Whether another avatar fits into the memory of every GPU that this process uses.

        Where the driver does not say which these are, or how much is free, it is taken to fit.
        """
        if self._settings.admission == "off":
            return True
        free = [gpu.memory_free for gpu in load.own]
        return all(size is None or size >= self._settings.min_gpu_memory for size in free)
