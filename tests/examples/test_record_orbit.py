"""A recorded turn around the built-in bar: a movie that plays, with the viewpoint moving in it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from examples.record_orbit import Orbit, main, record
from examples.recording import Movie, recording
from models.errors import VisavisError
from stream.client import JoinError
from stream.movie import write_movie
from stream.output_file import OutputError
from tests.stream.bar_engine import bar_yaw
from tests.stream.conftest import Running, Start, start  # noqa: F401
from tests.stream.peers import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def url(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


def yaws(path: Path) -> list[float]:
    """What each frame of a movie shows."""
    with av.open(str(path)) as movie:
        return [bar_yaw(frame.to_ndarray(format="gray")) for frame in movie.decode(video=0)]


async def test_the_movie_shows_the_turn(start: Start, tmp_path: Path) -> None:  # noqa: F811
    server = await start()
    call = server.ready()
    orbit = Orbit(seconds=2.0, fps=10, yaw_range=40.0)
    output = tmp_path / "orbit.mp4"
    async with asyncio.timeout(2 * PATIENCE):
        result = await record(url(server), call, str(output), orbit)
    assert result["frames"] == 20 and result["size"] == 256
    shown = yaws(output)
    wanted = [viewpoint.yaw for viewpoint in orbit.path()]
    assert len(shown) == len(wanted) == 20
    # A place without a frame of its own repeats an earlier one; all others show exactly theirs.
    right = [abs(a - b) < 2 for a, b in zip(shown, wanted, strict=True)]
    assert right[0] and sum(right) >= 20 - int(str(result["repeated"]))
    assert max(shown) - min(shown) > 40
    assert not server.calls[call].receivers
    assert [path.name for path in tmp_path.iterdir()] == ["orbit.mp4"]
    short = Orbit(seconds=0.3, fps=10)
    with pytest.raises(OutputError, match="exists. Choose another name"):
        await record(url(server), call, str(output), short)
    async with asyncio.timeout(2 * PATIENCE):
        await record(url(server), call, str(output), short, force=True)
    assert len(yaws(output)) == 3


async def test_as_a_command(
    start: Start,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = await start()
    output = tmp_path / "orbit.mp4"
    words = [f"{url(server)}/c/{server.ready()}", "-o", str(output), "--seconds", "0.5", "--json"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.record_orbit", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(3 * PATIENCE):
        out, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert json.loads(out)["frames"] == 15 == len(yaws(output))
    assert await asyncio.to_thread(main, words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "exists. Choose another name" in said


async def test_what_goes_wrong_leaves_no_file(start: Start, tmp_path: Path) -> None:  # noqa: F811
    server = await start()
    output = str(tmp_path / "orbit.mp4")
    with pytest.raises(JoinError, match="There is no such call"):
        await record(url(server), "nowhere", output, Orbit())
    with pytest.raises(OutputError, match="end its name with .mp4"):
        await record(url(server), server.ready(), str(tmp_path / "orbit.gif"), Orbit())
    call = server.ready()
    recorded = asyncio.create_task(record(url(server), call, output, Orbit(seconds=60)))
    async with asyncio.timeout(PATIENCE):
        while not any(request.viewpoint.yaw > 1 for request in server.engine.rendered):
            await asyncio.sleep(0.02)
    await server.calls[call].end("The caller has hung up.")
    with pytest.raises(VisavisError, match="of 1800 frames. The caller has hung up."):
        await recorded
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["http://x", "y"], ["http://x", "-o", "a.mp4", "--fps", "0"]):
        assert main(words) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1 and "See: python -m examples.record_orbit" in errors


def picture(value: int) -> np.ndarray:
    return np.full((96, 64), value, np.uint8)


def test_places_without_a_picture_repeat_the_one_before() -> None:
    movie = Movie()
    movie.put(1, picture(10))
    movie.put(4, picture(40))
    movie.put(3, picture(30))  # too late
    movie.end(6)
    assert [int(p[0, 0]) for p in movie.pictures()] == [10, 10, 10, 10, 40, 40]
    assert movie.repeated == 4


async def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert recording.__wrapped__.__globals__["write_movie"] is write_movie
    monkeypatch.setattr("examples.recording.write_movie", fail)
    with pytest.raises(OutputError, match="no space left on device. Make room"):
        async with recording(tmp_path / "x.mp4", "x.mp4", 64, 10) as movie:
            movie.put(0, picture(1))
            movie.end(1)
