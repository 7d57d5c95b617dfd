"""What a run of the call benchmark is made of: servers, pages, the state of the machine."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page

from stream.bench import measure_yardstick
from stream.command_line import version
from stream.doctor import instruction_sets, processor
from tests.browser.server_process import STOP_SECONDS, ServerProcess, stop

ROOT = Path(__file__).resolve().parent.parent
PAGE_SCRIPT = Path(__file__).with_name("call_page.js")
START_SECONDS = 180.0
"""Loading torch, the weights and the portrait, on a busy machine."""
LIVE_SECONDS = 40.0
HTTP_SECONDS = 20.0


class NotMeasured(Exception):
    """Why a figure is missing."""


class Server(ServerProcess):
    """A server process that notes what it does."""

    def marks(self) -> dict[str, Any]:
        """What it has noted, see `call_marks`."""
        with urllib.request.urlopen(f"{self.url}/bench", timeout=HTTP_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def ask(self, method: str, path: str) -> None:
        """Make a request whose answer does not matter."""
        request = urllib.request.Request(self.url + path, method=method)
        urllib.request.urlopen(request, timeout=HTTP_SECONDS).close()

    def forget(self) -> None:
        """Begin to note anew."""
        self.ask("DELETE", "/bench")


@contextlib.contextmanager
def serving(module: str, arguments: Sequence[str], log: Path) -> Iterator[Server]:
    """Run `python -m MODULE ARGUMENTS`, which prints "ready URL", for the length of a block.

    Raises:
        NotMeasured: it did not start; the end of its log is in the message.
    """
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=errors,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(_ready(process, log), process, log)
    finally:
        stop(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    url = ""
    while time.monotonic() < end and process.poll() is None:
        lines = log.read_text(errors="replace").splitlines()
        url = next((line[6:] for line in lines if line.startswith("ready ")), "")
        if url:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/bench", timeout=2).close()
                return url
        time.sleep(0.2)
    tail = " ".join(log.read_text(errors="replace").split()[-40:])
    raise NotMeasured(f"the server did not start: {tail}")


@contextlib.contextmanager
def opened(browser: Browser, url: str, script: str = "") -> Iterator[Page]:
    """A page of its own context with the notes of `call_page.js`, for the length of a block."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    try:
        context.grant_permissions(["camera", "microphone"])
        context.add_init_script(script + PAGE_SCRIPT.read_text())
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()


def other(module: str, output: Path, seconds: float) -> dict[str, Any]:
    """Run another benchmark, `python -m MODULE --out OUTPUT`, and give its JSON.

    Raises:
        NotMeasured: there is none, or it wrote nothing in so many seconds.
    """
    if importlib.util.find_spec(module) is None:
        raise NotMeasured(f"there is no {module}")
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--out", f"{output}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it ends its servers and its browser
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise NotMeasured(f"{module} took longer than {seconds:.0f} s") from None
    if not output.is_file():
        raise NotMeasured(f"{module} wrote nothing: {' '.join(printed.split()[-30:])}")
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def until(page: Page, condition: str, seconds: float = LIVE_SECONDS, what: str = "") -> None:
    """Wait until a JavaScript expression is true.

    Raises:
        NotMeasured: it did not become true.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise NotMeasured(f"not within {seconds:.0f} s: {what or condition}")
        page.wait_for_timeout(50)


def percentiles(values: Sequence[float], digits: int = 1) -> dict[str, float | int | None]:
    """p50, p95, mean and count."""
    if not values:
        return {"p50": None, "p95": None, "mean": None, "count": 0}
    p50, p95 = np.percentile(values, [50, 95])
    return {
        "p50": round(float(p50), digits),
        "p95": round(float(p95), digits),
        "mean": round(float(np.mean(values)), digits),
        "count": len(values),
    }


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "visavis": version(),
        "python": sys.version.split()[0],
        **processor().facts,
        "instruction_sets": instruction_sets().facts,
    }


def yardstick() -> dict[str, Any]:
    """What other programs leave of the machine: the load, and a fixed matrix product. Waits a
    moment first, so that what this run did itself has come to rest."""
    time.sleep(0.5)
    times = measure_yardstick()
    return {"load": round(os.getloadavg()[0], 2), "matrix_ms": vars(times)}


@dataclass
class Run:
    """Does one part after another and keeps what comes out, or why nothing did."""

    results: dict[str, Any] = field(default_factory=dict)
    begin: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", file=sys.stderr, flush=True)

    def part(self, name: str, work: Callable[[], Any]) -> Any:
        """Do some work, with a yardstick before and after.

        Returns:
            The result, None where there is none.
        """
        self.say(name)
        before, start = yardstick(), time.monotonic()
        try:
            self.results[name] = work()
        except Exception as error:  # one figure that cannot be had must not cost all others
            reason = str(error).strip().splitlines() or [""]
            text = reason[0] if isinstance(error, NotMeasured) else f"{type(error).__name__}: "
            text = text if isinstance(error, NotMeasured) else text + reason[0]
            self.results[name] = {"not measured": text}
            self.say(f"  not measured: {text}")
            return None
        finally:
            found = self.results.setdefault(name, {"not measured": "interrupted"})
            if isinstance(found, dict):
                found["seconds"] = round(time.monotonic() - start, 1)
                found["yardstick"] = {"before": before, "after": yardstick()}
        return self.results[name]
