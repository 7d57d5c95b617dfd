"""Where a receiver looks from: a plain, always valid value. No torch here, so that `stream` may use
it freely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ViewpointError

YAW_LIMIT = 60.0
"""Degrees to either side."""
PITCH_LIMIT = 30.0
"""Degrees up and down."""
ZOOM_LIMITS = (0.5, 3.0)
EYE_DISTANCE_LIMITS = (0.3, 3.0)
"""Metres between the receiver's eye and the screen's plane."""


@dataclass(frozen=True)
class Viewpoint:
    """Where a receiver looks from. Values beyond the limits are clamped on construction, so every
    `Viewpoint` is valid.

    Args:
        yaw: degrees; > 0 moves the eye to the right of the picture. Clamped to +-60.
        pitch: degrees; > 0 moves the eye up. Clamped to +-30.
        zoom: 1 is the portrait's own size. Clamped to 0.5..3.
        roll: degrees; > 0 turns the picture clockwise. Wrapped to -180..180.
        eye: the receiver's eye in metres relative to the centre of the screen (x right, y down, z
            away from the receiver, so z < 0 in front of the screen), or None. When given, yaw and
            pitch are ignored and the screen is a window: an off-axis frustum. Clamped to 0.3..3 m
            before the screen and to the angles above.

    Raises:
        ViewpointError: a value is not a finite number, or the eye is behind the screen (z > 0).
    """

    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0
    roll: float = 0.0
    eye: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # the dataclass is frozen
        put(self, "yaw", _clamp(_number("yaw", self.yaw), -YAW_LIMIT, YAW_LIMIT))
        put(self, "pitch", _clamp(_number("pitch", self.pitch), -PITCH_LIMIT, PITCH_LIMIT))
        put(self, "zoom", _clamp(_number("zoom", self.zoom), *ZOOM_LIMITS))
        put(self, "roll", math.remainder(_number("roll", self.roll), 360.0))
        if self.eye is not None:
            put(self, "eye", _eye(self.eye))

    @classmethod
    def parse(cls, message: object) -> Viewpoint:
        """Read a viewpoint from a decoded message; keys that are not a viewpoint's (seq, type, ...)
        are left alone.

        Args:
            message: a mapping with any of yaw, pitch, zoom, roll (numbers) and eye (three numbers,
                or None). What is missing takes its default.

        Raises:
            ViewpointError: the message is not a mapping, a value has the wrong type or is not
                finite.
        """
        if not isinstance(message, Mapping):
            raise ViewpointError(
                'A viewpoint is a JSON object such as {"yaw": 10, "pitch": 0, "zoom": 1}; '
                f"got {type(message).__name__}."
            )
        return cls(
            yaw=message.get("yaw", 0.0),
            pitch=message.get("pitch", 0.0),
            zoom=message.get("zoom", 1.0),
            roll=message.get("roll", 0.0),
            eye=message.get("eye"),
        )


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _number(name: str, value: object) -> float:
    # bool is an int to Python, but {"yaw": true} is a mistake of the sender.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ViewpointError(f"{name} must be a number, not {type(value).__name__}.")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ViewpointError(f"{name} must be a finite number.")
    return number


def _eye(value: object) -> tuple[float, float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ViewpointError("eye must be three numbers in metres, [x, y, z].")
    x, y, z = (_number(f"eye {axis}", part) for axis, part in zip("xyz", value, strict=True))
    if z > 0:
        raise ViewpointError(
            "eye z must be negative: z points away from the receiver, who is before the screen."
        )
    low, high = EYE_DISTANCE_LIMITS
    z = _clamp(z, -high, -low)
    side = -z * math.tan(math.radians(YAW_LIMIT))
    x = _clamp(x, -side, side)
    rise = math.hypot(x, z) * math.tan(math.radians(PITCH_LIMIT))
    return x, _clamp(y, -rise, rise), z
