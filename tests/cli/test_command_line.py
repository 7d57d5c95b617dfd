"""The command as it is typed: help, versions, and mistakes in the command line itself."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from stream import cli
from stream.command_line import make_parser, with_numbers_joined
from stream.settings import Settings

COMMANDS = ("serve", "demo", "render", "orbit", "export", "doctor", "bench")


def visavis(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_version() -> None:
    done = visavis("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"visavis {metadata.version('visavis')}\n"


def test_help_answers_without_loading_networks() -> None:
    code = (
        "import sys; from stream.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'numpy', 'cv2', 'av', 'aiortc')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: visavis {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["render", "me.jpg"], "required: -o/--output"),
        (["render", "-o", "out.png"], "required: PORTRAIT"),
        (["render", "me.jpg", "-o", "out.png", "--yaw", "left"], "--yaw: invalid float value"),
        (["render", "me.jpg", "-o", "out.png", "--yaw", "nan"], "yaw must be a finite number"),
        (["render", "me.jpg", "-o", "out.png", "--zoom", "inf"], "zoom must be a finite number"),
        (["render", "me.jpg", "-o", "out.png", "--size", "300"], "--size: invalid choice: 300"),
        (["render", "me.jpg", "-o", "out.png", "--yaw", "-inf"], "yaw must be a finite number"),
        (["render", "me.jpg", "-o", "out.png", "--js"], "unrecognized arguments: --js"),
        (["render", "me.jpg", "-o", ""], "name is empty"),
        (["render", "", "-o", "out.png"], "name is empty"),
        (["serve", "--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["render", "me.jpg", "-o", "out.png", "--yaw", "99"], "me.jpg does not exist"),
        (["orbit", "me.jpg", "-o", "out.mp4", "--yaw-range", "-1e1"], "number from 0 to 60"),
        (["orbit", "me.jpg", "-o", "out.mp4", "--fps", "0"], "whole number from 1 to 60"),
        (["orbit", "me.jpg", "-o", "out.mp4", "--seconds", "nan"], "number from 0.1 to 120"),
        (["orbit", "me.jpg", "-o", "out.mp4", "--yaw-range", "90"], "number from 0 to 60"),
        (["serve", "--port", "70000"], "whole number from 0 to 65535"),
        (["serve", "--ice-server", "example.org"], "written stun:HOST"),
        (["serve", "--ice-server", "turn:example.org"], "needs a user name"),
        (["serve", "--host", "a..b"], "no address to listen on"),
        (["serve", "--admission", "maybe"], "--admission: invalid choice: 'maybe'"),
        (["serve", "--avatar", "never"], "--avatar: invalid choice: 'never'"),
        (["serve", "--encoder", "av1"], "--encoder: invalid choice: 'av1'"),
        (["serve", "--room-size", "0"], "whole number from 1 to 32"),
        (["bench", "--receivers", "0"], "whole number from 1 to 64"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("visavis: ") and err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("text", ["-10", "-1e1", "-10.", "-1E+1"])
def test_negative_numbers(text: str) -> None:
    arguments = ["render", "me.jpg", "-o", "-5", "--yaw", text, "--raw"]
    options = make_parser().parse_args(list(with_numbers_joined(arguments)))
    assert (options.yaw, options.output, options.raw) == (-10, "-5", True)


def test_the_last_option_may_lack_its_number() -> None:
    assert list(with_numbers_joined(["render", "--yaw"])) == ["render", "--yaw"]
    assert list(with_numbers_joined(["--yaw", "--pitch", "-1"])) == ["--yaw", "--pitch", "-1"]


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_is_asked_of_a_server_reaches_it(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stream import serving

    asked: list[Settings] = []
    monkeypatch.setattr(serving, "run", lambda settings, demo: asked.append(settings))
    flags = ["--avatar", "once", "--room-size", "3", "--encoder", "x264", "--no-audio"]
    assert cli.main([command]) == cli.main([command, *flags]) == 0
    default, chosen = asked
    assert (default.avatar, default.room_size, default.encoder) == ("live", 6, "auto")
    assert (chosen.avatar, chosen.room_size, chosen.encoder) == ("once", 3, "x264")
    assert default.audio and not chosen.audio


def test_only_devices_that_work_are_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["render", "--help"])
    out = capsys.readouterr().out
    assert "--device {auto,cpu,cuda}" in out


def test_json_tells_errors_to_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["render", "me.jpg", "-o", "out.bmp", "--json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["code"] == "bad_output"
    assert err == f"visavis: {error['reason']}\n"


def test_the_rest_of_an_ice_server_is_its_password() -> None:
    options = make_parser().parse_args(["serve", "--ice-server", "turn:a.example,me,p,w"])
    (server,) = options.ice_server
    assert (server.url, server.username, server.credential) == ("turn:a.example", "me", "p,w")


def test_an_interruption_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "doctor", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr() == ("", "")
