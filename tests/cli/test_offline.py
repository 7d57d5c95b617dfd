"""render, orbit and export on a real photograph, with the real networks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from stream import cli
from stream.offline import orbit_path

pytestmark = pytest.mark.usefixtures("loaded")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, object]:
    assert cli.main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1
    result = json.loads(out)
    assert isinstance(result, dict)
    return result


def test_render(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    result = run(capsys, "render", portrait, "-o", out, "--yaw", "-20", "--pitch", "5")
    picture = cv2.imread(str(out))
    assert picture is not None and picture.shape == (256, 256, 3)
    assert picture.std() > 20  # not an even colour
    assert result["output"] == str(out) and result["refined"] is True
    assert result["viewpoint"] == {
        "yaw": -20,
        "pitch": 5,
        "zoom": 1,
        "roll": 0,
        "eye": None,
    }


def test_the_output_is_named_where_no_json_is_asked_for(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jpg"
    assert cli.main(["render", str(portrait), "-o", str(out), "--raw"]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    assert out.read_bytes().startswith(b"\xff\xd8")


def test_the_refiner_can_be_left_out(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = []
    for name, flags in (("refined", ()), ("raw", ("--raw",))):
        result = run(
            capsys, "render", portrait, "-o", tmp_path / f"{name}.png", "--yaw", "25", *flags
        )
        assert result["refined"] is (name == "refined")
        pictures.append(cv2.imread(str(tmp_path / f"{name}.png")).astype(float))
    difference = np.abs(pictures[0] - pictures[1]).mean()
    assert 0 < difference < 40  # they differ, and show the same


def test_what_is_beyond_the_limits_is_clamped_with_a_word(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["render", str(portrait), "-o", str(tmp_path / "out.png"), "--raw", "--json"]
    assert cli.main([*arguments, "--yaw", "170"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["viewpoint"]["yaw"] == 60
    assert err == "visavis: yaw 170 is beyond the limit; 60 is used.\n"


def test_orbit(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "orbit.mp4"
    seconds, fps = "1", "10"
    result = run(capsys, "orbit", portrait, "-o", out, "--seconds", seconds, "--fps", fps, "--raw")
    assert (result["frames"], result["fps"]) == (10, 10)
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 256, 256)
        assert video.average_rate == 10
        frames = list(container.decode(video))
    assert len(frames) == 10
    assert {(f.colorspace, f.color_range) for f in frames} == {(Colorspace.ITU601, ColorRange.MPEG)}
    # The index stands in front of the pictures, so that a browser plays it while it loads.
    data = out.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    # The loop has no seam: the last step is about as large as the first.
    pictures = [f.to_ndarray(format="gray").astype(float) for f in frames]
    first, last = (np.abs(a - b).mean() for a, b in ((pictures[0], pictures[1]), pictures[::-9]))
    assert last < 2 * first


def test_orbit_path() -> None:
    path = orbit_path(120, 30)
    yaws = [viewpoint.yaw for viewpoint in path]
    assert yaws[0] == 0 and max(yaws) == pytest.approx(30) and min(yaws) == pytest.approx(-30)
    steps = np.diff([*yaws, yaws[0]])
    assert np.abs(np.diff([*steps, steps[0]])).max() < 0.1  # no jerk, at the seam neither
    assert orbit_path(4, 0) == [orbit_path(4, 0)[0]] * 4


def test_export(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "avatar.ply"
    result = run(capsys, "export", portrait, "-o", out)
    header, _, body = out.read_bytes().partition(b"end_header\n")
    match = re.search(rb"element vertex (\d+)", header)
    assert match is not None and int(match[1]) == result["gaussians"]
    properties = re.findall(rb"property float (\w+)", header)
    assert {b"x", b"f_dc_0", b"opacity", b"scale_0", b"rot_0"} <= set(properties)
    values = np.frombuffer(body, "<f4").reshape(int(match[1]), len(properties))
    assert np.isfinite(values).all()
    assert np.abs(values[:, :3]).max() < 1  # metres: a head and shoulders


@pytest.mark.slow
def test_an_interrupted_orbit_leaves_nothing(portrait: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.cli", "orbit", str(portrait)]
    command += ["-o", str(tmp_path / "orbit.mp4"), "--seconds", "100"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The tests themselves may run in the background of a script, where it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [name.endswith(".mp4") for name in os.listdir(tmp_path)] == [True]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Where the interrupt falls into code that a string was compiled from, Python ends itself by the
    # signal after main() has returned: to a shell the same.
    assert process.returncode in (130, -signal.SIGINT)
    assert (out, err) == (b"", b"")
    assert os.listdir(tmp_path) == []
