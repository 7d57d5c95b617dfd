"""Splatting on a GPU: on one where there is one, else its kernels and their driver by emulation."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cuda_kernels import gpu
from cuda_kernels.library import KernelLibraryError
from cuda_kernels.splat import splat
from tests.cuda_kernels import emulation
from tests.cuda_kernels.emulation import emulated, needs_gpu
from tests.cuda_kernels.scenes import Scene, scattered
from tests.cuda_kernels.test_binning import many, nothing_in_view, one_view_sees_nothing
from tests.cuda_kernels.test_splat import SCENES

NAMES = ("means", "axes", "opacities", "colors")


def picture_and_gradients(scene: Scene, device: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Picture, pairs left out and gradients in single precision, for one random cotangent."""
    tensors = [
        t.detach().to(device).requires_grad_(k < 4)
        for k, t in enumerate(scene.tensors(torch.float32))
    ]
    overflow = torch.full(tensors[4].shape[:2], -1, device=device)
    options = {"capacity": scene.capacity, "overflow": overflow}
    picture = splat(*tensors, scene.width, scene.height, **options)  # type: ignore[arg-type]
    g = torch.Generator().manual_seed(1)
    cotangent = torch.randn(picture.shape, generator=g).to(device)
    gradients = torch.autograd.grad((picture * cotangent).sum(), tensors[:4])
    named = dict(zip(NAMES, (t.cpu() for t in gradients), strict=True))
    return picture.detach().cpu(), overflow.cpu(), named


def assert_like_the_cpu(scene: Scene, ours: tuple[Tensor, Tensor, dict[str, Tensor]]) -> None:
    """exp2 and log2 differ in the last bits, and so may a pixel at the edge of a disc."""
    expected = picture_and_gradients(scene, "cpu")
    difference = (ours[0] - expected[0]).abs().flatten()
    assert difference.quantile(0.995) < 5e-5
    assert difference.max() < 1e-2
    assert (ours[1] - expected[1]).abs().max() <= 4  # a box may end on either side of a tile's edge
    for name, gradient in ours[2].items():
        wanted = expected[2][name]
        assert (gradient - wanted).norm() < 2e-3 * wanted.norm() + 1e-6, name


ALL = SCENES | {"nothing in view": nothing_in_view(), "a view of nothing": one_view_sees_nothing()}


@pytest.mark.parametrize("scene", ALL.values(), ids=ALL.keys())
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_gpu)])
def test_on_a_gpu(scene: Scene, device: str) -> None:
    assert_like_the_cpu(scene, picture_and_gradients(scene, device))


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_gpu)])
def test_many_on_a_gpu(device: str) -> None:
    assert_like_the_cpu(many(), picture_and_gradients(many(), device))


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_gpu)])
def test_on_another_stream_of_a_gpu(device: str) -> None:
    """What torch put on the stream before is waited for, and what it puts there after waits."""
    scene = scattered(B=1, V=2, N=2000, width=256, height=256)
    expected = picture_and_gradients(scene, "cpu")[0]
    tensors = [t.detach().to(device) for t in scene.tensors(torch.float32)]
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        busy = torch.rand(4096, 4096, device=device)
        for _ in range(20):
            busy = (busy @ busy).clamp(0, 1)
        moved = [t + 0 * busy[0, 0] for t in tensors]
        picture = splat(*moved, 256, 256) + 0
    torch.cuda.synchronize()
    assert (picture.cpu() - expected).abs().flatten().quantile(0.995) < 5e-5


@pytest.mark.parametrize("scene", ALL.values(), ids=ALL.keys())
def test_emulated(scene: Scene) -> None:
    with emulated("shuffled"):
        ours = picture_and_gradients(scene, "cpu")
    assert_like_the_cpu(scene, ours)


def test_the_order_of_threads_does_not_matter() -> None:
    """Within a block only barriers may decide who comes first. 400 discs: 13 rounds of a tile."""
    results = []
    for order in emulation.ORDERS:
        with emulated(order):
            results.append(picture_and_gradients(SCENES["many in one tile"], "cpu"))
    first, *others = results
    for other in others:
        assert torch.equal(other[0], first[0])
        for name in NAMES:
            torch.testing.assert_close(other[2][name], first[2][name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [(1, 0, 2), (0, 5, 2), (1, 5, 0)])
def test_nothing_at_all(sizes: tuple[int, int, int]) -> None:
    B, N, V = sizes
    one = [t.detach() for t in scattered(B=1, N=5, V=2).tensors(torch.float32)]
    gaussians = [t[:B, :N].requires_grad_() for t in one[:4]]
    with emulated("first to last"):
        picture = splat(*gaussians, *(t[:B, :V] for t in one[4:]), 40, 32)
        picture.sum().backward()
    assert picture.shape == (B, V, 6, 32, 40) and not picture.any()
    assert not any(t.grad.any() for t in gaussians if t.grad is not None)


def test_numbers_that_are_no_floats() -> None:
    scene = scattered(N=8)
    tensors = [t.detach() for t in scene.tensors(torch.float32)]
    with emulated("first to last"):
        assert torch.equal(
            splat(*tensors, 40, 32, eps2d=1), splat(*tensors, np.int64(40), 32, eps2d=1.0)
        )


def test_too_many_views() -> None:
    tensors = [t.detach() for t in scattered(B=1, V=1, N=1).tensors(torch.float32)]
    cameras = [t.expand(1, gpu.MOST_VIEWS + 1, -1, -1) for t in tensors[4:]]
    with emulated("first to last"), pytest.raises(ValueError, match="65536 views"):
        splat(*tensors[:4], *cameras, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([1], "wrong number"), ([1.0, *[1] * 12], "wrong size"), ([1] * 13, "wrong size")],
)
def test_the_emulation_refuses_wrong_arguments(arguments: list[float], words: str) -> None:
    with emulated("first to last"), pytest.raises(emulation.EmulationError, match=words):
        gpu.launch("project", 4, (1, 1), torch.device("cpu"), arguments)


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr("cuda_kernels.splat._on_gpu", lambda t: True)
    tensors = [t.detach() for t in scattered().tensors(torch.float32)]
    with pytest.raises(KernelLibraryError, match=r"run: pip install 'visavis\[cuda\]'$"):
        splat(*tensors, 40, 32)


def test_all_on_one_device() -> None:
    tensors = [t.detach() for t in scattered().tensors(torch.float32)]
    tensors[2] = tensors[2].to("meta")
    with pytest.raises(ValueError, match="opacities is on meta and means on cpu; .* one device$"):
        splat(*tensors, 40, 32)
    with pytest.raises(ValueError, match="means is on meta; needs the CPU or an NVIDIA GPU$"):
        splat(*(t.to("meta") for t in tensors), 40, 32)


def test_double_precision_is_refused_on_a_gpu() -> None:
    with FakeTensorMode():  # tensors that say they are on a GPU, and hold nothing
        tensors = [
            torch.empty(t.shape, dtype=torch.float64, device="cuda")
            for t in scattered().tensors(torch.float64)
        ]
        with pytest.raises(ValueError, match="float64; on a GPU all must be float32$"):
            splat(*tensors, 40, 32)
