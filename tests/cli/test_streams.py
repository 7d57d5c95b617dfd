"""Standard streams that are closed, full or cannot write every letter: the work is done, what is
wrong is one line, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ECHO = """
import sys
from stream import cli

def done(options):
    return cli._report(options, {"output": options.output})

cli.COMMANDS["export"] = done  # without the seconds of loading
sys.exit(cli.main(sys.argv[1:]))
"""
EXPORT = ("export", "me.png", "-o", "out.ply")


def shell(
    redirection: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-c", ECHO, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("redirection", "printed"),
    [(">&-", b""), ("2>&-", b"out.ply\n"), ("<&-", b"out.ply\n"), (">&- 2>&- <&-", b"")],
)
def test_closed_streams_are_no_error(redirection: str, printed: bytes) -> None:
    done = shell(redirection, *EXPORT)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [EXPORT, (*EXPORT, "--json"), ("--version",), ("fly", "--json")]
)
def test_a_full_disk_behind_standard_output(arguments: tuple[str, ...], unbuffered: str) -> None:
    if unbuffered and arguments == ("--version",):
        pytest.skip("argparse keeps it to itself")
    done = shell("> /dev/full", *arguments, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr == (
        b"visavis: Cannot write to standard output: no space left on device. Send it elsewhere.\n"
    )


def test_a_full_disk_behind_standard_error() -> None:
    done = shell("2> /dev/full", "fly")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_letters_that_the_encoding_lacks() -> None:
    done = shell("", "export", "me.png", "-o", "ö.ply", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xf6.ply\n", b"")
    done = shell("", "render", "ö.png", "-o", "ö.gif", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"visavis: Cannot tell the format of \\xf6.gif")


WAIT = """
import sys, time
from stream import cli
from stream.output_file import output_file

def wait(options):
    with output_file(options.output, (".ply",)):
        time.sleep(60)

cli.COMMANDS["export"] = wait
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_whoever_ends_a_command_finds_no_half_file(ending: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAIT, "export", "me.png", "-o", str(tmp_path / "out.ply")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The tests themselves may run under nohup, and hand that on.
        preexec_fn=lambda: signal.signal(ending, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(os.listdir(tmp_path)) == 1
    process.send_signal(ending)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + ending, b"", b"")
    assert os.listdir(tmp_path) == []


def test_a_command_under_nohup_outlives_a_hang_up(tmp_path: Path) -> None:
    quick = WAIT.replace("sleep(60)", "sleep(2)")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # programs hand it on to those they start
    try:
        command = [sys.executable, "-c", quick, "export", "me.png", "-o", str(tmp_path / "out.ply")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGHUP, before)
    deadline = time.monotonic() + 60
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60) == (b"", b"")
    assert (process.returncode, os.listdir(tmp_path)) == (0, ["out.ply"])
