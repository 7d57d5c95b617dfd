"""A stand-in for cupy that runs kernels.cu on the CPU, a block's threads taking turns.

The options that cupy would hand to NVRTC compile emulated_cuda.cpp, and what cupy would hand to the
driver reaches the kernels as the driver passes it on: by addresses and sizes.
"""

import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cuda_kernels import gpu

SOURCE = Path(__file__).with_name("emulated_cuda.cpp")
OUTCOMES = ("done", "no such kernel", "wrong number of arguments", "wrong size of an argument")
STUCK = "threads wait at barriers that others never reach"
ORDERS = {"first to last": 0, "last to first": 1, "shuffled": 2}
"""In which order the threads of a block take their turns; "last to first" also the blocks."""

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
PLACES = [*ORDERS, pytest.param("cuda", marks=needs_gpu)]
ONE_ORDER = ["shuffled", pytest.param("cuda", marks=needs_gpu)]
"""Where a test runs; see `at`."""


class EmulationError(RuntimeError):
    """A kernel cannot be run as it was asked for."""


@cache
def compiled(options: tuple[str, ...]) -> ctypes.CDLL:
    """The emulation, compiled once per process for such options of NVRTC."""
    flags = [
        option.replace("--define-macro=", "-D").replace("--include-path=", "-I")
        for option in options
    ]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "emulated.so"
        compiler = shlex.split(os.environ.get("CXX", "g++"))
        # A longjmp from one stack to another is what _FORTIFY_SOURCE would stop.
        own = "-O1 -fPIC -shared -w -U_FORTIFY_SOURCE -ffp-contract=off".split()
        subprocess.run([*compiler, *flags, *own, str(SOURCE), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


class RawModule:
    """As cupy's, for a fixed order of threads."""

    def __init__(self, *, code: str, options: tuple[str, ...], order: int) -> None:
        assert "composite_forward" in code
        self._options, self._order = options, order

    def get_function(self, name: str) -> Any:
        library = compiled(self._options)

        def kernel(blocks: tuple[int, int], threads: tuple[int], arguments: Any) -> None:
            assert all(isinstance(a, np.ndarray) and a.size == 1 for a in arguments)
            count = len(arguments)
            outcome = library.emulate(
                *(name.encode(), *blocks, *threads, self._order, count),
                (ctypes.c_void_p * count)(*(a.ctypes.data for a in arguments)),
                (ctypes.c_int * count)(*(a.nbytes for a in arguments)),
            )
            if outcome:
                raise EmulationError(f"{name}: {(*OUTCOMES, STUCK)[outcome]}")

        return kernel


def cupy(order: int = 0) -> Any:
    """What gpu_splat uses of the module cupy."""

    def module(*, code: str, options: tuple[str, ...]) -> RawModule:
        return RawModule(code=code, options=options, order=order)

    cuda = SimpleNamespace(
        Device=lambda index: nullcontext(),
        Stream=SimpleNamespace(from_external=lambda stream: nullcontext()),
    )
    return SimpleNamespace(cuda=cuda, RawModule=module)


@contextmanager
def emulated(order: str) -> Iterator[None]:
    """Sends tensors of the CPU the way of those on a GPU, with threads in an order of that name."""

    def forget() -> None:
        gpu.kernel.cache_clear()
        gpu._module.cache_clear()

    stand_in = cupy(ORDERS[order])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "_cupy", lambda: stand_in)
        for module in ("splat", "i420", "portrait_blend", "portrait_detail"):
            patch.setattr(f"cuda_kernels.{module}._on_gpu", lambda t: True)
        patch.setattr(torch.cuda, "current_stream", lambda device: None)
        forget()
        yield
        forget()


def at(place: str) -> AbstractContextManager[None]:
    """Runs kernels on the device "cpu" or "cuda", or else by emulation in an order of that name."""
    return nullcontext() if place in ("cpu", "cuda") else emulated(place)


def device_of(place: str) -> str:
    return "cuda" if place == "cuda" else "cpu"
