"""Binning in torch gives the very lists that the CPU's driver makes, in whatever order it sorts."""

import pytest
import torch
from torch import Tensor

from cuda_kernels.binning import bin_gaussians
from cuda_kernels.buffers import Buffers, View
from cuda_kernels.layout import boxes_and_depths, splat_bytes
from cuda_kernels.library import kernels
from cuda_kernels.splat import run_forward
from tests.cuda_kernels.scenes import Scene, scattered
from tests.cuda_kernels.test_splat import SCENES


def nothing_in_view() -> Scene:
    scene = scattered(N=10)
    return scene.edited(means=scene.means - torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))


def one_view_sees_nothing() -> Scene:
    scene = scattered(V=3)
    away = scene.world_to_camera.clone()
    away[:, 1, 2, 3] = -2
    return scene.edited(world_to_camera=away)


def not_a_number() -> Scene:
    scene = scattered(N=30)
    means, axes, opacities = scene.means.clone(), scene.axes.clone(), scene.opacities.clone()
    means[:, 0, 1] = axes[:, 1, 0, 2] = opacities[:, 2] = torch.nan
    means[:, 3, 0] = torch.inf
    return scene.edited(means=means, axes=axes, opacities=opacities)


def many() -> Scene:
    scene = scattered(B=2, V=3, N=5000, width=250, height=130)
    # As fine as an avatar's, with depths in 40 steps: thousands of ties.
    means = scene.means.clone()
    means[..., 2] = (means[..., 2] * 100).round() / 256
    straight = scene.world_to_camera.clone()
    straight[:] = straight[0, 0]
    return scene.edited(means=means, axes=0.2 * scene.axes, world_to_camera=straight)


ALL = SCENES | {
    "nothing in view": nothing_in_view(),
    "one view sees nothing": one_view_sees_nothing(),
    "not a number": not_a_number(),
    "many": many(),
    "many, no more room": many().edited(capacity=3000),
    "no Gaussian at all": scattered(N=1).edited(opacities=torch.zeros(2, 1)),
}


def driver(scene: Scene, dtype: torch.dtype) -> Buffers:
    """What the CPU's driver left in its buffers, which it was given full of ones."""
    inputs = tuple(t.detach() for t in scene.tensors(dtype))
    (B, N), V, C = inputs[0].shape[:2], inputs[4].shape[1], inputs[3].shape[2]
    view = View(scene.width, scene.height)
    room = scene.capacity or 1_000_000
    buffers = Buffers.allocate(B * V, N, C, view, room, dtype)
    buffers.splats.fill_(255)
    run_forward(inputs, view, buffers, torch.empty(B, V, C + 2, view.height, view.width).to(dtype))
    return buffers


def assert_same(scene: Scene, buffers: Buffers, binned: tuple[Tensor, Tensor, Tensor]) -> None:
    starts, lists, pairs = binned
    assert starts.dtype == lists.dtype == torch.int32
    assert torch.equal(starts, buffers.starts)
    assert torch.equal(pairs, buffers.pairs)
    assert lists.shape[1] <= (scene.capacity or 1_000_000)
    assert starts.is_contiguous() and lists.is_contiguous()
    for ours, expected, length in zip(lists, buffers.lists, starts[:, -1].tolist(), strict=True):
        assert torch.equal(ours[:length], expected[:length])
        assert not ours[length:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scene", ALL.values(), ids=ALL.keys())
def test_same_lists_as_the_driver(scene: Scene, dtype: torch.dtype) -> None:
    buffers = driver(scene, dtype)
    boxes, depths = boxes_and_depths(buffers.splats, dtype)
    size = (scene.width, scene.height)
    assert_same(scene, buffers, bin_gaussians(boxes, depths, *size, scene.capacity))


@pytest.mark.parametrize(("V", "N"), [(0, 5), (2, 0), (0, 0)])
def test_nothing_at_all(V: int, N: int) -> None:
    boxes = torch.zeros(V, N, 4, dtype=torch.int32)
    starts, lists, pairs = bin_gaussians(boxes, torch.zeros(V, N), 40, 32)
    assert starts.shape == (V, 7) and not starts.any()
    assert lists.shape == (V, 1) and pairs.shape == (V,) and not pairs.any()


def test_room_for_nobody() -> None:
    """The nearest Gaussian alone needs more pairs than there may be: nobody farther takes them."""
    boxes = torch.tensor([[[0, 0, 8, 8], [0, 0, 1, 1]]], dtype=torch.int32)
    starts, lists, pairs = bin_gaussians(boxes, torch.tensor([[1.0, 2.0]]), 40, 32, capacity=3)
    assert not starts.any() and lists.shape == (1, 1)
    assert pairs.tolist() == [5]


def test_boxes_of_the_largest_picture() -> None:
    """Cells count to 4096; torch reads them as signed numbers of 16 bits."""
    splats = torch.zeros(1, splat_bytes(3), dtype=torch.uint8)
    splats.view(torch.int16)[0, 14:18] = torch.tensor([0, 4095, 4096, -1], dtype=torch.int16)
    splats.view(torch.float32)[0, 6] = 0.75
    boxes, depths = boxes_and_depths(splats, torch.float32)
    assert boxes.tolist() == [[0, 4095, 4096, 65535]]
    assert depths.tolist() == [0.75]


@pytest.mark.parametrize("channels", range(1, 9))
def test_structs_are_as_large_as_the_compiler_makes_them(channels: int) -> None:
    size = kernels().visavis_splat_bytes
    assert splat_bytes(channels) == size(channels, 0)
    assert splat_bytes(channels, torch.float64) == size(channels, 1)
