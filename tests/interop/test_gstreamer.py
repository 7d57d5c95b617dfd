"""GStreamer's webrtcbin, of the system's packages, as a receiver and as a caller."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aioice.ice import get_host_addresses

from tests.browser.bar_server import SlowEngine, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CLIENT = Path(__file__).with_name("gstreamer_client.py")
PYTHON = "/usr/bin/python3"
PACKAGES = "gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-nice python3-gi"
PACKAGES += " gir1.2-gst-plugins-bad-1.0 gir1.2-gst-plugins-base-1.0"
SECONDS = 6
NEEDED = """
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstWebRTC
Gst.init(None)
wanted = "webrtcbin nicesrc dtlssrtpenc vp8enc vp8dec openh264enc openh264dec".split()
print([name for name in wanted if not Gst.ElementFactory.find(name)])
"""


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    """The system's Python can use webrtcbin; the tests are skipped where it cannot."""
    if not get_host_addresses(use_ipv4=True, use_ipv6=False):
        pytest.skip("GStreamer leaves 127.0.0.1 out, and this machine has no other address.")
    advice = f"Run: apt-get install {PACKAGES}"
    if shutil.which(PYTHON) is None:
        pytest.skip(f"There is no {PYTHON}, which GStreamer's packages are made for.")
    looked = subprocess.run([PYTHON, "-c", NEEDED], capture_output=True, text=True, timeout=60)
    if looked.returncode:
        pytest.skip(f"GStreamer's webrtcbin is not installed. {advice}")
    if (missing := looked.stdout.strip().splitlines()[-1]) != "[]":
        pytest.skip(f"GStreamer lacks {missing}. {advice}")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(SlowEngine()) as address:
        yield address


def command(kind: str, url: str, codec: str) -> list[str]:
    return [PYTHON, str(CLIENT), kind, url, str(SECONDS), codec]


def seen(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_webrtcbin_receives(server: str, codec: str) -> None:
    done = subprocess.run(
        command("receive", f"{server}/whep/demo", codec),
        capture_output=True,
        text=True,
        timeout=SECONDS + 60,
    )
    found = seen(done.stdout)
    assert found["error"] == "" and found["state"] == "connected", found
    assert f"{codec}/90000" in found["answer"]
    assert (found["width"], found["height"]) == (256, 256)
    assert found["frames"] >= 20
    assert abs(found["bar"] - 0.5) < 0.02, "not the default viewpoint"
    assert found["deleted"] == 200


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_webrtcbin_calls(server: str, codec: str) -> None:
    """Its camera shows a grey wall, which the engine of these tests takes for a person."""
    states = set()
    with subprocess.Popen(
        command("send", f"{server}/whip", codec),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            call = json.loads(process.stdout.readline())["call"]
            end = time.monotonic() + SECONDS - 1
            while "live" not in states and time.monotonic() < end:
                with urllib.request.urlopen(f"{server}/calls/{call}", timeout=10) as answer:
                    states.add(json.load(answer)["state"])
                time.sleep(0.1)
            found = seen(process.communicate(timeout=SECONDS + 60)[0])
        finally:
            process.kill()
    assert found["error"] == "" and found["state"] == "connected", found
    assert "live" in states
    assert found["deleted"] == 200
