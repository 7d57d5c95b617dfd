"""RGB to I420 against its reference, and against another implementation on the way back."""

import cv2
import numpy as np
import pytest
import torch

from cuda_kernels.i420 import rgb_to_i420
from cuda_kernels.reference import rgb_to_i420_reference


def picture(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1


def assert_same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """A value within rounding of a half may fall to either side."""
    assert ours.dtype == torch.uint8 and ours.shape == expected.shape
    difference = (ours.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize("size", [(2, 2), (18, 34), (64, 64), (256, 256), (6, 130)])
def test_sizes(size: tuple[int, int]) -> None:
    rgb = picture(2, 3, *size)
    assert_same(rgb_to_i420(rgb), rgb_to_i420_reference(rgb))


def test_one_picture() -> None:
    rgb = picture(3, 16, 16)
    assert_same(rgb_to_i420(rgb), rgb_to_i420_reference(rgb[None]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["planes", "channels last", "a part of more"])
def test_layouts(dtype: torch.dtype, layout: str) -> None:
    rgb = picture(3, 5, 40, 48).to(dtype)
    if layout == "channels last":
        rgb = rgb.to(memory_format=torch.channels_last)[:, :3]
    elif layout == "planes":
        rgb = rgb[:, :3].contiguous()
    else:
        rgb = rgb[:, 1:4, 4:36, 6:38]
    assert_same(rgb_to_i420(rgb), rgb_to_i420_reference(rgb))


def test_limits() -> None:
    values = torch.tensor([-torch.inf, -1, 0, 1, 7, torch.inf, torch.nan])
    luma = [int(rgb_to_i420(torch.full((3, 2, 2), float(v)))[0, 0, 0]) for v in values]
    assert luma == [16, 16, 16, 235, 235, 235, 16]


def test_comes_back() -> None:
    """OpenCV turns the frame back into a smooth picture that is within a few levels of it."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 96), indexing="ij")
    rgb = torch.stack([x, y, 1 - x * y])
    frame = rgb_to_i420(rgb)[0].numpy()
    back = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420).astype(np.float32) / 255
    assert np.abs(back - rgb.permute(1, 2, 0).numpy()).max() < 0.03


def test_out_and_threads() -> None:
    rgb = picture(3, 3, 20, 20)
    out = torch.empty(3, 30, 20, dtype=torch.uint8)
    assert rgb_to_i420(rgb, out=out, threads=2) is out
    assert torch.equal(out, rgb_to_i420(rgb))


@pytest.mark.parametrize(
    ("rgb", "words"),
    [
        (torch.zeros(3, 5, 4), "even H and W"),
        (torch.zeros(4, 4, 4), "needs [3, H, W]"),
        (torch.zeros(3, 4, 4, dtype=torch.float64), "float32 or bfloat16"),
    ],
)
def test_wrong_input(rgb: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError) as error:
        rgb_to_i420(rgb)
    assert words in str(error.value)


def test_wrong_out() -> None:
    with pytest.raises(ValueError, match="out must be contiguous uint8"):
        rgb_to_i420(torch.zeros(3, 4, 4), out=torch.empty(1, 4, 6, dtype=torch.uint8))
