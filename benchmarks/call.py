"""Measures a call, from the browser's event to the frame on its screen, in a real Chromium, beside
stock aiortc with the same engine in the same run; writes benchmarks/results/call.json.

    python -m benchmarks.call                  some eight minutes
    python -m benchmarks.call --soak 30        a two-way call of half an hour besides
    python -m benchmarks.call --parts soak --soak 1
    python -m benchmarks.call --parts lip-sync networks

Everything runs on this machine over loopback, so that server and browser share its cores and its
clock. Each part has the machine's load and a fixed piece of work before and after: figures of a
busy machine can be told from slow code.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from benchmarks import (
    call_avatar,
    call_camera,
    call_cpu,
    call_delay,
    call_engines,
    call_report,
    call_soak,
    call_terms,
)
from benchmarks.call_run import Run, Server, machine, other, serving
from stream.offline import read_portrait
from tests.browser.chromium import open_browser

OTHERS = {"lip-sync": "benchmarks.lip_sync", "networks": "benchmarks.bad_networks"}
"""Benchmarks of their own, each run as a process; their JSON becomes a part of ours."""
OTHERS_SECONDS = 300.0
OURS, STOCK = "benchmarks.call_server", "benchmarks.call_stock"
PARTS = ("delay", "cpu", "live", "soak", *OTHERS)
USUAL = ("delay", "cpu", "live", "soak")
RATES = {256: 700_000, 512: 1_500_000}
"""Bits per second that we may send at a size: those of `Settings.bitrate_ceiling`."""


class Bench:
    """The parts.

    Args:
        options: of the command line.
        folder: for films and logs.
        browser: a Chromium whose camera shows the portrait.
        run: keeps the results.
    """

    def __init__(
        self, options: argparse.Namespace, folder: Path, browser: Browser, run: Run
    ) -> None:
        self._options = options
        self._folder = folder
        self._browser = browser
        self._run = run

    @contextlib.contextmanager
    def _serving(self, module: str, name: str, *arguments: str) -> Iterator[Server]:
        with serving(module, arguments, self._folder / f"{name}.log") as server:
            yield server

    def delay(self) -> dict[str, Any]:
        """Motion-to-photon of our server and of stock aiortc with the same engine."""
        engine = ("--engine", self._options.engine)
        with (
            self._serving(OURS, "delay", *engine) as ours,
            self._serving(STOCK, "delay-stock", *engine) as stock,
        ):
            ways = [
                call_delay.ours(ours),
                call_delay.stock(stock, "h264"),
                call_delay.stock(stock, "vp8"),
                call_delay.stock(stock, "h264", no_jitter_buffer=True),
            ]
            samples = call_delay.compare(
                self._browser, ways, self._options.repeats, self._options.seconds, self._run.say
            )
            raw = call_delay.summary(samples[ways[0].name])["raw_share"]
            if raw is not None and raw > call_report.RAW_BOUND:
                # Too slow a machine, or too busy: like must be compared with like.
                more = [call_delay.stock(stock, codec, raw=True) for codec in ("h264", "vp8")]
                samples |= call_delay.compare(
                    self._browser, more, 1, self._options.seconds, self._run.say
                )
                ways += more
        found = {name: call_delay.summary(visits) for name, visits in samples.items()}
        mine = found[ways[0].name]["motion_to_photon_ms"]["p50"]
        others = {way.name: found[way.name]["motion_to_photon_ms"]["p50"] for way in ways[1:]}
        return {
            "ways": found,
            "ratios": ratios(mine, others),
            "terms": {name: call_terms.table(visits) for name, visits in samples.items()},
        }

    def cpu(self, size: int) -> dict[str, Any]:
        """The sender's processor time per frame."""
        film = self._folder / f"film-{size}.npy"
        call_engines.write_film(film, read_portrait("demo"), size)
        engine = ("--engine", "film", "--film", f"{film}", "--no-stamp")
        with (
            self._serving(OURS, f"cpu-{size}", *engine, "--move") as ours,
            self._serving(STOCK, f"cpu-stock-{size}", *engine) as stock,
            self._serving(
                STOCK, f"cpu-stock-rate-{size}", *engine, "--bitrate", f"{RATES[size]}"
            ) as same,
        ):
            ways = [
                call_delay.ours(ours),
                call_delay.stock(stock, "h264"),
                call_delay.stock(same, "h264", suffix=" at our rate"),
                call_delay.stock(stock, "vp8"),
            ]
            found = call_cpu.compare(
                self._browser, ways, self._options.cpu_repeats, self._options.seconds, self._run.say
            )
        mine = found[ways[0].name]["cpu_ms_per_frame"]
        others = {way.name: found[way.name]["cpu_ms_per_frame"] for way in ways[1:]}
        return {"ways": found, "ratios": ratios(mine, others)}

    def caller(self, avatar: str) -> dict[str, Any]:
        """A receiver while somebody calls; with a live avatar camera-to-avatar as well."""
        arguments = ("--engine", self._options.engine, "--avatar", avatar)
        with self._serving(OURS, f"avatar-{avatar}", *arguments) as server:
            sample, page = call_avatar.measure(self._browser, server, 2 * self._options.seconds)
        found = call_avatar.summary(sample, page)
        found["terms"] = call_terms.table([sample])
        return found

    def soak(self) -> dict[str, Any]:
        """A long call."""
        with self._serving(OURS, "soak", "--engine", self._options.engine) as server:
            return call_soak.soak(self._browser, server, self._options.soak, self._run.say)


def ratios(mine: float | None, others: dict[str, float | None]) -> dict[str, float | None]:
    """Ours as a part of each of the others'."""
    return {
        name: None if mine is None or not other else round(mine / other, 3)
        for name, other in others.items()
    }


def run_other(name: str) -> dict[str, Any]:
    """A benchmark of its own."""
    with tempfile.TemporaryDirectory(prefix="call-bench-") as folder:
        return other(OTHERS[name], Path(folder) / "out.json", OTHERS_SECONDS)


def measure(options: argparse.Namespace, run: Run) -> None:
    """Do the parts that were asked for."""
    run.results["machine"] = machine()
    run.results["engine"] = options.engine
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="call-bench-")))
        film = folder / "camera.mjpeg"
        call_camera.write_film(film, read_portrait(options.portrait))
        browser = closing.enter_context(open_browser(film))
        run.results["browser"] = f"Chromium {browser.version}"
        bench = Bench(options, folder, browser, run)
        if "delay" in options.parts:
            run.part(call_report.DELAY, bench.delay)
        if "cpu" in options.parts:
            for size in options.cpu_sizes:
                run.part(f"{call_report.CPU} at {size}", lambda size=size: bench.cpu(size))
        if "live" in options.parts:
            run.part(call_report.ONCE, lambda: bench.caller("once"))
            run.part(call_report.LIVE, lambda: bench.caller("live"))
        if "soak" in options.parts and options.soak:
            run.part(call_report.SOAK, bench.soak)
    for name in OTHERS:
        if name in options.parts:
            run.part(name, lambda name=name: run_other(name))
    run.results["targets"] = call_report.judge(run.results)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=USUAL, help="what to measure")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="0: no soak")
    parser.add_argument("--portrait", default="demo", help="picture that the fake camera shows")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="visits of each way, for delays")
    parser.add_argument("--cpu-repeats", type=int, default=2, help="the same, for processor time")
    parser.add_argument("--cpu-sizes", type=int, nargs="+", default=(256, 512), help="of pictures")
    parser.add_argument(
        "--engine", choices=("real", "bar"), default="real", help="bar: no networks"
    )
    parser.add_argument("-o", "--output", type=Path, default=call_report.RESULTS, help="JSON file")
    return parser


def _end(number: int, frame: object) -> None:
    """A plain SIGTERM would leave the servers and the browser behind, and no results."""
    raise SystemExit(128 + number)


def main() -> None:
    options = arguments().parse_args()
    signal.signal(signal.SIGTERM, _end)
    run = Run()
    try:
        measure(options, run)
    finally:
        call_report.write(run.results, options.output)
    print(call_report.text(run.results))
    print(f"\n{options.output}")


if __name__ == "__main__":
    main()
