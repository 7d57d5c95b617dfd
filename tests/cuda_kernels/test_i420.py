"""RGB to I420 and NV12 against their references, and another implementation on the way back."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from cuda_kernels.i420 import rgb_to_i420, rgb_to_nv12
from cuda_kernels.reference import rgb_to_i420_reference, rgb_to_nv12_reference
from tests.cuda_kernels.emulation import at, device_of, needs_gpu

CONVERSIONS = [(rgb_to_i420, rgb_to_i420_reference), (rgb_to_nv12, rgb_to_nv12_reference)]
IDS = ["i420", "nv12"]
Conversion = Callable[..., torch.Tensor]
PLACES = ["cpu", "shuffled", pytest.param("cuda", marks=needs_gpu)]


def picture(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1


def assert_same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """A value within rounding of a half may fall to either side."""
    assert ours.dtype == torch.uint8 and ours.shape == expected.shape
    difference = (ours.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("convert", "reference"), CONVERSIONS, ids=IDS)
@pytest.mark.parametrize("size", [(2, 2), (18, 34), (64, 64), (256, 256), (6, 130)])
def test_sizes(
    size: tuple[int, int], convert: Conversion, reference: Conversion, place: str
) -> None:
    rgb = picture(2, 3, *size)
    with at(place):
        frames = convert(rgb.to(device_of(place)))
    assert_same(frames.cpu(), reference(rgb))


def test_one_picture() -> None:
    rgb = picture(3, 16, 16)
    assert_same(rgb_to_i420(rgb), rgb_to_i420_reference(rgb[None]))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["planes", "channels last", "a part of more"])
def test_layouts(dtype: torch.dtype, layout: str, place: str) -> None:
    rgb = picture(3, 5, 40, 48).to(device_of(place), dtype)
    if layout == "channels last":
        rgb = rgb.to(memory_format=torch.channels_last)[:, :3]
    elif layout == "planes":
        rgb = rgb[:, :3].contiguous()
    else:
        rgb = rgb[:, 1:4, 4:36, 6:38]
    with at(place):
        frames = rgb_to_i420(rgb)
    assert_same(frames.cpu(), rgb_to_i420_reference(rgb.cpu()))


@pytest.mark.parametrize("place", PLACES)
def test_limits(place: str) -> None:
    values = torch.tensor([-torch.inf, -1, 0, 1, 7, torch.inf, torch.nan])
    rgb = values[:, None, None, None].expand(7, 3, 2, 2).to(device_of(place))
    with at(place):
        luma = rgb_to_i420(rgb)[:, 0, 0].tolist()
    assert luma == [16, 16, 16, 235, 235, 235, 16]


@pytest.mark.parametrize(
    ("convert", "code"),
    [(rgb_to_i420, cv2.COLOR_YUV2RGB_I420), (rgb_to_nv12, cv2.COLOR_YUV2RGB_NV12)],
    ids=IDS,
)
def test_comes_back(convert: Conversion, code: int) -> None:
    """OpenCV turns the frame back into a smooth picture that is within a few levels of it."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 96), indexing="ij")
    rgb = torch.stack([x, y, 1 - x * y])
    frame = convert(rgb)[0].numpy()
    back = cv2.cvtColor(frame, code).astype(np.float32) / 255
    assert np.abs(back - rgb.permute(1, 2, 0).numpy()).max() < 0.03


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("convert", [rgb_to_i420, rgb_to_nv12], ids=IDS)
def test_out_and_threads(convert: Conversion, place: str) -> None:
    rgb = picture(3, 3, 20, 20).to(device_of(place))
    guarded = torch.full((5, 30, 20), 7, dtype=torch.uint8, device=rgb.device)
    with at(place):
        out = guarded[1:4]
        assert convert(rgb, out=out, threads=2) is out
        assert torch.equal(out, convert(rgb))
    assert (guarded[[0, 4]] == 7).all()


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_graph(place: str) -> None:
    rgb, out = picture(2, 3, 64, 64).to(place), torch.empty(2, 96, 64, dtype=torch.uint8).to(place)
    rgb_to_nv12(rgb, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        rgb_to_nv12(rgb, out=out)
    rgb.mul_(0.5)
    out.zero_()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    graph.replay()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    assert_same(out.cpu(), rgb_to_nv12_reference(rgb.cpu()))


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
