"""Pictures that cannot become an avatar: one line that says what is wrong and what to do, exit
code 2, no traceback, and no file."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.engine import Engine, RenderRequest
from models.viewpoint import Viewpoint
from stream import cli

Picture = NDArray[np.uint8]


def huge_png(side: int) -> bytes:
    """A valid black picture of one bit per pixel: kilobytes that become hundreds of megabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj()
    row = bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    size = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(picture: Picture) -> bytes:
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1])
    assert done
    return data.tobytes()


def overwritten(data: bytes, at: int, wrong: bytes) -> bytes:
    return data[:at] + wrong + data[at + len(wrong) :]


def png(picture: Picture) -> bytes:
    done, data = cv2.imencode(".png", picture[:, :, ::-1])
    assert done
    return data.tobytes()


def small_face(person: Picture) -> Picture:
    """The same person, 40 pixels tall, before a grey wall."""
    face = person[0:240, 110:350]
    wall = np.full((480, 640, 3), 128, np.uint8)
    wall[200:290, 300:390] = cv2.resize(face, (90, 90), interpolation=cv2.INTER_AREA)
    return wall


CASES: dict[str, tuple[str, Callable[[Picture], bytes], str]] = {
    "no face": ("wall.jpg", lambda _: jpeg(np.full((480, 640, 3), 90, np.uint8)), "no face"),
    "no face but structure": (
        "noise.jpg",
        lambda _: jpeg(np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)),
        "no face",
    ),
    "two faces": (
        "pair.jpg",
        lambda p: jpeg(np.concatenate([p[:300, 80:380], p[:300, 80:380]], 1)),
        "2 faces",
    ),
    "a face of 40 pixels": ("far.jpg", lambda p: jpeg(small_face(p)), "too small"),
    "a grey picture": ("grey.png", lambda _: jpeg(np.full((9, 9, 3), 128, np.uint8)), "no face"),
    "a huge picture": ("huge.png", lambda _: huge_png(20_000), "too large: 20000 x 20000"),
    "a text file": ("text.jpg", lambda _: b"Dear Sir or Madam,\n", "a text file"),
    "an empty file": ("empty.jpg", lambda _: b"", "is empty"),
    "half a JPEG": ("half.jpg", lambda p: jpeg(p)[:20_000], "damaged or cut off"),
    "a JPEG with a hole": (
        "hole.jpg",
        lambda p: overwritten(jpeg(p), 40_000, bytes(range(250)) * 16),
        "damaged or cut off",
    ),
    "a PNG with a wrong byte": (
        "byte.png",
        lambda p: overwritten(png(p), 200_000, b"visavis"),
        "damaged or cut off",
    ),
    "the start of a JPEG": ("start.jpg", lambda p: jpeg(p)[:30], "damaged or cut off"),
}


def check_refused(capsys: pytest.CaptureFixture[str], folder: Path, words: str) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("visavis: ") and err.endswith(".\n") and err.count("\n") == 1, err
    assert words in err
    assert not [name for name in os.listdir(folder) if name.startswith((".visavis", "out"))]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_line(
    case: str, person: Picture, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, make, words = CASES[case]
    (tmp_path / name).write_bytes(make(person))
    assert cli.main(["render", str(tmp_path / name), "-o", str(tmp_path / "out.png")]) == 2
    check_refused(capfd, tmp_path, words)  # of the whole process: native libraries write too


@pytest.mark.usefixtures("loaded")
def test_a_turned_face(
    engine: Engine, person: Picture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    avatar = engine.build_avatar(person)
    (frame,) = engine.render([RenderRequest(avatar, Viewpoint(yaw=40), refine=False)])
    avatar.close()
    turned = np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420), np.uint8)
    (tmp_path / "turned.jpg").write_bytes(jpeg(turned))
    command = ["render", str(tmp_path / "turned.jpg"), "-o", str(tmp_path / "out.png")]
    assert cli.main(command) == 2
    check_refused(capsys, tmp_path, "turned by")


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(("command", "ending"), [("orbit", "mp4"), ("export", "ply")])
def test_every_command_refuses(
    command: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wall.jpg").write_bytes(jpeg(np.full((480, 640, 3), 90, np.uint8)))
    out = tmp_path / f"out.{ending}"
    assert cli.main([command, str(tmp_path / "wall.jpg"), "-o", str(out)]) == 2
    check_refused(capsys, tmp_path, "no face")


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    assert cli.main(["render", str(tmp_path / "me.jpg"), "-o", str(out), "--json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "bad_picture"
    assert "me.jpg does not exist" in printed.err
    assert os.listdir(tmp_path) == []


def test_the_process_itself(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("Dear Sir or Madam,\n")
    command = [sys.executable, "-m", "stream.cli", "render", "text.jpg", "-o", "out.png"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "visavis: text.jpg is a text file, not a picture. Choose a JPEG, PNG or WebP picture.\n"
    )
