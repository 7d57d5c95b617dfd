"""Whether an avatar follows its caller, and the words for both sides.

Faces leave the picture for a moment, and single frames are blurred: words that came and went with
each would be no help to anybody.
"""

from __future__ import annotations

from stream.messages import Presence

HOLD_AFTER = 0.3
"""Seconds without a fit frame after which the avatar counts as held."""

LIVE_AFTER = 0.3
"""Seconds of fit frames without an unfit one after which it counts as live again."""

REASON_STAYS = 1.0
"""Seconds for which the reason is not replaced by another: it must be read."""

LIVE = "live"
HELD = "held"
AWAY = "away"

NO_PICTURE = "no_picture"
FAILED = "failed"

TO_CALLER = {
    NO_PICTURE: "No picture of your camera arrives. Is the camera on?",
    FAILED: "The server cannot follow your face just now. It tries again.",
}
"""Where the engine has no words."""

TURNED = "They have turned away."
TO_OTHERS = {
    "no_face": "They have left the picture.",
    "two_faces": "Somebody else is in their picture.",
    "off_frame": "They are half outside their picture.",
    "turned_left": TURNED,
    "turned_right": TURNED,
    "chin_up": TURNED,
    "chin_down": TURNED,
    NO_PICTURE: "Their camera sends no picture.",
    FAILED: "The server cannot follow them just now.",
}
UNCLEAR = "Their camera does not see them well."
STAYS = "You see them as they were last."
GONE = "The connection to them was lost, and is waited for. You see them as they were last."


class PresencePolicy:
    """Pure decision; times are seconds of any monotonic clock. A call begins live."""

    def __init__(self) -> None:
        self._code = "ok"
        self._advice = ""
        self._unfit_since: float | None = None
        self._fit_since: float | None = None
        self._changed = float("-inf")

    @property
    def held(self) -> bool:
        """Whether the last good avatar stays."""
        return self._code != "ok"

    def fit(self, now: float) -> bool:
        """A frame was followed; return whether there is something new to tell."""
        self._unfit_since = None
        if not self.held:
            return False
        if self._fit_since is None:
            self._fit_since = now
        return now - self._fit_since >= LIVE_AFTER and self._become("ok", "", now)

    def unfit(self, now: float, code: str, advice: str = "") -> bool:
        """A frame could not be followed; return whether there is something new to tell.

        Args:
            now: seconds.
            code: why; anything but "ok".
            advice: one line for the caller.
        """
        self._fit_since = None
        if self._unfit_since is None:
            self._unfit_since = now
        if self.held:
            new = code != self._code and now - self._changed >= REASON_STAYS
        else:
            new = now - self._unfit_since >= HOLD_AFTER
        return new and self._become(code, advice or TO_CALLER.get(code, ""), now)

    def to_caller(self) -> Presence:
        """The words to the caller."""
        return Presence(HELD if self.held else LIVE, self._code, self._advice)

    def to_others(self) -> Presence:
        """The words about the caller."""
        if not self.held:
            return Presence(LIVE, "ok", "")
        return Presence(HELD, self._code, f"{TO_OTHERS.get(self._code, UNCLEAR)} {STAYS}")

    def _become(self, code: str, advice: str, now: float) -> bool:
        self._code, self._advice, self._changed = code, advice, now
        self._fit_since = None
        return True


def away() -> Presence:
    """The words about a caller whose connection was lost."""
    return Presence(AWAY, "lost", GONE)
