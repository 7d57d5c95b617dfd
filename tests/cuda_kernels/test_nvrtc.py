"""The same sources compile for CUDA; no driver and no GPU is needed to know that."""

import importlib

import pytest

from cuda_kernels import nvrtc
from cuda_kernels.build import SOURCE_FOLDER
from cuda_kernels.layout import macros


def nvrtc_is_there() -> bool:
    try:
        importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except (ImportError, RuntimeError):
        return False
    return True


needs_nvrtc = pytest.mark.skipif(
    not nvrtc_is_there(),
    reason=f"NVRTC is not installed, so the CUDA build is not checked ({nvrtc.WHEELS})",
)

KERNELS = (
    *("project", "composite_forward", "composite_backward", "project_backward"),
    *("rgb_to_i420_float32", "rgb_to_i420_bfloat16"),
)


@needs_nvrtc
@pytest.mark.parametrize(
    ("architecture", "channels"),
    [("sm_80", 4), ("sm_120", 4), *(("sm_90", channels) for channels in range(1, 9))],
)
def test_compiles(architecture: str, channels: int) -> None:
    cubin = nvrtc.compile_cubin(architecture, channels)
    assert cubin.startswith(b"\x7fELF")
    for kernel in KERNELS:
        assert f".text.{kernel}\0".encode() in cubin


@needs_nvrtc
@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("SPLAT_BYTES", "Splat"),
        ("SPLAT_DEPTH_AT", "depth"),
        ("SPLAT_BOX_AT", "Box"),
        ("GRADIENT_BYTES", "SplatGrad"),
        ("FRAME_BYTES", "Frame"),
    ],
)
def test_what_the_host_takes_a_struct_to_be_is_asserted(
    name: str, struct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {**macros(4), name: macros(4)[name] + 4}
    monkeypatch.setattr(nvrtc, "macros", lambda channels: wrong)
    with pytest.raises(nvrtc.CudaCompileError, match=f"static assertion failed.*{struct}"):
        nvrtc.compile_cubin("sm_90")


def test_headers_are_among_what_a_compiled_kernel_is_found_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = nvrtc.options(4)
    assert before == nvrtc.options(4) != nvrtc.options(3)
    monkeypatch.setattr(nvrtc, "fingerprint", lambda: "0")
    assert nvrtc.options(4) != before


@needs_nvrtc
def test_an_error_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("src")
    for path in SOURCE_FOLDER.glob("*.h"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "kernels.cu").write_text('#include "splat.h"\nint mistake = no_such_name;\n')
    monkeypatch.setattr(nvrtc, "SOURCE_FOLDER", folder)
    with pytest.raises(nvrtc.CudaCompileError, match=r"kernels.cu\(2\).*no_such_name"):
        nvrtc.compile_cubin("sm_90")


def test_without_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.nvrtc", None)
    with pytest.raises(nvrtc.CudaCompileError, match="pip install cuda-bindings"):
        nvrtc.compile_cubin("sm_90")
