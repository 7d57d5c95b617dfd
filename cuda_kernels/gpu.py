"""Puts the kernels of src/kernels.cu, compiled by cupy, on torch's current stream of a GPU.

Nothing is copied: the kernels get torch's pointers.
"""

import importlib
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cuda_kernels.build import SOURCE_FOLDER
from cuda_kernels.library import KernelLibraryError
from cuda_kernels.nvrtc import options

THREADS = 256
"""In a block: the pixels of a tile, or that many Gaussians."""
MOST_VIEWS = 65535
"""CUDA's limit of a grid's second edge."""


def _cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError:
        raise KernelLibraryError(
            "The kernels need cupy on a GPU; run: pip install 'visavis[cuda]'"
        ) from None


@cache
def kernel(name: str, channels: int, device: int) -> Any:
    """A kernel for a device; cupy keeps what it compiled on disk, by architecture and options.

    Loads the kernel, which must not happen while a CUDA graph is captured.
    """
    with _cupy().cuda.Device(device):
        return _module(channels).get_function(name)


@cache
def _module(channels: int) -> Any:
    source = (SOURCE_FOLDER / "kernels.cu").read_text()
    return _cupy().RawModule(code=source, options=options(channels))


def _by_value(argument: Tensor | np.ndarray | int | float) -> np.ndarray:
    """An argument as the kernels take it: a pointer, a struct, an int or a float.

    Arrays of one item, since cupy copies them as they are; of plain numbers it would make 64 bits.
    """
    if isinstance(argument, Tensor):
        return np.array(argument.data_ptr(), np.uint64)
    if isinstance(argument, np.ndarray):
        return argument
    return np.array(argument, np.int32 if isinstance(argument, int) else np.float32)


def _current_stream(device: torch.device) -> Any:
    """Torch's, as cupy has it."""
    cuda, stream = _cupy().cuda, torch.cuda.current_stream(device)
    if hasattr(cuda.Stream, "from_external"):
        return cuda.Stream.from_external(stream)
    return cuda.ExternalStream(stream.cuda_stream)  # of cupy before version 14


def launch(
    name: str, channels: int, blocks: tuple[int, int], device: torch.device, arguments: list[Any]
) -> None:
    """Put a kernel on torch's current stream of a device.

    Args:
        name: of an entry point of kernels.cu.
        channels: that it is compiled for.
        blocks: of 256 threads each.
        device: a CUDA device.
        arguments: tensors for pointers, numbers, and structs as arrays of one item.
    """
    if 0 in blocks:  # CUDA calls that an error
        return
    cuda = _cupy().cuda
    with cuda.Device(device.index), _current_stream(device):
        function = kernel(name, channels, device.index)
        function(blocks, (THREADS,), tuple(_by_value(a) for a in arguments))
