"""The folders know only whom they may know, and what others build on is there by its name."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "benchmarks",
    "client_web",
    "cuda_kernels",
    "examples",
    "models",
    "stream",
    "tests",
    "training",
)

MAY_IMPORT = {
    "cuda_kernels": set(),
    "examples": {"stream", "models.errors", "models.viewpoint"},
    "models": {"cuda_kernels"},
    "stream": {"models.engine", "models.errors", "models.picture", "models.viewpoint"},
    "training": {"models", "cuda_kernels"},
}
"""What of this project each folder may import besides itself."""

EXCEPTIONS = {
    # It looks at every part of an installation, broken ones too.
    "stream/doctor.py": {
        "cuda_kernels.library",
        "models.face_models",
        "models.gpu_setup",
        "models.weights",
    },
}

NEVER = {
    "cuda_kernels": {"asyncio", "socket", "cv2", "aiortc", "fastapi"},
    "examples": {"torch", "cupy", "aiortc", "fastapi"},
    "models": {"asyncio", "socket", "aiortc", "av", "fastapi", "uvicorn"},
    "stream": {"torch", "cupy"},
}
"""What would mix a folder's job with another's."""

MODULE_OF = {
    # distribution: module, where the two differ
    "mediapipe": "mediapipe",
    "nvidia-ml-py": "pynvml",
    "opencv-python-headless": "cv2",
    "prometheus-client": "prometheus_client",
    "cupy-cuda13x": "cupy",
    "pillow": "PIL",
    "scikit-image": "skimage",
}

PUBLIC = {
    "cuda_kernels.i420": {"rgb_to_i420"},
    "cuda_kernels.reference": {"splat_reference"},
    "cuda_kernels.splat": {"splat"},
    "models.camera": {"portrait_camera", "viewpoint_camera"},
    "models.engine": {"Avatar", "Engine", "FrameCheck", "RenderRequest", "load_engine"},
    "models.errors": {"PortraitError", "SetupError", "ViewpointError", "VisavisError"},
    "models.gaussians": {"Gaussians"},
    "models.picture": {"load_picture"},
    "models.portrait": {"PortraitFinder"},
    "models.viewpoint": {"Viewpoint"},
    "stream.cli": {"main"},
    "stream.client": {
        "AvatarError",
        "ConnectionLost",
        "JoinError",
        "OwnCall",
        "ReceivedFrame",
        "SourceError",
        "Told",
        "View",
        "call",
        "join",
    },
    "stream.server": {"create_app", "server"},
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def within(name: str, allowed: set[str]) -> bool:
    """Whether a dotted name is one of the allowed modules, or something inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in allowed)


def test_within() -> None:
    assert within("models.engine.Engine", {"models.engine"})
    assert not within("models.engineering", {"models.engine"})
    assert not within("models.lifter.Lifter", {"models.engine"})


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_only_whom_they_may_know(folder: str) -> None:
    wrong = []
    assert sources(folder)
    for path in sources(folder):
        place = path.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[folder] | {folder} | EXCEPTIONS.get(place, set())
        for line, name in imports(path):
            ours = name.split(".")[0] in FOLDERS
            if ours and not within(name, allowed) or within(name, NEVER.get(folder, set())):
                wrong.append(f"{place}:{line}: {name}")
    assert wrong == []


def test_exceptions_are_needed() -> None:
    for place, modules in EXCEPTIONS.items():
        used = [name for _, name in imports(ROOT / place)]
        for module in modules:
            assert any(within(name, {module}) for name in used), f"{place} no longer uses {module}"


@pytest.mark.parametrize("module", PUBLIC)
def test_names_that_others_build_on(module: str) -> None:
    loaded = importlib.import_module(module)
    assert PUBLIC[module] - vars(loaded).keys() == set()


@pytest.mark.parametrize("folder", ["cuda_kernels", "models", "stream"])
def test_typed_packages_say_so(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()


def project() -> dict[str, object]:
    loaded = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert isinstance(loaded, dict)
    return loaded


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", line)[0].lower() for line in requirements}


def test_everything_that_is_imported_is_declared() -> None:
    declared = {
        MODULE_OF.get(name, name).replace("-", "_") for name in names(project()["dependencies"])
    }
    # uvicorn[standard] and fastapi bring these by design.
    declared |= {"starlette", "uvloop", "websockets"} | {"cupy"} | set(FOLDERS)
    declared |= {"diffusers", "peft", "transformers"}  # optional, as cupy is
    declared |= set(sys.stdlib_module_names)
    undeclared = {
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for folder in ("cuda_kernels", "models", "stream")
        for path in sources(folder)
        for line, name in imports(path)
        if name.split(".")[0] not in declared
    }
    assert undeclared == set()


def test_constraints_pin_everything_exactly() -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, equals, version = line.partition("==")
            assert equals and version, f"{line} is no exact version"
            pins[re.sub("[-_.]+", "-", name).lower()] = version
    wanted = names(project()["dependencies"])
    for extra, requirements in project()["optional-dependencies"].items():
        if extra != "cuda":  # installed on machines with a GPU only
            wanted |= names(requirements)
    assert wanted - pins.keys() - {"visavis"} == set()
    assert pins["torch"] == "2.13.0"


def test_constraints_are_what_the_tests_ran_with() -> None:
    differing = []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if line.startswith("#") or name in ("pre_commit",):
            continue
        try:
            installed = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
        if installed != version:
            differing.append(f"{name}: {installed} installed, {version} in constraints.txt")
    assert differing == []


def test_the_commands_are_declared() -> None:
    scripts = {"visavis": "stream.cli:main", "visavis-train": "training.cli:main"}
    assert project()["scripts"] == scripts
