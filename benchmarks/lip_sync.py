"""Lip-sync with the real engine: how much later than its picture the caller's voice is heard.

A real Chromium calls itself through a server. Its camera shows a person in a light that flashes,
and its microphone beeps with the flashes; `tests.browser.lip_sync` says what is compared, and what
of screens and sound devices is in the figures. Positive errors are sound that is late.

    python -m benchmarks.lip_sync --flashes 24 -o lip_sync.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.bench import measure_yardstick
from stream.doctor import processor
from tests.browser import fake_camera, flash_film, lip_sync, server_process
from tests.browser.chromium import WIDE, Watch, open_browser

DIM = 0.62
"""The light between flashes: a face is found in both, and it is as sharp."""

LONG_FLASH = 0.4
"""Seconds; an avatar on a slow processor must be lifted twice in a flash."""

WARM_UP = 15.0
"""Seconds: a browser buffers more sound while a call begins."""

PATIENCE = 4.0
"""Seconds for each flash, most of them for a slow machine."""


def person(number: int, flash: bool) -> NDArray[np.uint8]:
    """A frame of the film. RGB [480, 640, 3]"""
    steps = fake_camera.SWAY_SECONDS * fake_camera.FPS
    seen = fake_camera.person(number % steps / steps)
    return seen if flash else (seen * DIM).astype(np.uint8)


def run(flashes: int, size: int, one_stream: bool, more: list[str]) -> dict[str, object]:
    """Measure once.

    Args:
        flashes: how many.
        size: of the picture in pixels.
        one_stream: let the browser bring sound and picture together by itself.
        more: options of `visavis serve`.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        film, sound = flash_film.write_flashes(folder, person, LONG_FLASH)
        server = server_process.start(folder / "log", "serve", "--size", f"{size}", *more)
        try:
            with open_browser(film, sound) as browser:
                page = Watch().context(browser.new_context(viewport=WIDE)).new_page()
                lip_sync.open_call(page, server.url, one_stream=one_stream)
                result = lip_sync.measure(page, flashes, WARM_UP, flashes * PATIENCE)
        finally:
            server.stop()
    return {
        **processor().facts,
        "yardstick": asdict(measure_yardstick()),
        "load": os.getloadavg()[0],
        "size": size,
        "one_stream": one_stream,
        **result.report(),
        "errors": [round(error, 1) for error in result.error],
    }


def main() -> int:
    """Print the figures in milliseconds; 1 if the median is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flashes", type=int, default=24, help="how many (default: 24)")
    parser.add_argument("--size", type=int, default=256, help="of the picture (default: 256)")
    parser.add_argument(
        "--one-stream",
        action="store_true",
        help="let the browser take sound and picture for one stream, as they are not offered",
    )
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    parser.add_argument("server", nargs="*", help="options of visavis serve, after --")
    options = parser.parse_args()
    report = run(options.flashes, options.size, options.one_stream, options.server)
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")
    median = report["error"]["median"]  # type: ignore[index]
    return 0 if lip_sync.EARLY <= median <= lip_sync.LATE else 1


if __name__ == "__main__":
    sys.exit(main())
