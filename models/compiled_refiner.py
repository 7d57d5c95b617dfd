"""The refiner's step for one size of frames on a CPU, traced and frozen: a fifth faster than
running it eagerly."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cuda_kernels.refiner_codes import refiner_codes
from models.int8 import PICTURE, Codes, Int8Conv
from models.refiner import NOISE_LEVEL, RENDER, Refiner, noise_map, refine

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From render [1, 10, S, S], noise [1, 4, S, S] in float32, and what `encode_portrait` returned, to
colours (premultiplied) and alpha. [1, 4, S, S]"""


class _Step(nn.Module):
    """The whole step, with the noise level as a constant."""

    def __init__(self, network: Refiner) -> None:
        super().__init__()
        self.network = network

    def forward(self, render: Tensor, noise: Tensor, portrait: Tensor) -> Tensor:
        return refine(self.network, render, noise, NOISE_LEVEL, portrait)


class _Int8Step(nn.Module):
    """The step from what the network sees, in codes."""

    def __init__(self, network: Refiner) -> None:
        super().__init__()
        self.network = network

    def forward(self, seen: Tensor, render: Tensor, portrait: Tensor) -> Tensor:
        sigma = noise_map(render, NOISE_LEVEL)
        return self.network.denoised(Codes(seen, PICTURE), render, sigma, portrait)


def compile_refiner(
    network: Refiner, dtype: torch.dtype, size: int, threads: int = 1
) -> tuple[Step, tuple[Tensor, Tensor, Tensor]]:
    """Compile the step.

    Args:
        network: in `dtype`, or from `models.quantised.quantised`.
        dtype: of renders, and of what comes out.
        size: of the frames, pixels.
        threads: of kernels around the network.

    Returns:
        The step, and examples of its arguments.
    """
    render = torch.rand(1, RENDER, size, size, dtype=dtype)
    noise = torch.randn(1, 4, size, size)
    portrait = torch.rand(1, 4, 256, 256).to(dtype, memory_format=torch.channels_last)
    with torch.no_grad():
        tokens = network.encode_portrait(portrait)
        if not isinstance(network.encoder.stem, Int8Conv):
            step = _frozen(_Step(network), render, noise.to(dtype), tokens)
            return lambda r, n, p: step(r, n.to(dtype), p), (render, noise, tokens)
        enlarged = network.encoder.stem.enlarged.flatten().contiguous()
        seen = refiner_codes(render, noise, NOISE_LEVEL, enlarged)
        inner = _frozen(_Int8Step(network), seen, render, tokens)

    def whole(render: Tensor, noise: Tensor, portrait: Tensor) -> Tensor:
        codes = refiner_codes(render, noise, NOISE_LEVEL, enlarged, threads)
        return inner(codes, render, portrait)

    return whole, (render, noise, tokens)


def _frozen(module: nn.Module, *examples: Tensor) -> Callable[..., Tensor]:
    with warnings.catch_warnings():
        # Sizes become constants, which is what is wanted here; and torch would rather see
        # torch.compile, which was measured to gain nothing and to take 6 s at the first call.
        warnings.simplefilter("ignore")
        module = module.eval()
        module(*examples)  # networks in eight bits pack their weights
        step: Callable[..., Tensor] = torch.jit.freeze(torch.jit.trace(module, examples))  # type: ignore[no-untyped-call]
        for _ in range(3):  # the first runs optimise
            step(*examples)
    return step
