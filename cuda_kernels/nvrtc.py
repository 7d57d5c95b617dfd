"""Compiles the kernels for CUDA with NVRTC; needs two wheels, and neither a driver nor a GPU."""

import importlib
from typing import Any

from cuda_kernels.build import SOURCE_FOLDER, fingerprint
from cuda_kernels.layout import macros

CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")
"""What cupy compiles with besides, so that this compiles the same."""
WHEELS = "pip install cuda-bindings nvidia-cuda-nvrtc"


class CudaCompileError(RuntimeError):
    """NVRTC is missing, or refuses the kernels; carries its log."""


def options(channels: int) -> tuple[str, ...]:
    """Options of NVRTC for src/kernels.cu, the architecture apart.

    Args:
        channels: colour channels of the Gaussians, 1 to 8.
    """
    # cupy finds what it compiled before by the main file and these options: it does not look into
    # headers, so that their fingerprint must be among the options.
    defined = {**macros(channels), "HEADERS": f"0x{fingerprint()}"}
    return (
        "-std=c++17",
        f"--include-path={SOURCE_FOLDER}",
        *(f"--define-macro={name}={value}" for name, value in defined.items()),
    )


def compile_cubin(architecture: str, channels: int = 4) -> bytes:
    """Compile src/kernels.cu.

    Args:
        architecture: "sm_90" and the like.
        channels: colour channels of the Gaussians, 1 to 8.
    Returns:
        A cubin, to be loaded by cupy's RawModule or cuModuleLoadData.
    Raises:
        CudaCompileError: NVRTC is not installed, or there is an error in the kernels.
    """
    try:
        nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
    except ImportError:
        raise CudaCompileError(f"NVRTC is not installed; run: {WHEELS}") from None

    def check(result: tuple[Any, ...]) -> Any:
        status, *values = result
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CudaCompileError(f"NVRTC: {status.name}")
        return values[0] if values else None

    path = SOURCE_FOLDER / "kernels.cu"
    try:
        program = check(
            nvrtc.nvrtcCreateProgram(path.read_bytes(), path.name.encode(), 0, None, None)
        )
    except RuntimeError as error:  # the bindings are there, but the library they load is not
        raise CudaCompileError(f"{error}; run: {WHEELS}".replace("\n", " ")) from None
    try:
        chosen = [f"--gpu-architecture={architecture}", *options(channels), *CUPY_ADDS]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(chosen), [o.encode() for o in chosen])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(check(nvrtc.nvrtcGetProgramLogSize(program)))
            check(nvrtc.nvrtcGetProgramLog(program, log))
            raise CudaCompileError(log.rstrip(b"\0").decode())
        cubin = bytearray(check(nvrtc.nvrtcGetCUBINSize(program)))
        check(nvrtc.nvrtcGetCUBIN(program, cubin))
        return bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
