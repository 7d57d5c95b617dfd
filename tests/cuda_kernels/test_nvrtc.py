"""The same sources compile for CUDA; no driver and no GPU is needed to know that."""

import importlib
from pathlib import Path

import pytest

from cuda_kernels import build, gpu_splatter, nvrtc
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
    *("rgb_to_yuv_float32", "rgb_to_yuv_bfloat16"),
    *("refiner_input_float32", "refiner_input_bfloat16"),
    *("blend_portrait_float32", "blend_portrait_bfloat16"),
    *gpu_splatter.KERNELS,
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
        ("LAYOUT_BYTES", "Layout"),
        ("READING_BYTES", "Reading"),
        ("BLENDING_BYTES", "Blending"),
        ("ITEM_BYTES", "Item"),
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
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """cupy keeps compiled kernels by main source, options and architecture."""
    before = nvrtc.options(4)
    assert before == nvrtc.options(4) != nvrtc.options(3)
    headers = sorted(SOURCE_FOLDER.glob("*.h"))
    assert {"binning.h", "detail.h", "lanes.h", "splat.h", "yuv.h"} <= {h.name for h in headers}
    for header in headers:
        (tmp_path / header.name).write_bytes(header.read_bytes())
    monkeypatch.setattr(build, "SOURCE_FOLDER", tmp_path)
    seen = {nvrtc.options(4)}
    for header in headers:
        with (tmp_path / header.name).open("a") as file:
            file.write("// Changed.\n")
        seen.add(nvrtc.options(4))
    assert len(seen) == len(headers) + 1


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
