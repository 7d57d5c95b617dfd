"""A caller's camera as the server sees it: the newest frame, for whoever reads it.

It belongs to the call and not to the connection: a caller who comes back goes on where they were.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Shot:
    """A frame, and when it arrived: seconds of `time.monotonic`."""

    frame: VideoFrame
    arrived: float


class Camera:
    """Holds one frame; a newer one replaces it. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.newest: Shot | None = None
        self.count = 0
        """Frames that have arrived."""
        self._arrived = asyncio.Event()

    def put(self, frame: VideoFrame, now: float) -> None:
        """A frame has arrived."""
        self.newest = Shot(frame, now)
        self.count += 1
        self._arrived.set()

    def reader(self) -> CameraReader:
        """For one more who looks at the frames; each is given the newest, whatever others take."""
        return CameraReader(self)

    async def arrival(self) -> None:
        """Wait for the next frame."""
        self._arrived.clear()
        await self._arrived.wait()


class CameraReader:
    """Reads the newest frame, each one time at most.

    Args:
        camera: whose frames.
    """

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._seen = 0

    async def shot(self, timeout: float) -> Shot | None:
        """The newest frame that was not read yet; None if none comes in time.

        Args:
            timeout: seconds.
        """
        camera = self._camera
        try:
            async with asyncio.timeout(timeout):
                while camera.count == self._seen:
                    await camera.arrival()
        except TimeoutError:
            return None
        self._seen = camera.count
        return camera.newest
