"""A real TURN server, coturn, on loopback with a shared secret. Tests are skipped without it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "a secret of the tests"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
RELAYS = 40
"""Ports for relays; a test takes a few."""


def _free(kind: socket.SocketKind, port: int = 0) -> int:
    """A port of 127.0.0.1 that nobody uses, `port` if given; 0 if that one is taken."""
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        found: int = probe.getsockname()[1]
        return found


def _free_for_both() -> int:
    while True:
        port = _free(socket.SOCK_STREAM)
        if _free(socket.SOCK_DGRAM, port):
            return port


def _free_range() -> int:
    """The first of RELAYS ports in a row, below those that the system hands out by itself."""
    for first in range(20000, 32000, RELAYS):
        if all(_free(socket.SOCK_DGRAM, port) for port in range(first, first + RELAYS)):
            return first
    raise AssertionError("no free ports in a row")


@contextlib.contextmanager
def turn_server(folder: Path, secret: str = SECRET) -> Iterator[str]:
    """Run coturn for the time of the block; gives its address, "127.0.0.1:PORT", for UDP and TCP.

    Args:
        folder: for its files.
        secret: its static-auth-secret.
    """
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("there is no turnserver here: apt-get install coturn")
    port, first = _free_for_both(), _free_range()
    command = [
        program,
        "-n",  # no settings of the machine
        "--listening-ip=127.0.0.1",
        "--relay-ip=127.0.0.1",
        f"--listening-port={port}",
        f"--min-port={first}",
        f"--max-port={first + RELAYS - 1}",
        "--use-auth-secret",
        f"--static-auth-secret={secret}",
        "--realm=visavis.test",
        "--allow-loopback-peers",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--no-rfc5780",
        "--simple-log",
        f"--log-file={folder / 'turn.log'}",
        f"--pidfile={folder / 'turn.pid'}",
        f"--userdb={folder / 'turn.db'}",
    ]
    with (folder / "turn.out").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(port):
            said = (folder / "turn.out").read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"coturn ended:\n{said}"
            assert time.monotonic() < until, f"coturn does not answer:\n{said}"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
