"""What the GPU engine is built from, without a GPU."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.camera import viewpoint_camera
from models.errors import CapacityError
from models.gpu_batches import BATCHES, Quality, batches_of
from models.gpu_follow import FollowChain, FollowerPlaces
from models.gpu_frames import FramePool, HostFrames
from models.gpu_lift import LiftChain, PortraitBlock, PortraitStaging
from models.gpu_slots import AvatarSlots
from models.gpu_views import NUMBERS, Staging, ViewBlock, slot_view
from models.graphs import CudaQueue, PlainQueue, milliseconds
from models.lifter import MOST
from models.refiner import Refiner
from models.viewpoint import Viewpoint

RAW, REFINED, COARSE = Quality.RAW, Quality.REFINED, Quality.COARSE


def slots(count: int = 3) -> AvatarSlots:
    return AvatarSlots(count, 5, ((2, 7), torch.float32), torch.device("cpu"))


def test_slots_are_used_again() -> None:
    room = slots()
    taken = [room.take() for _ in range(3)]
    assert sorted(taken) == [0, 1, 2] and room.taken == 3
    room.give(taken[1])
    assert room.taken == 2
    assert room.take() == taken[1]


def test_a_full_house_is_said_in_one_line() -> None:
    room = slots(1)
    room.take()
    with pytest.raises(CapacityError, match="room for 1 avatars") as caught:
        room.take()
    assert caught.value.code == "full" and "\n" not in str(caught.value)


@pytest.mark.parametrize("slot", [-1, 2, 3, 99])
def test_only_what_is_taken_is_given_back(slot: int) -> None:
    room = slots()
    assert room.take() == 0
    with pytest.raises(ValueError, match="not taken"):
        room.give(slot)
    assert room.take() == 1


def test_nobody_lives_in_the_empty_slot() -> None:
    room = slots()
    assert room.means.shape == (4, 5, 3) and room.axes.shape == (4, 5, 2, 3)
    assert room.tokens.shape == (4, 2, 7)
    assert room.empty == 3 and room.empty not in [room.take() for _ in range(3)]
    for name, flat in room.flat.items():
        view = getattr(room, name)
        assert view.is_contiguous() and view.data_ptr() == flat.data_ptr(), name
        flat[room.bin] = 7.0
        assert not view.any(), "what is dropped must not be in anybody's slot"


def test_a_slots_room_must_be_for_someone() -> None:
    with pytest.raises(ValueError, match="room for someone"):
        slots(0)


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (3, [4]), (8, [8]), (9, [16]), (32, [32]), (77, [32, 32, 16])]
)
def test_a_batch_is_padded_up_to_the_next_size(count: int, sizes: list[int]) -> None:
    found = batches_of([RAW] * count)
    assert [batch.size for batch in found] == sizes
    assert [index for batch in found for index in batch.members] == list(range(count))


def test_each_quality_has_batches_of_its_own() -> None:
    wanted = [RAW, REFINED, COARSE, REFINED, RAW, REFINED]
    found = batches_of(wanted)
    assert {(batch.quality, batch.size, batch.members) for batch in found} == {
        (REFINED, 4, (1, 3, 5)),
        (RAW, 2, (0, 4)),
        (COARSE, 1, (2,)),
    }
    assert batches_of([]) == []


def test_sizes_double() -> None:
    """So that padding never doubles the work."""
    assert BATCHES == tuple(2**n for n in range(len(BATCHES)))


@pytest.mark.parametrize(
    "viewpoint",
    [Viewpoint(), Viewpoint(yaw=33, pitch=-12, roll=20, zoom=2), Viewpoint(eye=(0.2, -0.1, -0.6))],
)
def test_a_view_knows_the_way_to_the_portraits_camera(viewpoint: Viewpoint) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turn[:3, 3] = 0.01, -0.02, 0.75
    view = slot_view(2, viewpoint, 0.75, turn, 128)
    camera = viewpoint_camera(viewpoint, 0.75, 128)
    np.testing.assert_array_equal(view.K, camera.K)
    expected = turn @ np.linalg.inv(camera.world_to_camera.double().numpy())
    np.testing.assert_allclose(view.portrait_from_camera, expected, atol=1e-6)


def test_a_batch_arrives_as_it_was_written() -> None:
    queue, batch = PlainQueue(), 4
    staging = Staging(queue, batch, empty=9, size=64)
    views = ViewBlock(torch.full((batch * NUMBERS,), torch.nan), batch)
    written = [slot_view(s, Viewpoint(yaw=s), 0.75, np.eye(4), 64) for s in (5, 3, 8)]
    staging.write(written)
    staging.send(views.block)
    assert views.slots.tolist() == [5, 3, 8, 9]
    for row, view in enumerate(written):
        np.testing.assert_array_equal(views.world_to_camera[row], view.world_to_camera)
        np.testing.assert_array_equal(views.K[row], view.K)
        np.testing.assert_array_equal(views.portrait_from_camera[row], view.portrait_from_camera)
        assert views.distances[row] == view.world_to_camera[2, 3]
    assert all(t.is_contiguous() for t in (views.K, views.world_to_camera, views.slots))
    # The view that is not there has a camera, of no matter whom, but none that divides by zero.
    assert torch.isfinite(views.block[:-batch]).all() and (views.K[:, 0, 0] > 0).all()
    staging.write(written[:1])
    staging.send(views.block)
    assert views.slots.tolist() == [5, 9, 9, 9]


@pytest.mark.parametrize("fine", [256, 320])
def test_a_portrait_arrives_as_it_was_written(fine: int) -> None:
    staging = PortraitStaging(PlainQueue(), fine)
    portrait = PortraitBlock(torch.full((PortraitBlock.numbers(fine),), torch.nan), fine)
    image, mask, turn = torch.rand(3, 256, 256), torch.rand(1, 256, 256), torch.rand(4, 4)
    whole = torch.rand(3, fine, fine) if fine > 256 else image
    staging.write(6, image, whole, mask, 0.8, turn)
    staging.send(portrait.block)
    assert torch.equal(portrait.picture[0], torch.cat([image, mask]))
    assert torch.equal(portrait.fine[0], whole)
    staging.write(6, image, image, mask, 0.8, turn)
    staging.send(portrait.block)
    assert abs(portrait.fine.mean() - image.mean()) < 0.01
    assert torch.equal(portrait.head_from_camera, turn)
    assert portrait.slot.tolist() == [6]
    assert portrait.distance.tolist() == [pytest.approx(0.8)]


def test_memory_of_frames_is_used_again_when_nobody_looks_at_it() -> None:
    queue = PlainQueue()
    pool = FramePool(lambda: HostFrames(queue, (2, 6, 4)))
    frames = pool.take()
    frames.memory.fill_(5)
    pictures = pool.pictures(frames, 2)
    corner: Any = pictures[1][2:, :2]  # a part of a picture keeps all of it
    del pictures
    gc.collect()
    other = pool.take()
    assert other is not frames and pool.made == 2
    assert (corner == 5).all()
    del corner
    gc.collect()
    assert pool.take() is frames
    pool.give(other)
    assert pool.take() is other and pool.made == 2


def test_what_cannot_be_captured_is_said_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a capture that has failed raises an error of its own, which tells nothing."""

    @contextmanager
    def graph(*ignored: Any, **options: Any) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("the capture was invalidated")

    def work() -> None:
        raise RuntimeError("it waits for the device")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    queue = object.__new__(CudaQueue)
    queue._pool = queue._stream = None
    with pytest.raises(RuntimeError, match="work cannot be captured: it waits for the device"):
        queue._captured(work)


def test_work_is_timed() -> None:
    calls = []
    assert milliseconds(PlainQueue(), lambda: calls.append(0), runs=3) >= 0
    assert len(calls) == 3


def nothing(image: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A lifter that sees nobody."""
    return torch.full((1, 10, 256, 256), -3.0), torch.full((1, 10, 128, 128), -3.0)


@pytest.mark.parametrize("followed", [False, True], ids=["enrolled", "followed"])
@torch.no_grad()
def test_a_lift_fills_what_the_lifter_leaves_out(followed: bool) -> None:
    """The chains that graphs capture, on a CPU: all of the mask becomes discs."""
    refiner, device = Refiner().eval(), torch.device("cpu")
    tokens = refiner.encode_portrait(torch.zeros(1, 4, 256, 256))
    room = AvatarSlots(1, 2 * MOST, (tuple(tokens.shape[1:]), tokens.dtype), device)
    networks: Any = (nothing, refiner, torch.float32, device)
    if followed:
        chain = FollowChain(room, FollowerPlaces(1, MOST, device), *networks)
        block, run = chain.block, chain.follow
        block.place.fill_(0)
        block.fresh.fill_(1)
    else:
        lift = LiftChain(room, *networks)
        block, run = lift.portrait, lift.lift
    block.slot.fill_(room.take())
    block.picture[0, 3, 60:200, 80:180] = 1
    run()
    assert int(room.counts[0]) == 138 * 98  # all but the mask's edge
