"""The kernel that shows the portrait's own pixels, against torch, on every kind of point."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_kernels.portrait_blend import blend_portrait
from models.lifter import HALF_FOV
from models.portrait_blend import WIDEST, angles, blended, countable, eroded
from tests.cuda_kernels.emulation import at, device_of, needs_gpu
from tests.cuda_kernels.test_portrait_detail import PLACES, inputs, turned

CONSTANTS = {"half_fov": HALF_FOV, "widest": WIDEST}
ANGLES = (0.0, 0.1, -0.15, 0.5, 0.02)


def scene(width: int = 70, height: int = 37, size: int = 48) -> list[Tensor]:
    """Two slots, five views: from the portrait's camera, beside it, too far aside, and one that
    looks past the portrait."""
    splatted, K, _, distances, pictures, _, slots = inputs(width, height, size)
    g = torch.Generator().manual_seed(1)
    rgba = torch.rand(5, 4, height, width, generator=g) * 1.2 - 0.1
    moves = torch.stack([turned(angle, 0.75) for angle in ANGLES])
    moves[4, 0, 3] += 5
    return [rgba, splatted, K, moves, distances, pictures, slots]


def expected(tensors: list[Tensor]) -> Tensor:
    """In double precision."""
    *numbers, slots = tensors
    rgba, splatted, K, moves, distances, pictures = (t.double() for t in numbers)
    return torch.cat(
        [
            blended(
                rgba[n : n + 1],
                splatted[n : n + 1],
                K[n : n + 1],
                moves[n : n + 1],
                distances[n : n + 1],
                pictures[slot : slot + 1],
            )
            for n, slot in enumerate(slots.tolist())
        ]
    )


def run(tensors: list[Tensor], place: str, **options: Any) -> Tensor:
    with at(place):
        moved = [t.to(device_of(place)).clone() for t in tensors]
        return blend_portrait(*moved, **CONSTANTS, **options).cpu()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [(70, 37, 48), (16, 16, 64), (9, 5, 17)])
def test_like_torch(size: tuple[int, int, int], place: str) -> None:
    tensors = scene(*size)
    wanted, ours = expected(tensors), run(tensors, place)
    assert (ours - wanted).abs().max() < 1e-4
    assert (ours - wanted).abs().mean() < 1e-6
    changed = (ours - tensors[0]).abs().amax((1, 2, 3)) > 0.05
    assert changed.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("place", PLACES)
def test_layouts_and_types(place: str) -> None:
    tensors = scene()
    wanted = run(tensors, place)
    for layout in (torch.contiguous_format, torch.channels_last):
        half = [tensors[0].bfloat16().to(memory_format=layout), *tensors[1:]]
        near = run([half[0].float(), *tensors[1:]], place).bfloat16()
        assert torch.equal(run(half, place), near)
    device = device_of(place)
    wide = torch.full((5, 6, 37, 74), 7.0, device=device)
    wide[:, 1:5, :, 2:72] = tensors[0].to(device)
    with at(place):
        others = [t.to(device) for t in tensors[1:]]
        blend_portrait(wide[:, 1:5, :, 2:72], *others, **CONSTANTS, threads=2)
    assert torch.equal(wide[:, 1:5, :, 2:72].cpu(), wanted)
    wide[:, 1:5, :, 2:72] = 7
    assert (wide == 7).all()


@pytest.mark.parametrize("place", PLACES)
def test_slots_that_are_not_there_change_nothing(place: str) -> None:
    tensors = scene()
    wanted = run(tensors, place)
    tensors[6] = torch.tensor([-1, 0, 2, 0, 0], dtype=torch.int32)
    ours = run(tensors, place)
    assert torch.equal(ours[[0, 2]], tensors[0][[0, 2]])
    assert torch.equal(ours[1], wanted[1])


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_a_number_reads_nothing_outside(place: str) -> None:
    tensors = scene()
    clean = run(tensors, place)
    for value in (torch.nan, torch.inf, -torch.inf, 1e30):
        tensors[1][0, 4, 3] = value
        tensors[3][1] = value
        ours = run(tensors, place)
        kept = torch.ones(37, dtype=torch.bool)
        kept[3] = False
        assert torch.equal(ours[0, :, kept], clean[0, :, kept])
        assert torch.equal(ours[2:], clean[2:])


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_graph(place: str) -> None:
    tensors = [t.to(place) for t in scene()]
    before, rgba = tensors[0].clone(), tensors[0]
    blend_portrait(*tensors, **CONSTANTS)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        blend_portrait(*tensors, **CONSTANTS)
    tensors[6].copy_(torch.tensor([0, 1, 1, 0, 1]))
    rgba.copy_(before)
    allocated = torch.cuda.memory_stats()["allocation.all.allocated"]
    graph.replay()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == allocated
    assert torch.equal(rgba, blend_portrait(before, *tensors[1:], **CONSTANTS))


@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        (0, lambda t: t[0], r"rgba is \[V, 4, H, W\]"),
        (0, lambda t: t.double(), "rgba is torch.float64"),
        (1, lambda t: t[:, :5], r"splatted is torch.float32 \[5, 5, 37, 70\]"),
        (4, lambda t: t.double(), "distances is torch.float64"),
        (5, lambda t: t[..., :-1], "pictures is"),
        (6, lambda t: t.long(), "slot_of_view is torch.int64"),
    ],
)
def test_wrong_input(which: int, change: Any, words: str) -> None:
    tensors = scene()
    tensors[which] = change(tensors[which])
    with pytest.raises(ValueError, match=words):
        blend_portrait(*tensors, **CONSTANTS)


def test_from_the_portraits_camera_the_portrait_is_seen() -> None:
    """Inside, pixel by pixel; the outline stays the view's, as does what the mask leaves out."""
    size = 64
    g = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, size, size, generator=g)
    mask = torch.zeros(1, 1, size, size)
    mask[..., 8:56, 8:40] = 1
    smooth = torch.ones_like(mask)
    smooth[..., 30:34, 30:34] = 0  # as at a step of depth
    picture = countable(image, eroded(mask), smooth)
    focal = size / 2 / math.tan(HALF_FOV)
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    alpha = torch.ones(size, size)
    alpha[:, :16] = 0.5
    splatted = torch.zeros(1, 6, size, size)
    splatted[:, 4], splatted[:, 5] = 0.7 * alpha, alpha
    own = torch.cat([torch.full((1, 3, size, size), 0.5) * alpha, alpha.expand(1, 1, -1, -1)], 1)
    front = torch.eye(4)[None]
    seen = blended(own, splatted, K[None], front, torch.tensor([0.75]), picture)
    for inner in ((..., slice(10, 29), slice(16, 38)), (..., slice(10, 54), slice(16, 29))):
        assert torch.allclose(seen[:, :3][inner], image[inner], atol=1e-4)
    assert torch.equal(seen[..., 31:33, 31:33], own[..., 31:33, 31:33])
    assert torch.equal(seen[:, 3], own[:, 3])
    inner_too = torch.zeros(size, size, dtype=torch.bool)
    inner_too[8:56, 16:40] = True
    assert torch.equal(seen[0][:, ~inner_too], own[0][:, ~inner_too])


def test_a_window_that_is_looked_into_from_the_side_is_not_near() -> None:
    """Its camera keeps the axes of the portrait's."""
    aside = torch.eye(4)[None].clone()
    aside[0, 0, 3] = 0.75 * math.tan(math.radians(10))
    assert float(angles(aside, torch.tensor([0.75]))) == pytest.approx(math.radians(10))
    turned_about_itself = turned(math.radians(10), 0.75)[None]
    turned_about_itself[0, 1, 3] = 0
    assert float(angles(turned_about_itself, torch.tensor([0.75]))) == pytest.approx(
        math.radians(10)
    )
