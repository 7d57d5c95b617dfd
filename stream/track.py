"""The outgoing video track: it hands the newest rendered frame to the sender, never a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from stream.mailbox import Mailbox
from stream.packet_pacer import PacketPacer
from stream.patches.encoder_seam import EncoderMaker, encoder_maker
from stream.patches.packet_pacing import packet_pacer


@dataclass(frozen=True)
class Rendered:
    """One picture for one receiver.

    Args:
        frame: yuv420p with its pts.
        sequence: the number of the viewpoint that it shows, None before the first.
        refined: whether the refiner has seen it.
        pictured: when the camera frame came in that the avatar follows, in seconds of the monotonic
            clock; None if it follows nobody.
    """

    frame: VideoFrame
    sequence: int | None
    refined: bool
    pictured: float | None = None


class ViewTrack(MediaStreamTrack):
    """Video of one receiver. Its methods belong to the event loop's thread.

    Args:
        make_encoder: builds the encoder of this track once the codec is negotiated.
        sending: called with each frame when it is about to be encoded and sent.
        packets: spreads the packets of large frames; None to send them all at once.
    """

    kind = "video"

    def __init__(
        self,
        make_encoder: EncoderMaker,
        sending: Callable[[Rendered], None],
        packets: PacketPacer | None = None,
    ) -> None:
        super().__init__()
        self._make_encoder = make_encoder
        self._sending = sending
        self._packets = packets
        self._newest: Mailbox[Rendered] = Mailbox()
        self._arrived = asyncio.Event()
        self._last_pts = -1

    @property
    def dropped(self) -> int:
        """Frames that were replaced by a newer one before they could be sent."""
        return self._newest.replaced

    def put(self, rendered: Rendered) -> None:
        """Leave a frame to be sent."""
        if self.readyState == "live":
            self._newest.put(rendered)
            self._arrived.set()

    async def recv(self) -> VideoFrame:
        """Wait for the next frame; called by aiortc, again as soon as the last one is sent.

        Raises:
            MediaStreamError: the track has been stopped.
        """
        encoder_maker.set(self._make_encoder)
        packet_pacer.set(self._packets)
        while self.readyState == "live":
            rendered = self._newest.take()
            if rendered is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            frame = rendered.frame
            assert frame.pts is not None
            # Two frames of one clock tick cannot be told apart by the receiver.
            frame.pts = self._last_pts = max(frame.pts, self._last_pts + 1)
            self._sending(rendered)
            return frame
        raise MediaStreamError

    def stop(self) -> None:
        """End the track."""
        super().stop()
        self._newest.take()
        self._arrived.set()
