from __future__ import annotations

import asyncio

from av.video.frame import VideoFrame

from stream.camera import Camera


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
