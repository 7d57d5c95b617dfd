"""Loads the CPU build of the kernels and describes its functions to ctypes.

ctypes releases the GIL during a call, so two Python threads may rasterise at the same time.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from cuda_kernels import build


class KernelLibraryError(RuntimeError):
    """The compiled kernels are missing, stale or made for another machine; says what to run."""


_POINTER: Any = ctypes.c_void_p
_INT: Any = ctypes.c_int
_LONG: Any = ctypes.c_longlong
_BATCH = [_INT] * 4 + [_POINTER] * 6 + [_INT] * 2 + [ctypes.c_double] * 2 + [_INT, ctypes.c_int64]
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "visavis_splat_bytes": ([_INT] * 2, _INT),
    "visavis_splat_forward_f32": (_BATCH + [_POINTER] * 5, None),
    "visavis_splat_forward_f64": (_BATCH + [_POINTER] * 5, None),
    "visavis_splat_backward_f32": (_BATCH + [_POINTER] * 9, None),
    "visavis_splat_backward_f64": (_BATCH + [_POINTER] * 9, None),
    "visavis_rgb_to_yuv": (
        [_INT] * 5 + [_POINTER] + [_LONG] * 4 + [_INT, _POINTER],
        None,
    ),
    "visavis_refiner_input": (
        [_INT] * 3
        + [_POINTER]
        + [_INT] * 2
        + [_POINTER] * 6
        + [_INT]
        + [ctypes.c_float] * 3
        + [_POINTER]
        + [_LONG] * 4
        + [_INT],
        None,
    ),
    "visavis_live_discs": (
        [_INT] + [_POINTER] * 3 + [ctypes.c_float] * 7 + [_POINTER] * 5,
        _INT,
    ),
    "visavis_mix_maps": ([_INT] + [_POINTER] * 3 + [ctypes.c_float] * 5 + [_POINTER] * 2, None),
    "visavis_surfaces": ([_INT] + [_POINTER] * 2 + [ctypes.c_float] + [_POINTER] * 2, None),
    "visavis_refiner_codes": (
        [_INT] * 2 + [_POINTER] * 2 + [ctypes.c_float] + [_POINTER] * 2 + [_INT],
        None,
    ),
    "visavis_blend_portrait": (
        [_INT] * 3
        + [_POINTER]
        + [_INT] * 2
        + [_POINTER] * 5
        + [_INT]
        + [ctypes.c_float] * 2
        + [_POINTER]
        + [_LONG] * 4
        + [_INT],
        None,
    ),
}


def machine_instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str] | None:
    """Instruction sets of this machine without underscores; None where it does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), None)
    return frozenset(flags.replace("_", "").split()) if flags is not None else None


def load(path: Path, machine: frozenset[str] | None) -> ctypes.CDLL:
    """Open the library at `path` for a machine with the given instruction sets.

    Raises:
        KernelLibraryError: it is not there, older than the sources, or needs another machine.
    """
    run = f"run: {build.COMMAND}"
    try:
        library = ctypes.CDLL(str(path))
        fingerprint = (ctypes.c_char * 64).in_dll(library, "visavis_fingerprint").value.decode()
        needs = (ctypes.c_char * 512).in_dll(library, "visavis_needs").value.decode().split()
    except OSError as error:
        reason = "not been compiled yet" if not path.exists() else f"not loaded ({error})"
        raise KernelLibraryError(f"The kernels have {reason}; {run}") from None
    except ValueError:
        raise KernelLibraryError(f"{path.name} is not a library of these kernels; {run}") from None
    if fingerprint != build.fingerprint():
        raise KernelLibraryError(f"The kernels were compiled from other sources; {run}")
    lacking = [name for name in needs if machine is not None and name not in machine]
    if lacking:
        raise KernelLibraryError(
            f"The kernels were compiled for another machine (this one lacks {lacking[0]}); {run}"
        )
    for name, (arguments, result) in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


@cache
def kernels() -> ctypes.CDLL:
    """The library of this installation, loaded once."""
    return load(build.LIBRARY, machine_instruction_sets())
