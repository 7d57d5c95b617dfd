"""A receiver: viewpoints in, a video of its own out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiortc import RTCDataChannel, RTCRtpSender
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import VIDEO_CLOCK_RATE, VIDEO_TIME_BASE
from aiortc.rtcrtpparameters import RTCRtpCodecCapability, RTCRtpCodecParameters
from av.video.frame import VideoFrame

from stream import audio_negotiation, control
from stream.audio_delay import PLAYOUT
from stream.audio_path import ELSEWHERE, VideoPath
from stream.audio_relay import AudioRelay, RelayTrack
from stream.avatar_lease import AvatarLease
from stream.encoder import EncoderFigures, EncoderSettings, Shown, ViewEncoder, make_encoder
from stream.gpu_load import GpuLoad
from stream.lift_time import LiftFigures
from stream.messages import Error, Frame, Frames, GpuFigures, Statistics
from stream.metrics import Metrics
from stream.pacer import Pacer
from stream.packet_pacer import PacketPacer
from stream.patches import rtp_clock
from stream.peer import Peer
from stream.render_loop import Picture, RenderLoop, View
from stream.settings import Settings
from stream.shared_encodes import SharedEncodes
from stream.track import Rendered, ViewTrack
from stream.view import Company
from stream.viewpoint_inbox import Aim, ViewpointInbox

CODECS = (("video/h264", "42e01f"), ("video/h264", "42001f"), ("video/vp8", None))
"""In the order of preference, with the H.264 profile; the first that the receiver has is used."""

TOLD_TOGETHER = 4
"""Frames of which one message tells, where the receiver can read it: a page that shows the delay is
in no hurry."""

MAX_SOCKETS = 4
"""Viewpoint sockets at once. One is enough; a program that connects again may have two for a while.
"""


class ReceiverPeer(Peer):
    """One receiver of a call.

    Args:
        settings: how to encode, and times.
        metrics: counts.
        renderer: renders this receiver's pictures.
        gpus: gives what the GPUs are doing.
        avatar: gives the call's present avatar, or None.
        ended: called once when the connection is lost, with a reason.
        audio: gives the caller's voice; None leaves it out.
        ready: called when `control` can be used.
        lifts: what the avatar gets of the caller's camera.
        encodes: where receivers meet who can share a stream of video; None to encode alone.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        renderer: RenderLoop,
        gpus: Callable[[], GpuLoad],
        avatar: Callable[[], AvatarLease | None],
        ended: Callable[[str], Awaitable[None]],
        audio: AudioRelay | None = None,
        ready: Callable[[ReceiverPeer], None] = lambda _: None,
        lifts: LiftFigures | None = None,
        encodes: SharedEncodes | None = None,
    ) -> None:
        super().__init__(settings, ended)
        self.farewell = "The receiver has left."
        self.sockets = 0
        """Viewpoint sockets that are open."""
        self._ready = ready
        self._lifts = lifts or LiftFigures()
        self._metrics = metrics
        self._renderer = renderer
        self._gpus = gpus
        self._loop = asyncio.get_running_loop()
        self._view = View(avatar, self._deliver, Pacer(settings.fps))
        self._figures = EncoderFigures()
        self._encodes = encodes
        self._encoder: ViewEncoder | None = None
        self._packets = PacketPacer(settings.fps)
        self._track = ViewTrack(self._make_encoder, self._sending, self._packets)
        self._audio = audio if settings.audio else None
        self._voice: RelayTrack | None = None
        self._path = VideoPath()
        self._playout = PLAYOUT
        self._sender: RTCRtpSender | None = None
        self._rendering = False
        self._clock_zero = time.monotonic()
        self._rtp_origin: int | None = None
        self._last_sending: tuple[int, int | None] | None = None
        self._untold: list[tuple[int, int | None]] = []
        self._refined = True
        self._sent = 0
        transceiver = self.connection.addTransceiver("video", direction="sendonly")
        transceiver.setCodecPreferences(_preferences())

    def inbox(self) -> ViewpointInbox:
        """A new way in for viewpoints, with a sequence of its own."""
        return ViewpointInbox(self._view.aims)

    def receive(self, inbox: ViewpointInbox, text: str | bytes) -> Error | None:
        """Take in a viewpoint message; return what to tell the sender if it is refused."""
        before = (inbox.accepted, inbox.stale, inbox.refused)
        arrived, error = inbox.receive(text, time.monotonic())
        if arrived:
            self._renderer.wake()
        for name, count in zip(("accepted", "stale", "refused"), before, strict=True):
            if getattr(inbox, name) != count:
                self._metrics.viewpoints.labels(name).inc()
        return None if error is None else Error(error.code, error.reason)

    # The connection.

    def _negotiate(self) -> None:
        self._sender = self.connection.addTrack(self._track)
        audio_negotiation.speak(self.connection, self._add_voice if self._audio else None)

    def _add_voice(self) -> RelayTrack:
        assert self._audio is not None
        self._voice = self._audio.track(self._sound_delay)
        return self._voice

    def _sound_delay(self) -> float | None:
        """Seconds by which sound must be held back to be heard with its picture."""
        seconds = self._path.seconds
        return None if seconds is None else seconds + ELSEWHERE - self._playout

    def _connected(self) -> None:
        if not self._rendering:
            self._rendering = True
            self._renderer.add(self._view)
            self.start(self._report())

    def _control_opened(self) -> None:
        self._ready(self)

    def _opened(self, channel: RTCDataChannel) -> None:
        if channel.label != "viewpoint":
            return
        inbox = self.inbox()

        def received(text: str | bytes) -> None:
            error = self.receive(inbox, text)
            if error is not None:
                self.send(error, may_drop=True)

        channel.on("message", received)

    def _controlled(self, message: control.Control) -> None:
        if isinstance(message, control.Refine):
            self._view.refine = message.on
        elif isinstance(message, control.Playout):
            self._playout = message.seconds
        else:
            self.send(Error("bad_message", "Only the caller can retake the portrait."))

    def _release(self) -> None:
        self._renderer.remove(self._view)
        self._track.stop()
        if self._encoder is not None:
            self._encoder.close()
        if self._voice is not None:
            self._voice.stop()

    # The way of a frame.

    def _deliver(
        self, picture: Picture, aim: Aim | None, refined: bool, taken: float, company: Company
    ) -> None:
        """Called by a render thread."""
        pacer = self._view.pacer
        if self._figures.rest_fps:
            pacer.rest_slowness = self._settings.fps / self._figures.rest_fps
        frame = VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.opaque = Shown(not pacer.resting, company)
        frame.pts = round((taken - self._clock_zero) * VIDEO_CLOCK_RATE)
        frame.time_base = VIDEO_TIME_BASE
        sequence = aim.sequence if aim is not None else None
        rendered = Rendered(frame, sequence, refined, company.pictured)
        try:
            self._loop.call_soon_threadsafe(self._track.put, rendered)
        except RuntimeError:  # the loop has been closed meanwhile
            return

    def _make_encoder(self, codec: RTCRtpCodecParameters) -> Encoder:
        settings = EncoderSettings(
            fps=self._settings.fps,
            floor=self._settings.min_bitrate,
            ceiling=self._settings.bitrate_ceiling,
            keyframe_interval=self._settings.keyframe_interval,
        )
        self._encoder = make_encoder(
            codec,
            settings,
            self._figures,
            self._coded,
            self._encodes,
            self._view.number,
            self._settings.encoder,
        )
        return self._encoder

    def _coded(self, seconds: float) -> None:
        """Called by the thread that encodes."""
        figures = self._figures
        self._metrics.encoded(seconds)
        self._packets.frame(figures.packets, figures.size, figures.rate)

    def _sending(self, rendered: Rendered) -> None:
        """Tell the page which viewpoint the frame shows that is about to be sent."""
        assert rendered.frame.pts is not None
        self._sent += 1
        self._path.sent(rendered.pictured, time.monotonic() + self._figures.seconds)
        self._refined = rendered.refined
        self._metrics.sent.inc()
        if not rendered.refined:
            self._metrics.raw.inc()
        if self._rtp_origin is None and self._last_sending is not None:
            # aiortc asks for a frame when the one before has been sent completely.
            assert self._sender is not None
            pts, sequence = self._last_sending
            self._rtp_origin = (rtp_clock.last_sent(self._sender) - pts) & 0xFFFFFFFF
            self._announce(pts, sequence)
        self._last_sending = (rendered.frame.pts, rendered.sequence)
        if self._rtp_origin is not None:
            self._announce(*self._last_sending)

    def _announce(self, pts: int, sequence: int | None) -> None:
        assert self._rtp_origin is not None
        rtp = (self._rtp_origin + pts) & 0xFFFFFFFF
        if self.control_protocol != Frames.type:
            self.send(Frame(rtp, sequence), may_drop=True)
            return
        self._untold.append((rtp, sequence))
        if len(self._untold) >= TOLD_TOGETHER:
            self.send(Frames(tuple(self._untold)), may_drop=True)
            self._untold.clear()

    async def _tell_loss(self) -> None:
        """Tell the encoder what the receiver has counted."""
        if self._sender is None or self._encoder is None:
            return
        for report in (await self._sender.getStats()).values():
            if report.type == "remote-inbound-rtp":
                self._encoder.lost(report.packetsLost, report.packetsReceived)

    async def _report(self) -> None:
        """Send statistics about once a second."""
        last, sent, octets, bitrate, dropped = time.monotonic(), 0, 0, 0, 0
        lifts = self._lifts.lifts
        try:
            while True:
                await asyncio.sleep(self._settings.statistics_interval)
                now = time.monotonic()
                elapsed = now - last
                new_bitrate = round((self._figures.octets - octets) * 8 / elapsed)
                stages = self._renderer.stage_times()
                await self._tell_loss()
                self.send(
                    Statistics(
                        fps=round((self._sent - sent) / elapsed, 1),
                        raster_ms=round(stages.get("rasterise", 0.0), 2),
                        refine_ms=round(stages.get("refine", 0.0), 2),
                        encode_ms=round(self._figures.seconds * 1e3, 2),
                        bitrate=new_bitrate,
                        refined=self._refined,
                        dropped=self._track.dropped,
                        gpus=gpu_figures(self._gpus()),
                        effort=self._renderer.effort.word,
                        lift_fps=round((self._lifts.lifts - lifts) / elapsed, 1),
                        lift_ms=round(self._lifts.seconds * 1e3, 1),
                        codec=self._figures.codec,
                        width=self._figures.width,
                    ),
                    may_drop=True,
                )
                self._metrics.bitrate.inc(new_bitrate - bitrate)
                self._metrics.dropped.labels("replaced").inc(self._track.dropped - dropped)
                last, sent, octets = now, self._sent, self._figures.octets
                bitrate, dropped = new_bitrate, self._track.dropped
                lifts = self._lifts.lifts
        finally:
            self._metrics.bitrate.dec(bitrate)


def gpu_figures(load: GpuLoad) -> tuple[GpuFigures, ...]:
    """What a receiver is told: of the GPUs that this process uses; if that is not known, of all."""
    return tuple(
        GpuFigures(
            gpu=gpu.index,
            utilisation=gpu.utilisation,
            memory_used=gpu.memory_used,
            memory_total=gpu.memory_total,
            temperature=gpu.temperature,
            power=gpu.power,
            power_limit=gpu.power_limit,
            encoder=gpu.encoder,
            slowed=gpu.slowed,
        )
        for gpu in load.own or load.gpus
    )


def _preferences() -> list[RTCRtpCodecCapability]:
    found = []
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    for mime_type, profile in CODECS:
        found += [
            capability
            for capability in capabilities
            if capability.mimeType.lower() == mime_type
            and (profile is None or capability.parameters.get("profile-level-id") == profile)
        ]
    return found + [c for c in capabilities if c.mimeType.lower() == "video/rtx"]
