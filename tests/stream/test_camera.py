from __future__ import annotations

import asyncio

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import VideoFrame

from stream.caller import CallerPeer
from stream.camera import Camera
from stream.settings import Settings


def frame() -> VideoFrame:
    return VideoFrame(16, 16, "yuv420p")


async def test_each_reader_is_given_the_newest_frame_once() -> None:
    camera = Camera()
    one, other = camera.reader(), camera.reader()
    assert await one.shot(0.01) is None
    first, second = frame(), frame()
    camera.put(first, 1.0)
    camera.put(second, 2.0)
    for reader in (one, other):
        shot = await reader.shot(1.0)
        assert shot is not None and shot.frame is second and shot.arrived == 2.0
        assert await reader.shot(0.01) is None


async def test_all_readers_who_wait_are_woken() -> None:
    camera = Camera()
    waiting = [asyncio.create_task(camera.reader().shot(5.0)) for _ in range(3)]
    await asyncio.sleep(0.01)
    camera.put(frame(), 1.0)
    assert all(shot is camera.newest for shot in await asyncio.gather(*waiting))


class Track(MediaStreamTrack):
    """Gives so many frames, then ends."""

    kind = "video"

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = [frame() for _ in range(frames)]
        self.taken = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(0)
        if self.taken == len(self.frames):
            raise MediaStreamError
        self.taken += 1
        return self.frames[self.taken - 1]


async def test_of_several_video_tracks_one_is_the_camera_and_all_are_emptied() -> None:
    async def ended(_: str) -> None: ...

    camera = Camera()
    peer = CallerPeer(Settings(), camera, ended, lambda: None, lambda: None, lambda _: None)
    silent, film, screen = Track(0), Track(20), Track(15)
    await asyncio.gather(*(peer._watch_camera(track) for track in (silent, film, screen)))
    assert (film.taken, screen.taken) == (20, 15)
    assert camera.count == 20 and camera.newest is not None
    assert camera.newest.frame is film.frames[-1]
    other = Track(3)
    await peer._watch_camera(other)
    assert camera.newest.frame is other.frames[-1], "the camera has ended, and there is another"
    await peer.close()
