"""`visavis doctor`: looks at everything that a call needs, and says what mends what is missing.

Each examination stands alone and survives the absence of what it looks for: a broken installation
is what this command is for.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from fractions import Fraction
from importlib import metadata
from pathlib import Path

from stream.findings import Finding, Findings, State
from stream.gpu_load import GpuReader

PACKAGES = {
    # distribution: module
    "torch": "torch",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "safetensors": "safetensors",
    "av": "av",
    "aiortc": "aiortc",
    "aioice": "aioice",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
    "websockets": "websockets",
    "prometheus-client": "prometheus_client",
    "nvidia-ml-py": "pynvml",
}
"""What the server imports."""

INSTRUCTION_SETS = {
    "AVX2": ("avx2", "fma"),
    "AVX-512": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    "AMX bf16": ("amx_tile", "amx_bf16"),
}
"""Names and the flags of /proc/cpuinfo that stand for them."""

VNNI = {"avx512_vnni", "avx_vnni"}
"""Flags of which one is enough for networks in eight bits."""

CODECS = {"libx264": "H.264", "libvpx": "VP8", "h264_nvenc": "H.264 on a GPU"}

PAGES = ("index.html", "call.html")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OURS = ("cuda_kernels", "models", "stream")
ROOT = Path(__file__).resolve().parent.parent
PYTHON = shlex.quote(sys.executable)
PIP = f"{PYTHON} -m pip install"
INSTALL = "make clean install"
"""`make install` alone would find that it has run before."""
GIGA = 1024**3


def examine(port: int) -> Findings:
    """Look at everything.

    Args:
        port: TCP port that the server would take.
    """
    return Findings(
        {
            "machine": [processor(), instruction_sets(), memory(), *graphics()],
            "installation": [python(), *packages(), kernels(), pages()],
            "networks": [*_guarded("weights", weights), *_guarded("face models", face_models)],
            "codecs": [codec(name) for name in CODECS],
            "network": [tcp_port(port), udp()],
            "tests": [browser()],
        }
    )


def _guarded(name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Findings of an examination that needs modules which may be missing or broken."""
    try:
        return list(look())
    except Exception as error:
        return [Finding(name, State.MISSING, f"cannot be examined: {_one_line(error)}", INSTALL)]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:160]
    if type(error).__module__.split(".")[0] in OURS:
        # Our own messages are sentences; the command in them is shown on a line of its own.
        return re.split("[;.] run: ", text, flags=re.IGNORECASE)[0]
    return f"{type(error).__name__}: {text}"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of the first processor; empty where the system does not tell."""
    return frozenset(_cpuinfo("flags", cpuinfo).split())


def _cpuinfo(key: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, "")


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def cpu_quota(limits: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    """Cores' worth of time that a container grants; None without a limit."""
    try:
        quota, period = limits.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no control group, or "max"
        return None


def processor() -> Finding:
    """Model, cores and load."""
    model = _cpuinfo("model name") or platform.processor() or platform.machine()
    cores, quota = usable_cores(), cpu_quota()
    load = os.getloadavg()[0]
    text = f"{model}, {cores} cores, load {load:.1f}"
    if quota is not None:
        text += f", limited to {quota:g} cores' time"
    facts: dict[str, object] = {
        "model": model,
        "cores": cores,
        "quota": quota,
        "load": load,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    return Finding("processor", State.OK, text, facts=facts)


def instruction_sets() -> Finding:
    """Which of those that matter for speed are there."""
    flags = cpu_flags()
    there = {name: set(needs) <= flags for name, needs in INSTRUCTION_SETS.items()}
    names = ", ".join(name for name, has in there.items() if has)
    facts: dict[str, object] = dict(there)
    if not there["AVX2"]:
        return Finding(
            "instruction sets", State.NOTE, "no AVX2: expect a few frames per second", facts=facts
        )
    if not flags & VNNI and not there["AMX bf16"]:
        names += " (with neither VNNI nor AMX the networks take two to four times as long)"
    return Finding("instruction sets", State.OK, names, facts=facts)


def memory() -> Finding:
    """Available main memory; a server takes about one gigabyte."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        free = sizes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return Finding("memory", State.NOTE, "the system does not tell")
    state = State.OK if free > GIGA else State.NOTE
    text = f"{free / GIGA:.1f} of {sizes['MemTotal'] / GIGA:.1f} GB available"
    return Finding("memory", state, text, facts={"available": free, "total": sizes["MemTotal"]})


def graphics() -> list[Finding]:
    """GPUs by NVML, each with its load. A machine without one serves calls from its processor."""
    reader = GpuReader()
    load = reader.read()
    reader.close()
    facts: dict[str, object] = {"driver": load.driver, "reason": load.reason}
    if not load.available:
        text = f"{load.in_words()}; the processor does the work"
        return [Finding("GPU", State.NOTE, text, facts={**facts, "available": False})]
    found = [
        Finding(
            f"GPU {gpu.index}",
            State.OK,
            f"{gpu.name}, driver {load.driver}, {gpu.in_words()}",
            facts={**facts, "available": True, **asdict(gpu)},
        )
        for gpu in load.gpus
    ]
    if load.reason is not None:
        found.append(Finding("GPU", State.NOTE, f"not available: {load.reason}"))
    return [*found, _engine_on_gpu()]


def _engine_on_gpu() -> Finding:
    """Whether the engine can use a GPU that the driver shows."""
    try:
        from models.gpu_setup import gpu_problem

        problem = gpu_problem()
    except Exception as error:  # of an installation that is broken; others tell more
        problem = _one_line(error)
    text = f"the processor does the work: {problem}" if problem else "the kernels compile and run"
    return Finding("GPU engine", State.NOTE if problem else State.OK, text)


def python() -> Finding:
    """The interpreter."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    facts: dict[str, object] = {"version": platform.python_version(), "executable": sys.executable}
    return Finding("python", State.OK, text, facts=facts)


def packages() -> list[Finding]:
    """Versions of what the server imports, each really imported."""
    versions: dict[str, object] = {}
    broken = []
    for distribution, module in PACKAGES.items():
        try:
            importlib.import_module(module)
            versions[distribution] = metadata.version(distribution)
        except Exception as error:
            # A package may be there and fail to load: a library it needs is missing.
            mend = f"{PIP} --force-reinstall --no-deps {pinned(distribution)}"
            broken.append(
                Finding(distribution, State.MISSING, _one_line(error), mend, {"version": None})
            )
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [Finding("packages", State.OK, text, facts=versions), *broken]


def pinned(distribution: str) -> str:
    """A distribution with the version that constraints.txt names, where that file is there."""
    try:
        lines = (ROOT / "constraints.txt").read_text().splitlines()
    except OSError:
        return distribution
    names = (line for line in lines if re.sub("[-_.]+", "-", line).startswith(f"{distribution}=="))
    return next(names, distribution)


def kernels() -> Finding:
    """The compiled kernels: there, made from these sources, and for this processor."""
    try:
        from cuda_kernels.library import kernels as load

        load()
    except Exception as error:
        return Finding(
            "kernels", State.MISSING, _one_line(error), f"{PYTHON} -m cuda_kernels.build"
        )
    return Finding("kernels", State.OK, "compiled for this processor")


def pages() -> Finding:
    """The files that browsers are given."""
    folder = ROOT / "client_web"
    missing = [name for name in PAGES if not (folder / name).is_file()]
    if missing:
        return Finding("pages", State.MISSING, f"{', '.join(missing)} not found", INSTALL)
    return Finding("pages", State.OK, f"{len(list(folder.rglob('*.*')))} files")


def weights() -> list[Finding]:
    """The trained networks, each really loaded, with what their model cards say of them."""
    from models import weights as networks

    findings = []
    for file, load in (
        (networks.LIFTER, networks.load_lifter),
        (networks.REFINER, networks.load_refiner),
    ):
        path = networks.weights_folder() / file
        try:
            load()
        except Exception as error:
            mend = f"git -C {shlex.quote(str(ROOT))} checkout -- models/assets"
            findings.append(Finding(path.stem, State.MISSING, _one_line(error), mend))
            continue
        card = model_card(path.with_suffix(".json"))
        text = f"{path.stat().st_size / 1e6:.1f} MB, " + card_in_words(card)
        calibrated = networks.load_calibration(path) is not None
        if not calibrated:
            text += "; slower than it could be on CPUs with VNNI: see visavis-train calibrate"
        facts = {"path": str(path), "calibrated": calibrated, **card}
        findings.append(Finding(path.stem, State.OK, text, facts=facts))
    return findings


def model_card(path: Path) -> dict[str, object]:
    """What is said of a network; empty where nothing is."""
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def card_in_words(card: dict[str, object]) -> str:
    """The numbers of a model card in one line."""
    numbers = {key: value for key, value in card.items() if isinstance(value, int | float)}
    for key in ("metrics", "results"):
        measured = card.get(key)
        if isinstance(measured, dict):
            numbers |= {k: v for k, v in measured.items() if isinstance(v, int | float)}
    return ", ".join(f"{key} {value:,}" for key, value in numbers.items()) or "no model card"


def face_models() -> list[Finding]:
    """The networks that find a face, each really read."""
    from models import face_models as faces

    findings = []
    for name in (faces.DETECTOR, faces.MESH, faces.SEGMENTER):
        try:
            faces.read_network(name)
            findings.append(Finding(Path(name).stem, State.OK, "reads"))
        except Exception as error:
            mend = f"{PYTHON} -m {faces.INSTALL}"
            findings.append(Finding(Path(name).stem, State.MISSING, _one_line(error), mend))
    return findings


def codec(name: str) -> Finding:
    """One codec: opened, and one picture encoded. That it is listed would prove nothing."""
    title = f"{name} ({CODECS[name]})"
    on_gpu = name.endswith("nvenc")
    try:
        octets = encode_one(name)
    except Exception as error:
        facts: dict[str, object] = {"opens": False, "error": _one_line(error)}
        if on_gpu:
            text = "does not open here; the processor encodes"
            return Finding(title, State.NOTE, text, facts=facts)
        text = f"does not open: {_one_line(error)}"
        mend = f"{PIP} --force-reinstall --no-deps {pinned('av')}"
        return Finding(title, State.MISSING, text, mend, facts)
    return Finding(title, State.OK, f"encodes ({octets} bytes)", facts={"opens": True})


def encode_one(name: str) -> int:
    """Encode one grey picture and return the bytes it took."""
    import av
    import numpy as np
    from av.video.codeccontext import VideoCodecContext

    # FFmpeg complains on standard error about a GPU that is not there.
    av.logging.set_level(av.logging.PANIC)
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = 256
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(30)
    frame = av.VideoFrame.from_ndarray(np.full((384, 256), 128, np.uint8), format="yuv420p")
    frame.pts = 0
    packets = [*context.encode(frame), *context.encode(None)]
    octets = sum(packet.size for packet in packets)
    if octets == 0:
        raise RuntimeError("it encodes nothing")
    return octets


def tcp_port(port: int) -> Finding:
    """Whether the server's port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            text = f"{(error.strerror or str(error)).lower()}"
            mend = f"visavis serve --port {port + 1 if port < 65535 else port - 1}"
            return Finding(f"port {port}", State.NOTE, text, mend, {"free": False})
    return Finding(f"port {port}", State.OK, "free", facts={"free": True})


def udp() -> Finding:
    """The addresses that media can travel over."""
    try:
        from aioice.ice import get_host_addresses

        addresses = list(get_host_addresses(use_ipv4=True, use_ipv6=True))
    except Exception as error:
        return Finding("media addresses", State.NOTE, _one_line(error))
    facts: dict[str, object] = {"addresses": addresses}
    if not addresses:
        text = (
            "127.0.0.1 alone: there is no network. Chromium reaches it only when started with "
            "--allow-loopback-in-peer-connection, and from pages that may use the camera"
        )
        return Finding("media addresses", State.NOTE, text, facts=facts)
    text = f"{', '.join(addresses)}; 127.0.0.1 too while --host is a loopback address"
    return Finding("media addresses", State.OK, text, facts=facts)


def browser() -> Finding:
    """Chromium, which only the tests need."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        return Finding(
            "chromium", State.NOTE, "not found; only tests need it", "apt-get install chromium"
        )
    return Finding("chromium", State.OK, found)
