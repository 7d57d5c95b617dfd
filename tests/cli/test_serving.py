from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from stream import cli
from stream.serving import PortError, address_of, greeting, listen


def test_listens_where_it_is_told() -> None:
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname(), timeout=5) as client:
            assert client.getpeername() == listener.getsockname()


def test_a_taken_port_shows_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert cli.main(["serve", "--port", str(port)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"visavis: Cannot listen on 127.0.0.1 port {port}: address already in use."
        " Choose another with --port or --host.\n"
    )


def test_an_address_of_another_machine() -> None:
    with pytest.raises(PortError, match="cannot assign requested address"):
        listen("203.0.113.7", 8080)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://localhost:8080"),
        ("0.0.0.0", "http://localhost:8080"),
        ("::", "http://localhost:8080"),
        ("192.0.2.1", "http://192.0.2.1:8080"),
        ("2001:db8::1", "http://[2001:db8::1]:8080"),
    ],
)
def test_the_address_to_open(host: str, address: str) -> None:
    assert address_of(host, 8080) == address


def test_the_greeting_names_what_to_open() -> None:
    plain = greeting("http://localhost:8080", "127.0.0.1", "cpu", demo=False)
    assert "http://localhost:8080\n" in plain and "/c/demo" not in plain and "https" not in plain
    demo = greeting("http://localhost:8080", "127.0.0.1", "cpu", demo=True)
    assert "http://localhost:8080/c/demo" in demo
    assert "https" in greeting("http://192.0.2.1:8080", "192.0.2.1", "cpu", demo=False)


@pytest.mark.slow
@pytest.mark.timeout(300)  # loading takes a minute where other programs take the cores
def test_serves_says_where_and_ends_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "stream.cli", "demo", "--port", "0"]
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ctrl-C" in line:
                    break
            text = "".join(said)
            match = re.search(r"http://localhost:(\d+)/c/demo", text)
            assert match is not None, text
            # By number: the name may stand for ::1 first.
            base = f"http://127.0.0.1:{match[1]}"
            for page in ("/", "/c/demo", "/healthz"):
                with urllib.request.urlopen(base + page, timeout=30) as answer:
                    assert answer.status == 200
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
        errors.seek(0)
        assert (process.returncode, out, errors.read()) == (130, "", "")


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr("stream.serving.run", lambda settings, demo: given.append(settings))
    assert cli.main(["serve"]) == 0
    assert cli.main(["serve", "--admission", "refined"]) == 0
    assert [settings.admission for settings in given] == ["raw", "refined"]
