"""The refiner's picture in eight bits, against the same in torch; and what the kernel refuses."""

from typing import Any

import pytest
import torch
from torch import nn

from cuda_kernels.refiner_codes import refiner_codes
from models.int8 import Int8Conv, Range
from models.refiner import Refiner, noise_map


def arguments(height: int, width: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    torch.manual_seed(height)
    render = torch.rand(1, 10, height, width) * 1.4 - 0.2
    return {
        "render": render.to(dtype),
        "noise": torch.randn(1, 4, height, width),
        "level": 0.3,
        "enlarged": 127 / (0.5 + torch.rand(12)),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (96, 80)])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_kernel_and_torch_agree(
    size: tuple[int, int], dtype: torch.dtype, threads: int
) -> None:
    given = arguments(*size, dtype)
    codes = refiner_codes(**given, threads=threads)
    assert codes.shape == (1, 12, *size) and codes.dtype == torch.uint8
    assert codes.is_contiguous(memory_format=torch.channels_last)

    render = given["render"].float()
    sigma = noise_map(render, given["level"])
    noised = render[:, [0, 1, 2, 5]] + sigma * given["noise"]
    seen = Refiner.picture(noised, render, sigma)
    stem = Int8Conv(
        nn.Conv2d(12, 4, 4), Range(1, 0), (127 / given["enlarged"]).tolist(), torch.float32
    )
    wanted = stem.picture(seen).codes
    apart = (codes.int() - wanted.int()).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 0.01, "but for ties"


def test_what_is_not_a_number_is_some_code() -> None:
    given = arguments(4, 4)
    given["render"][:] = torch.nan
    assert refiner_codes(**given).shape == (1, 12, 4, 4)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("render", torch.zeros(1, 9, 4, 4), r"render is torch.float32 \[1, 9, 4, 4\]"),
        ("render", torch.zeros(1, 10, 4, 4).double(), "render is torch.float64"),
        ("render", torch.zeros(2, 10, 4, 4), "render is"),
        ("noise", torch.zeros(1, 4, 4, 4).bfloat16(), "noise is torch.bfloat16"),
        ("noise", torch.zeros(1, 4, 4, 5), "noise is"),
        ("enlarged", torch.zeros(12, 1), "enlarged is"),
    ],
)
def test_wrong_input(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        refiner_codes(**{**arguments(4, 4), name: value})
