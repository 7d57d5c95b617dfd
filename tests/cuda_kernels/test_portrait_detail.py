"""The fused kernel against what torch computes in many steps, on every kind of point."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_kernels.portrait_detail import refiner_input
from models.lifter import HALF_FOV
from models.refiner import refiner_input as refiner_input_in_torch
from models.reprojection import DOUBTED, TRUSTED, portrait_detail
from tests.cuda_kernels.emulation import at, device_of, needs_gpu

CONSTANTS = {"half_fov": HALF_FOV, "trusted": TRUSTED, "doubted": DOUBTED}
PLACES = ["cpu", "shuffled", pytest.param("cuda", marks=needs_gpu)]


def turned(yaw: float, distance: float) -> Tensor:
    move = torch.eye(4)
    move[0, 0] = move[2, 2] = math.cos(yaw)
    move[0, 2], move[2, 0] = math.sin(yaw), -math.sin(yaw)
    move[:3, 3] = torch.tensor([-distance * math.sin(yaw), 0.01, distance * (1 - math.cos(yaw))])
    return move


def inputs(width: int = 70, height: int = 37, size: int = 48) -> list[Tensor]:
    """Two slots, five views; splats that are empty, faint, behind, beside and on the portrait."""
    g = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g)

    mask = (rand(2, 1, size, size) * 2 - 0.4).clamp(0, 1)
    pictures = torch.cat([rand(2, 3, size, size) * mask, mask], 1)
    # A smooth surface: certainty falls from 1 to 0 within a centimetre.
    x = torch.linspace(0, 6, size)
    depths = 0.75 + 0.01 * (torch.sin(x)[:, None] + torch.cos(x))[None, None].repeat(2, 1, 1, 1)
    depths[1] += 0.005
    alpha = (rand(5, 1, height, width) * 1.6 - 0.3).clamp(0, 1)
    depth = 0.75 + 0.05 * (rand(5, 1, height, width) - 0.5)
    depth[:, :, ::7, ::3] *= -1  # behind the portrait's camera
    depth[:, :, ::5, ::4] *= 4
    colors = rand(5, 4, height, width) * alpha
    K = torch.tensor([[2.2 * width, 0, width / 2], [0, 2.3 * width, height / 2], [0, 0, 1.0]])
    moves = torch.stack([turned(0.2 * k - 0.3, 0.75) for k in range(5)])
    moves[4, 0, 3] += 5  # all of it looks past the portrait
    return [
        torch.cat([colors, depth * alpha, alpha], 1),
        K.repeat(5, 1, 1),
        moves,
        torch.linspace(0.6, 0.9, 5),
        pictures,
        depths,
        torch.tensor([1, 0, 1, 0, 0], dtype=torch.int32),
    ]


def expected(tensors: list[Tensor]) -> Tensor:
    """In double precision."""
    *numbers, slots = tensors
    splatted, K, moves, distances, pictures, depths = (t.double() for t in numbers)
    slots = slots.long()
    detail = portrait_detail(
        splatted[:, None], K[:, None], moves[:, None], pictures[slots], depths[slots]
    )
    return refiner_input_in_torch(splatted, distances, detail[:, 0])


def run(tensors: list[Tensor], place: str, **options: Any) -> Tensor:
    with at(place):
        moved = [t.to(device_of(place)) for t in tensors]
        return refiner_input(*moved, **CONSTANTS, **options).cpu()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [(70, 37, 48), (16, 16, 64), (9, 5, 7)])
def test_like_torch(size: tuple[int, int, int], place: str) -> None:
    tensors = inputs(*size)
    wanted = expected(tensors)
    ours = run(tensors, place)
    difference = (ours - wanted).abs()
    assert difference[:, :6].max() < 1e-5  # of values up to 30
    # A depth, right to 1e-7 m, counts a hundredfold in the certainty. torch is as far off.
    assert difference[:, 6:].max() < 3e-4
    assert difference[:, 6:].mean() < 1e-6
    sure = wanted[:4, 9]
    assert (sure > 0.5).any() and (sure == 0).any() and ((sure > 0) & (sure < 0.5)).any()
    assert not ours[4, 6:].any()
    nothing = tensors[0][:, 5] == 0
    assert nothing.any() and not ours.transpose(0, 1)[:, nothing].any()


@pytest.mark.parametrize("place", PLACES)
def test_layouts_and_types(place: str) -> None:
    tensors = inputs()
    tensors[0][:, 3] = 1 + torch.arange(70) / 256  # every second lies between two of bfloat16
    wanted = run(tensors, place)
    device = device_of(place)
    for layout in (torch.contiguous_format, torch.channels_last):
        out = torch.empty(5, 10, 37, 70, dtype=torch.bfloat16, device=device)
        out = out.to(memory_format=layout).fill_(torch.nan)
        assert torch.equal(run(tensors, place, out=out), wanted.to(torch.bfloat16))
    wide = torch.full((5, 12, 37, 74), 7.0, device=device)
    assert torch.equal(run(tensors, place, out=wide[:, 1:11, :, 2:72], threads=2), wanted)
    outside = wide.clone()
    outside[:, 1:11, :, 2:72] = 7
    assert (outside == 7).all()


@pytest.mark.parametrize("place", PLACES)
def test_slots_that_are_not_there(place: str) -> None:
    tensors = inputs()
    wanted = run(tensors, place)
    tensors[6] = torch.tensor([1, -1, 2, 0, 0], dtype=torch.int32)
    ours = run(tensors, place)
    assert torch.equal(ours[[0, 3, 4]], wanted[[0, 3, 4]])
    assert torch.equal(ours[:, :6], wanted[:, :6])
    assert not ours[1:3, 6:].any()


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_a_number_reads_nothing_outside(place: str) -> None:
    tensors = inputs()
    clean = run(tensors, place)
    for value in (torch.nan, torch.inf, -torch.inf, 1e30):
        tensors[0][0, 4, 3] = value
        tensors[2][1] = value
        ours = run(tensors, place)
        kept = torch.ones(37, dtype=torch.bool)
        kept[3] = False
        assert torch.equal(ours[0, :, kept], clean[0, :, kept])
        assert torch.equal(ours[2:], clean[2:])


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_graph(place: str) -> None:
    tensors = [t.to(place) for t in inputs()]
    out = torch.empty(5, 10, 37, 70, device=place)
    refiner_input(*tensors, **CONSTANTS, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        refiner_input(*tensors, **CONSTANTS, out=out)
    tensors[6].copy_(torch.tensor([0, 1, 1, 0, 1]))
    out.fill_(torch.nan)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    graph.replay()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    assert torch.equal(out, refiner_input(*tensors, **CONSTANTS))


@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        (0, lambda t: t[:, :5], r"splatted is torch.float32 \[5, 5, 37, 70\]"),
        (0, lambda t: t[0], r"splatted is \[V, 6, H, W\]"),
        (3, lambda t: t.double(), "distances is torch.float64"),
        (4, lambda t: t[..., :-1], "pictures is"),
        (5, lambda t: t[:, :, ::2, ::2], "depths is"),
        (6, lambda t: t.long(), "slot_of_view is torch.int64"),
    ],
)
def test_wrong_input(which: int, change: Any, words: str) -> None:
    tensors = inputs()
    tensors[which] = change(tensors[which])
    with pytest.raises(ValueError, match=words):
        refiner_input(*tensors, **CONSTANTS)


def test_wrong_out() -> None:
    with pytest.raises(ValueError, match="out is torch.float16"):
        refiner_input(*inputs(), **CONSTANTS, out=torch.empty(5, 10, 37, 70, dtype=torch.half))
