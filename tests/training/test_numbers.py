"""Options out of their range are refused, in words."""

import argparse
from pathlib import Path

import pytest

from training.cli import main
from training.numbers import number, whole


@pytest.mark.parametrize("text", ["-0.1", "1.5", "nan", "inf", "much", ""])
def test_what_is_not_in_the_range_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 0 to 1$"):
        number(0, 1)(text)


def test_what_is_in_the_range_is_taken() -> None:
    assert [number(0, 1)(text) for text in ("0", "0.5", "1")] == [0, 0.5, 1]
    assert number(0)("60") == 60 and whole(1)("1") == 1
    for text in ("0", "1.5", "-3", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number, 1 or more$"):
            whole(1)(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number, 0 or more$"):
        number(0)("inf")


@pytest.mark.parametrize(
    "words",
    [
        "lifter --detail nan", "lifter --withheld 30", "lifter --fine -1", "lifter --steady 2",
        "lifter --every 0", "lifter --threads 0", "lifter --batch 0", "lifter --seed -1",
        "refiner --fixed-level 0.6", "portraits --minutes x",
    ],
)  # fmt: skip
def test_trainings_refuse_them(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, option, value = words.split()
    with pytest.raises(SystemExit, match="2"):
        main([command, option, value, "--people", str(tmp_path), "--out", str(tmp_path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: '{value}' is not a " in last


def test_every_worker_has_a_person(balls: Path, tmp_path: Path) -> None:
    options = "--steps 1 --batch 1 --threads 2 --fine 0 --steady 0"
    arguments = ["--people", str(balls), "--out", str(tmp_path), *options.split()]
    assert main(["lifter", *arguments]) == 0
