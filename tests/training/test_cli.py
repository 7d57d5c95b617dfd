"""What `visavis-train` says to those who use it."""

from pathlib import Path

import pytest

from training.cli import COMMANDS, main
from training.people.arguments import seed_range


def test_seed_range() -> None:
    assert seed_range("3:7") == range(3, 7)


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        if command in ("people", "sheet", "portrait"):
            pytest.importorskip("moderngl")
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"usage: visavis-train {command}" in capsys.readouterr().out


def test_unknown_command_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["peopel"])
    assert stopped.value.code == 2
    assert "people" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"), [("7", "FIRST:STOP"), ("5:5", "no seeds"), ("-2:5", "no seeds")]
)
def test_bad_seeds_say_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    pytest.importorskip("moderngl")
    with pytest.raises(SystemExit):
        main(["people", f"--facekit={__file__}", f"--out={tmp_path}", f"--seeds={text}"])
    assert reason in capsys.readouterr().err


def test_missing_facekit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("moderngl")
    with pytest.raises(SystemExit):
        main(["people", f"--facekit={tmp_path}/no.npz", f"--out={tmp_path}", "--seeds=0:1"])
    assert "no.npz" in capsys.readouterr().err


def test_an_empty_corpus_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--people", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("visavis-train: There are no rendered people")
    assert said.count("\n") == 1


def test_a_report_without_a_folder_is_one_line_before_the_work(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "missing" / "report.json"
    arguments = f"--people {balls} --limit 1 --levels --json {report}"
    assert main(["evaluate", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("visavis-train: there is no folder") and said.count("\n") == 1
