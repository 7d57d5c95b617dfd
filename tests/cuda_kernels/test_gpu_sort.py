"""The radix sort of the binning: right and stable, whatever the keys and however many."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cuda_kernels import gpu_splatter
from cuda_kernels.build import SOURCE_FOLDER
from cuda_kernels.gpu_splatter import Sorter
from tests.cuda_kernels.emulation import ONE_ORDER, PLACES, at, device_of, needs_gpu

POISON = 0xA5


def poisoned(t: Tensor) -> bool:
    return bool((t.contiguous().view(torch.uint8) == POISON).all())


KEYS: dict[str, Callable[..., Tensor]] = {
    "random": lambda n, bits, g: torch.randint(0, 1 << bits, (n,), generator=g),
    "few": lambda n, bits, g: torch.randint(0, 3, (n,), generator=g) * ((1 << bits) // 3),
    "falling": lambda n, bits, g: ((1 << bits) - 1 - torch.arange(n)).clamp(min=0),
    "equal": lambda n, bits, g: torch.full((n,), (1 << bits) - 1),
}


def assert_sorts(
    bits: int, sizes: list[int], kind: str, device: str, blocks: int | None = 3
) -> None:
    g = torch.Generator().manual_seed(bits)
    room = max(sizes) + 5
    items = torch.full((len(sizes), room, 2), -1, dtype=torch.int32)
    for view, n in enumerate(sizes):
        # Bits above those sorted by must not count.
        keys = KEYS[kind](n, bits, g) | (torch.randint(0, 2, (n,), generator=g) << 31)
        items[view, :n, 0] = torch.where(keys >= 2**31, keys - 2**32, keys).int()
        items[view, :n, 1] = torch.arange(n, dtype=torch.int32)
    sorter = Sorter(torch.empty(2, len(sizes), room, 8, dtype=torch.uint8, device=device))
    sorter.blocks = blocks or sorter.blocks
    sorter.buffers.fill_(POISON)
    sorter.buffers[1].copy_(items.view(torch.uint8))
    counts = torch.tensor(sizes, dtype=torch.int32, device=device)
    where = sorter.sort(1, bits, counts, 4)
    for view, n in enumerate(sizes):
        keys = items[view, :n, 0].long() & ((1 << bits) - 1)
        order = keys.sort(stable=True).indices
        result = sorter.buffers[where, view].cpu().contiguous().view(torch.int32)
        assert torch.equal(result[:n], items[view, :n][order])
        if where == 0:
            assert poisoned(result[n:])


SIZES = [0, 1, 31, 33, 255, 256, 257, 1025, 4099]


@pytest.mark.parametrize("place", ONE_ORDER)
@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("bits", [0, 1, 2, 7, 10, 11, 20, 30])
def test_sort(bits: int, kind: str, place: str) -> None:
    with at(place):
        assert_sorts(bits, SIZES[:7] if bits % 10 else SIZES, kind, device_of(place))


@pytest.mark.parametrize("place", PLACES)
def test_sort_in_any_order_of_threads(place: str) -> None:
    with at(place):
        for blocks in (None, 1, 2):
            assert_sorts(12, [3000, 700], "random", device_of(place), blocks)


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_sort_of_many(place: str) -> None:
    assert_sorts(30, [700_001, 0, 82_000], "random", place, blocks=None)
    assert_sorts(30, [82_000] * 32, "random", place, blocks=None)


def test_digits_fit_the_kernels() -> None:
    header = (SOURCE_FOLDER / "binning.h").read_text()
    assert f"#define MOST_DIGITS {1 << gpu_splatter.DIGIT_BITS} " in header
    assert f"#define DEPTH_BITS {gpu_splatter.DEPTH_BITS}\n" in header
