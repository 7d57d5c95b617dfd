"""The numbers of the stream part that somebody may want to change, with units and reasons."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass, field

from stream import ice_servers
from stream.ice_servers import IceServer

SIZES = (256, 512)
DEVICES = ("auto", "cpu", "cuda")
MEDIA_ADDRESSES = ("auto", "loopback")
ADMISSIONS = ("raw", "refined", "off")
AVATARS = ("live", "once")
ENCODERS = ("auto", "x264", "nvenc")


@dataclass(frozen=True)
class Settings:
    """How a server runs. All times are seconds, all rates bits per second unless said otherwise.

    Args:
        host: address to listen on for HTTP.
        port: TCP port to listen on; 0 takes a free one.
        size: edge of the square picture in pixels.
        device: of the engine: "cpu", "cuda" (an NVIDIA GPU) or "auto" (a GPU where there is one).
        ice_servers: STUN and TURN servers; none by default, so that nothing leaves the network.
        ice_policy: "all", or "relay": media takes no way but through a TURN server, so that
            neither side of a connection is told the other's addresses by it.
        turn_secret: shared with the TURN servers that are named without a user; each connection
            gets a password made from it.
        turn_lifetime: for which such passwords hold. A relay that is in use outlives its password.
        media_addresses: addresses that media is offered on. "auto": those of the network, and
            127.0.0.1 as well where `host` is a loopback address or there is no network. "loopback":
            127.0.0.1 alone, so that no other machine can send anything; not every browser connects.
        avatar: "live": the avatar follows the caller, lifted again from the newest camera frame.
            "once": it stays as it was built.
        live_fps: most avatars per second that are lifted for one caller.
        encoder: of H.264: "x264", "nvenc" (an NVIDIA GPU's), or "auto": nvenc where it opens.
        audio: whether the caller's voice is handed on to the receivers.
        fps: frames per second that each receiver is sent.
        render_threads: threads that call the engine; two overlap rasterising and refining, or on a
            GPU the delivery of one batch and the rendering of the next.
        max_batch: pictures that one call of the engine renders at most; None takes what suits it.
        frame_budget: when frames are ready later than this after they fell due, they go out raw,
            then half as often, then drawn at half the size; 50 ms is 20 frames per second.
        refine_budget: the same for refining alone while a view moves: fast while it moves, sharp
            when it rests. 15 ms let a page show the view that it asked for with the next picture of
            its screen (17 ms), as raw frames are.
        rest_budget: the same for a view that rests, where sharpness matters more than time.
        max_bitrate: ceiling of one receiver's video; None takes one that suits the size.
        min_bitrate: floor; below it a moving face falls apart and the network is too poor anyway.
        keyframe_interval: least time between two key frames, however often they are asked for.
        check_interval: between two looks at the caller's camera before the avatar is there.
        fit_frames: fit frames in a row that start the building of the avatar.
        connect_timeout: a peer that has not connected after this long is given up.
        silence_timeout: a connected peer that has sent nothing for this long is given up, though it
            was asked whether it is there: who only watches need not send anything.
        resume_timeout: for which a call waits for a caller whose connection was lost.
        statistics_interval: between two "stats" messages.
        max_calls: calls at once.
        room_size: people with cameras in a room.
        max_receivers: receivers of all calls together.
        admission: whether a receiver is turned away when there is no time to render for one more,
            by measured times. "raw": when raw pictures for all would not fit the frame budget.
            "refined": when refined ones would not. "off": never. The first receiver of a call is
            always let in.
        min_gpu_memory: bytes that must be free on the GPU that renders for a call or a receiver
            more to be let in. An avatar takes some ten megabytes, the rest is for the driver.
        max_body: bytes of a signalling request.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    size: int = 256
    device: str = "auto"
    ice_servers: tuple[IceServer, ...] = ()
    ice_policy: str = "all"
    turn_secret: str | None = field(default=None, repr=False)
    turn_lifetime: float = 3600.0
    media_addresses: str = "auto"
    avatar: str = "live"
    live_fps: float = 30.0
    encoder: str = "auto"
    audio: bool = True
    fps: float = 30.0
    render_threads: int = 2
    max_batch: int | None = None
    frame_budget: float = 0.050
    refine_budget: float = 0.015
    rest_budget: float = 0.200
    max_bitrate: int | None = None
    min_bitrate: int = 300_000
    keyframe_interval: float = 0.5
    check_interval: float = 0.2
    fit_frames: int = 2
    connect_timeout: float = 20.0
    silence_timeout: float = 6.0
    resume_timeout: float = 30.0
    statistics_interval: float = 1.0
    max_calls: int = 32
    room_size: int = 6
    max_receivers: int = 64
    admission: str = "raw"
    min_gpu_memory: int = 256 * 1024**2
    max_body: int = 64 * 1024

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"The port must be between 0 and 65535, not {self.port}.")
        if self.size not in SIZES:
            raise ValueError(f"The size must be one of {SIZES} pixels, not {self.size}.")
        if self.device not in DEVICES:
            raise ValueError(f"The device must be one of {DEVICES}, not {self.device}.")
        if self.media_addresses not in MEDIA_ADDRESSES:
            raise ValueError(
                f"The media addresses must be one of {MEDIA_ADDRESSES}, not {self.media_addresses}."
            )
        if self.admission not in ADMISSIONS:
            raise ValueError(f"The admission must be one of {ADMISSIONS}, not {self.admission}.")
        if self.avatar not in AVATARS:
            raise ValueError(f"The avatar must be one of {AVATARS}, not {self.avatar}.")
        if self.encoder not in ENCODERS:
            raise ValueError(f"The encoder must be one of {ENCODERS}, not {self.encoder}.")
        ice_servers.check(self.ice_servers, self.ice_policy, self.turn_secret, self.turn_lifetime)
        if not 1 <= self.fps <= 60:
            raise ValueError(f"The frame rate must be between 1 and 60, not {self.fps}.")
        if not 1 <= self.live_fps <= 60:
            raise ValueError(f"live_fps must be between 1 and 60, not {self.live_fps}.")
        if self.silence_timeout <= 0 or self.resume_timeout < 0:
            raise ValueError("silence_timeout must be above 0, and resume_timeout not below.")
        counts = ("render_threads", "max_batch", "fit_frames", "max_calls", "room_size")
        for name in (*counts, "max_receivers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        if self.bitrate_ceiling < self.min_bitrate:
            raise ValueError(
                f"The highest bitrate, {self.bitrate_ceiling}, is below the lowest, "
                f"{self.min_bitrate}."
            )

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine's own programs can open a call."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def relay_only(self) -> bool:
        """Whether media takes no way but through a TURN server."""
        return self.ice_policy == "relay"

    def fresh_ice_servers(self) -> tuple[IceServer, ...]:
        """The STUN and TURN servers with new passwords, for one connection."""
        return ice_servers.fresh(
            self.ice_servers, self.turn_secret, self.turn_lifetime, time.time()
        )

    @property
    def bitrate_ceiling(self) -> int:
        """Bits per second that the encoder is opened with. It cannot be raised while it runs."""
        if self.max_bitrate is not None:
            return self.max_bitrate
        return 700_000 if self.size <= 256 else 1_500_000
