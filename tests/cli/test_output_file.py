from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream.output_file import OutputError, output_file

PNG = (".png",)


def test_takes_its_name_when_done(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    with output_file(target, PNG) as path:
        path.write_bytes(b"new")
        assert path.suffix == ".png"
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out.png"]


def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with output_file(tmp_path / "out.png", PNG):
        pass
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "out.png").write_bytes(b"old")
    with pytest.raises(error), output_file(tmp_path / "out.png", PNG) as path:
        path.write_bytes(b"half")
        raise error
    assert os.listdir(tmp_path) == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"old"


def test_a_link_keeps_pointing_where_it_did(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    with output_file(tmp_path / "link.png", PNG) as path:
        path.write_bytes(b"new")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.tiff", "end its name with .png"),
        ("out", "end its name with .png"),
        ("no/such/folder/out.png", "does not exist"),
        ("file/out.png", "does not exist"),
        ("folder.png", "is a folder"),
        ("portrait.png", "is the portrait itself"),
        ("link.png", "is the portrait itself"),
        (f"{'x' * 300}.png", "file name too long. Choose a shorter name"),
        ("loop.png", "leads to itself"),
        ("dangling.png", r"The folder .*/away does not exist"),
    ],
)
def test_refused_before_the_work(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "portrait.png").write_bytes(b"")
    (tmp_path / "link.png").symlink_to("portrait.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "dangling.png").symlink_to("away/out.png")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OutputError, match=words) as caught:
        with output_file(tmp_path / name, PNG, never=tmp_path / "portrait.png"):
            pytest.fail("the work began")
    assert "\n" not in caught.value.reason
    assert sorted(os.listdir(tmp_path)) == before


def test_a_name_that_is_empty() -> None:
    with pytest.raises(OutputError, match="name is empty. Give one with .png"):
        with output_file("", PNG):
            pytest.fail("the work began")


def test_a_place_nobody_may_write_to() -> None:
    # /proc refuses new files to everybody, root too.
    with pytest.raises(OutputError, match="Cannot write /proc/out.png"):
        with output_file("/proc/out.png", PNG):
            pytest.fail("the work began")
