"""Building and loading the library: errors are one line, with the command to run."""

from pathlib import Path

import pytest
import torch

from cuda_kernels import build, library
from tests.cuda_kernels.scenes import compare, scattered

RUN = "-m cuda_kernels.build"


def assert_one_line(error: pytest.ExceptionInfo[Exception], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(library.KernelLibraryError) as error:
        library.load(tmp_path / "none.so", None)
    assert_one_line(error, "not been compiled yet", RUN)


def test_not_a_library(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("not a library")
    with pytest.raises(library.KernelLibraryError) as error:
        library.load(broken, None)
    assert_one_line(error, "not loaded", RUN)


def test_another_library() -> None:
    import _ctypes

    with pytest.raises(library.KernelLibraryError) as error:
        library.load(Path(_ctypes.__file__), None)
    assert_one_line(error, "not a library of these kernels", RUN)


def test_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "fingerprint", lambda: "of other sources")
    with pytest.raises(library.KernelLibraryError) as error:
        library.load(build.LIBRARY, None)
    assert_one_line(error, "other sources", RUN)


def test_instruction_sets(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse4_2 avx2 avx512_vnni\n\nflags : none\n")
    found = library.machine_instruction_sets(cpuinfo)
    assert found == {"fpu", "sse42", "avx2", "avx512vnni"}
    assert library.machine_instruction_sets(tmp_path / "none") is None


def small(path: Path, march: str) -> Path:
    only = "-DEACH_CHANNEL_COUNT(CASE)=CASE(2)"
    return build.build(path, march, (only, "-O1"))


@pytest.mark.slow
@pytest.mark.timeout(400)  # compiles the kernels, on whatever else the machine is doing
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3"])
def test_other_instruction_sets(
    march: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of 16 and of 32 bytes give the same pictures and gradients."""
    machine = library.machine_instruction_sets()
    if machine is None or "avx2" not in machine:
        pytest.skip("this machine has no AVX2")
    path = small(tmp_path / "other.so", march)
    if march != "x86-64":
        with pytest.raises(library.KernelLibraryError) as error:
            library.load(path, machine - {"avx2"})
        assert_one_line(error, "another machine", "avx2", RUN)
    other = library.load(path, machine)
    monkeypatch.setattr("cuda_kernels.splat.kernels", lambda: other)
    scene = scattered(C=2, N=80)
    assert max(compare(scene).worst().values()) < 1e-9
    assert max(compare(scene, torch.float32).worst().values()) < 1e-2


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError) as error:
        build.build(tmp_path / "none.so")
    assert_one_line(error, "no-such-compiler", "apt-get install g++")
    assert not list(tmp_path.iterdir())


def test_unknown_instruction_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISAVIS_MARCH", "no-such-machine")
    with pytest.raises(build.BuildError) as error:
        build.build(tmp_path / "none.so")
    assert_one_line(error, "no-such-machine", "VISAVIS_MARCH")
    assert not list(tmp_path.iterdir())
