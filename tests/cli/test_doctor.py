from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from models import weights
from stream import cli, doctor
from stream.findings import Finding, Findings, State


def state_of(findings: Findings, name: str) -> State:
    (finding,) = [f for group in findings.groups.values() for f in group if f.name == name]
    return finding.state


def test_this_machine_can_serve_a_call(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    ready = found.pop("ready")
    lacking = [f for group in found.values() for f in group if f["state"] == "missing"]
    assert (code, ready, err, lacking) == (0, True, "", [])
    codecs = {finding["name"].split()[0]: finding["facts"]["opens"] for finding in found["codecs"]}
    assert codecs["libx264"] and codecs["libvpx"] and "h264_nvenc" in codecs
    assert found["installation"][1]["facts"]["torch"].startswith("2.13.0")


def test_words_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    out, _ = capsys.readouterr()
    assert out.endswith("\nThis machine can serve calls.\n")
    assert all(len(line) <= 100 for line in out.splitlines() if "run:" not in line)


def test_something_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = Finding("codec", State.MISSING, "does not open", "mend it")
    monkeypatch.setattr(doctor, "codec", lambda name: missing)
    assert cli.main(["doctor"]) == 1
    out, _ = capsys.readouterr()
    assert "missing  codec" in out and "run: mend it\n" in out
    assert out.endswith("cannot serve calls yet: see what is missing above.\n")


def test_a_package_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    versions, broken = doctor.packages()
    assert "av" not in versions.facts and "numpy" in versions.facts
    assert broken.state is State.MISSING
    assert broken.mend is not None and broken.mend.endswith(" av==18.1.0")
    # The codecs cannot be opened then, and say so without a traceback.
    assert doctor.codec("libx264").state is State.MISSING
    assert doctor.codec("h264_nvenc").state is State.NOTE


def test_face_models_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    findings = doctor.face_models()
    assert [finding.state for finding in findings] == [State.MISSING] * 3
    for finding in findings:
        assert finding.mend == f"{sys.executable} -m pip install --no-deps mediapipe==0.10.21"
        assert "run:" not in finding.text.lower()


def test_kernels_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cuda_kernels import build, library

    library.kernels.cache_clear()
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "none.so")
    finding = doctor.kernels()
    assert finding.state is State.MISSING
    assert finding.mend == f"{sys.executable} -m cuda_kernels.build"


def test_files_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    assert doctor.pages().state is State.MISSING
    findings = doctor.weights()
    assert [finding.state for finding in findings] == [State.MISSING] * 2
    assert all("are not in" in finding.text for finding in findings)


def test_weights_of_ones_own_are_not_calibrated_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert all(finding.facts["calibrated"] for finding in doctor.weights())
    for file in (weights.FOLDER / weights.LIFTER, weights.FOLDER / weights.REFINER):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    for finding in doctor.weights():
        assert finding.state is State.OK and not finding.facts["calibrated"]
        assert finding.text.endswith("see visavis-train calibrate")


def test_model_cards_in_words(tmp_path: Path) -> None:
    card = {"network": "lifter", "parameters": 7264080, "metrics": {"psnr": 24.5, "by_yaw": [1]}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    read = doctor.model_card(tmp_path / "card.json")
    assert doctor.card_in_words(read) == "parameters 7,264,080, psnr 24.5"
    (tmp_path / "card.json").write_text("{")
    assert doctor.model_card(tmp_path / "card.json") == {}
    assert doctor.card_in_words({}) == "no model card"


def test_an_examination_that_fails_is_a_finding() -> None:
    def fails() -> list[Finding]:
        raise RuntimeError("two\nlines")

    (finding,) = doctor._guarded("thing", fails)
    assert finding.state is State.MISSING
    assert finding.text == "cannot be examined: RuntimeError: two lines"


def test_a_taken_port_names_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = doctor.tcp_port(port)
        assert finding.state is State.NOTE
        assert finding.mend in (f"visavis serve --port {port + 1}", "visavis serve --port 65534")
    assert doctor.tcp_port(port).state is State.OK


def test_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    amx = "avx2 fma avx512f avx512bw avx512dq avx512vl amx_tile amx_bf16"
    for flags, state, there in (
        (amx, State.OK, {"AVX2": True, "AVX-512": True, "AMX bf16": True}),
        ("avx2 fma", State.OK, {"AVX2": True, "AVX-512": False, "AMX bf16": False}),
        ("sse4_2", State.NOTE, {"AVX2": False, "AVX-512": False, "AMX bf16": False}),
    ):
        monkeypatch.setattr(doctor, "cpu_flags", lambda flags=flags: frozenset(flags.split()))
        finding = doctor.instruction_sets()
        assert (finding.state, finding.facts) == (state, there)
    for more, slow in (("", True), (" avx_vnni", False), (" avx512_vnni", False)):
        monkeypatch.setattr(
            doctor, "cpu_flags", lambda more=more: frozenset(("avx2 fma" + more).split())
        )
        assert ("two to four times as long" in doctor.instruction_sets().text) == slow


def test_what_a_container_grants(tmp_path: Path) -> None:
    limits = tmp_path / "cpu.max"
    assert doctor.cpu_quota(limits) is None
    limits.write_text("max 100000\n")
    assert doctor.cpu_quota(limits) is None
    limits.write_text("150000 100000\n")
    assert doctor.cpu_quota(limits) == 1.5


@pytest.mark.parametrize(
    ("addresses", "state", "words"),
    [
        (["192.0.2.1"], State.OK, "192.0.2.1; 127.0.0.1 too"),
        ([], State.NOTE, "--allow-loopback-in-peer-connection"),
    ],
)
def test_media_addresses(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], state: State, words: str
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: addresses)
    finding = doctor.udp()
    assert finding.state is state and words in finding.text
    assert finding.facts == {"addresses": addresses}


def test_no_browser_is_only_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BROWSERS", ("no-such-browser",))
    assert doctor.browser().state is State.NOTE
    assert doctor.browser().mend == "apt-get install chromium"
