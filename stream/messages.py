"""The messages that the server sends on a `control` channel, as JSON objects with a "type"."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Message:
    """One JSON object; the class says its type."""

    type: ClassVar[str]

    def to_json(self) -> str:
        """The text that travels."""
        return json.dumps({"type": self.type, **asdict(self)}, separators=(",", ":"))


@dataclass(frozen=True)
class Framing(Message):
    """To the caller: whether the camera's picture can become an avatar, and what to change."""

    type: ClassVar[str] = "framing"
    fit: bool
    code: str
    reason: str


@dataclass(frozen=True)
class Live(Message):
    """To the caller: receivers can come now. `link` and `room_link` are paths on this server."""

    type: ClassVar[str] = "live"
    call: str
    link: str
    room: str | None = None
    room_link: str | None = None


@dataclass(frozen=True)
class Presence(Message):
    """To both: whether the avatar follows the caller, on every change and once on joining.

    `state` is "live"; "held" while the face cannot be followed and the last good avatar stays; or
    "away" while a caller is waited for whose connection was lost. `reason` is for whoever reads it,
    and empty when the state is "live".
    """

    type: ClassVar[str] = "presence"
    state: str
    code: str
    reason: str


@dataclass(frozen=True)
class CameraRate(Message):
    """To the caller: how many camera pictures per second are of use at present, on every change and
    once on joining. More would cost both sides work for nothing."""

    type: ClassVar[str] = "camera"
    fps: int


@dataclass(frozen=True)
class Member:
    """Somebody in a room: the call's name, and "waiting", "live" or "away"."""

    call: str
    state: str


@dataclass(frozen=True)
class Room(Message):
    """To both: who is in the room, in the order of their seats, on every change and on joining.

    `link` is a path on this server, `size` the most people with cameras, `you` the own call of
    whoever reads it, null for one who only watches.
    """

    type: ClassVar[str] = "room"
    room: str
    link: str
    members: tuple[Member, ...]
    size: int
    you: str | None


@dataclass(frozen=True)
class Receivers(Message):
    """To the caller: how many are watching."""

    type: ClassVar[str] = "receivers"
    count: int


@dataclass(frozen=True)
class Frame(Message):
    """To a receiver: the frame with RTP timestamp `rtp` shows the viewpoint with number `seq`."""

    type: ClassVar[str] = "frame"
    rtp: int
    seq: int | None


@dataclass(frozen=True)
class Frames(Message):
    """To a receiver whose `control` channel has the protocol "frames": what `Frame` says of several
    frames, as pairs of `rtp` and `seq`, because each message costs the server half a millisecond.
    """

    type: ClassVar[str] = "frames"
    frames: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True)
class GpuFigures:
    """A GPU of the server: percent, bytes, degrees Celsius, watts; null where it does not tell.

    `gpu` its number, `encoder` percent of the time its video encoder worked, `slowed` why its
    clocks are held down.
    """

    gpu: int
    utilisation: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    power: float | None
    power_limit: float | None
    encoder: float | None
    slowed: tuple[str, ...] | None


@dataclass(frozen=True)
class Statistics(Message):
    """To a receiver, about once a second. Milliseconds, bits per second.

    `fps` frames sent per second, `refined` whether the newest frame was refined, `dropped` frames
    that were replaced by a newer one before they could be sent, since the start, `gpus` the load of
    the server's GPUs, empty where it is not available. `effort` is what the server has time for
    while views move: "refined" all, "raw" no refining, "slow" at half the rate too, "coarse" drawn
    at half the size too. `lift_fps` avatars per second that follow the caller, `lift_ms` from the
    arrival of a camera frame until its avatar is in use, `codec` and `width` of what is sent.
    """

    type: ClassVar[str] = "stats"
    fps: float
    raster_ms: float
    refine_ms: float
    encode_ms: float
    bitrate: int
    refined: bool
    dropped: int
    gpus: tuple[GpuFigures, ...] = ()
    effort: str = "refined"
    lift_fps: float = 0.0
    lift_ms: float = 0.0
    codec: str = ""
    width: int = 0


@dataclass(frozen=True)
class Ended(Message):
    """To both, but not to a caller who hangs up: the call is over, and why."""

    type: ClassVar[str] = "ended"
    reason: str


@dataclass(frozen=True)
class Error(Message):
    """To both: a message was refused, or something went wrong; the call goes on."""

    type: ClassVar[str] = "error"
    code: str
    reason: str


@dataclass(frozen=True)
class Pong(Message):
    """The answer to a ping, with the ping's own time."""

    type: ClassVar[str] = "pong"
    t: float
