"""A real server in a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 150
"""Loading torch and the weights, on a busy machine."""
STOP_SECONDS = 15


@dataclass(frozen=True)
class ServerProcess:
    """A server that answers.

    Args:
        url: without a slash at the end.
        process: to be ended by `stop`.
        log: what it printed.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """End the process by its own id and return its exit code."""
        return stop(self.process)


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a process by its own id and return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(log: Path, *arguments: str) -> ServerProcess:
    """Start `visavis ARGUMENTS` and wait until it answers.

    Raises:
        RuntimeError: it ended, or did not answer in time; the message holds what it printed.
    """
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "stream.cli",
        *arguments,
        "--host",
        "127.0.0.1",
        "--port",
        f"{port}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    server = ServerProcess(f"http://127.0.0.1:{port}", process, log)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.url}/healthz", timeout=2):
                return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    server.stop()
    raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')[-2000:]}")
