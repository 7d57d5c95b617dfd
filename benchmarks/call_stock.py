"""The yardstick: the same engine behind aiortc as it comes, written as its examples are.

No patch of this project is applied: `VideoStreamTrack` with its own clock, a rendering in the
executor when a frame is asked for, aiortc's encoders and bitrates, no playout delay. The newest
viewpoint counts here too.

    python -m benchmarks.call_stock --engine real
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioice.ice
import aiortc.codecs.h264
import aiortc.codecs.vpx
import uvicorn
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from av.video.frame import VideoFrame
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse

from benchmarks import call_engines, call_marks, call_stamp
from benchmarks.call_marks import KEEP, Marks
from models.viewpoint import Viewpoint
from stream.serving import listen

PAGE = Path(__file__).with_name("call_stock.html")


class StockTrack(VideoStreamTrack):
    """A video of one avatar, seen from the newest viewpoint.

    Args:
        engine: renders.
        avatar: of that engine.
        marks: where to note times.
        stamped: whether the number of the viewpoint goes into the pixels.
        refine: whether pictures are refined; all or none, for nothing here measures time.
    """

    def __init__(self, engine: Any, avatar: Any, marks: Marks, stamped: bool, refine: bool) -> None:
        super().__init__()
        self._engine = engine
        self._avatar = avatar
        self._marks = marks
        self._stamped = stamped
        self._refine = refine
        self._newest: tuple[Viewpoint, int | None, float] = (Viewpoint(), None, 0.0)

    def look_from(self, text: str) -> None:
        """Take a viewpoint; older ones than the newest are left out."""
        message = json.loads(text)
        if self._newest[1] is None or message["seq"] > self._newest[1]:
            self._newest = (Viewpoint.parse(message), message["seq"], time.monotonic())

    async def recv(self) -> VideoFrame:
        """aiortc asks for the next frame when the one before has been sent."""
        pts, time_base = await self.next_timestamp()
        newest = self._newest
        begin = time.monotonic()
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(None, self._render, newest[0])
        if newest[1] is not None and len(self._marks.viewpoints) < KEEP:
            times = (newest[2], begin, time.monotonic())
            self._marks.viewpoints.append((newest[1], *times, self._refine))
            if self._stamped:
                picture = picture if picture.flags.writeable else picture.copy()
                call_stamp.stamp(picture, newest[1], picture.shape[1] // call_stamp.BLOCKS)
        frame = VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = pts, time_base
        return frame

    def _render(self, viewpoint: Viewpoint) -> Any:
        from models.engine import RenderRequest

        return self._engine.render([RenderRequest(self._avatar, viewpoint, self._refine)])[0]


def create_app(engine: Any, avatar: Any, marks: Marks, stamped: bool) -> FastAPI:
    """A page, an answer to its offer, and the marks."""
    connections: set[RTCPeerConnection] = set()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.gather(*(connection.close() for connection in connections))

    app = FastAPI(lifespan=lifespan)
    app.include_router(call_marks.router(marks))

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.post("/offer")
    async def offer(request: Request, codec: str, raw: str | None = None) -> Response:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.add(connection)
        track = StockTrack(engine, avatar, marks, stamped, raw is None)

        @connection.on("datachannel")
        def opened(channel: RTCDataChannel) -> None:
            channel.on("message", track.look_from)

        @connection.on("connectionstatechange")
        async def changed() -> None:
            if connection.connectionState in ("failed", "closed"):
                connections.discard(connection)
                await connection.close()

        text = (await request.body()).decode()
        await connection.setRemoteDescription(RTCSessionDescription(text, "offer"))
        connection.addTrack(track)
        mime_types = (f"video/{codec}", "video/rtx")
        connection.getTransceivers()[0].setCodecPreferences(
            [
                capability
                for capability in RTCRtpSender.getCapabilities("video").codecs
                if capability.mimeType.lower() in mime_types
            ]
        )
        await connection.setLocalDescription(await connection.createAnswer())
        return Response(connection.localDescription.sdp, media_type="application/sdp")

    @app.delete("/offer")
    async def hang_up() -> dict[str, Any]:
        """End all connections: aiortc takes half a minute to miss a page that is gone."""
        await asyncio.gather(*(connection.close() for connection in list(connections)))
        connections.clear()
        return {}

    return app


def loopback_only(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """aioice leaves this address out; both servers shall be reached on the same way."""
    return ["127.0.0.1"]


def keep_bitrate(bitrate: int) -> None:
    """Encode at one rate: aiortc has no interface for it, but constants."""
    for codec in (aiortc.codecs.h264, aiortc.codecs.vpx):
        for name in ("DEFAULT_BITRATE", "MIN_BITRATE", "MAX_BITRATE"):
            setattr(codec, name, bitrate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=call_engines.KINDS, default="real")
    parser.add_argument("--film", type=Path)
    parser.add_argument("--portrait", default="demo")
    parser.add_argument("--no-stamp", action="store_true", help="leave the pictures as they are")
    parser.add_argument("--bitrate", type=int, help="kept, instead of aiortc's own choice")
    options = parser.parse_args()

    from stream.offline import read_portrait

    if options.bitrate is not None:
        keep_bitrate(options.bitrate)
    aioice.ice.get_host_addresses = loopback_only
    marks = Marks()
    call_marks.install(marks)
    listener = listen("127.0.0.1", 0)
    engine = call_engines.load(options.engine, options.film)
    avatar = engine.build_avatar(read_portrait(options.portrait))
    app = create_app(engine, avatar, marks, not options.no_stamp)
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", access_log=False, log_level="warning", timeout_graceful_shutdown=5
    )
    uvicorn.Server(config).run(sockets=[listener])
    engine.close()


if __name__ == "__main__":
    main()
