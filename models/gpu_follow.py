"""From the next portrait of a followed caller to an avatar in its slot: what a graph holds.

As `models.gpu_lift`, and besides, on the device: raw maps averaged over time where nothing has
changed, and the discs that the enrolment saw and this frame does not. Both need a memory of the
caller, which lives in places of `FollowerPlaces` while slots come and go with every avatar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from models.gaussians import Gaussians
from models.gpu_lift import (
    PIXELS,
    fine_of,
    fine_pixels,
    placed,
    store_discs,
    store_portrait,
    write_fine,
)
from models.gpu_slots import COLORS, PORTRAIT, AvatarSlots, FreeNumbers
from models.graphs import Mark, Queue
from models.kept_sides import KeptSides, PortraitView
from models.lifter import CHANNELS, Layers, Lifter, filled, to_gaussians
from models.live_lift import map_weight
from models.refiner import OneStepRefiner

if TYPE_CHECKING:
    from models.caller_portraits import LivePortrait

AREA = PORTRAIT * PORTRAIT


class FollowerPlaces:
    """Room for a number of followed callers.

    Args:
        count: of callers.
        most: discs of an avatar at most.
        device: to live on.

    Attributes:
        front: raw maps of layer 1, averaged. [count + 1, 10, 256, 256]
        back: of layer 2. [count + 1, 10, 128, 128]
        means: of the enrolment's avatar, and so on, as in `Gaussians`. [count + 1, most, ...]
        outer: from `KeptSides`. [count + 1, most]
        camera_from_head: of the enrolment's portrait. [count + 1, 4, 4]
        depth: likewise, metres. [count + 1, 1, 256, 256]
        mask: likewise. [count + 1, 1, 256, 256]
        empty: the last place, which is nobody's.
    """

    def __init__(self, count: int, most: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(count + 1, *shape, device=device)

        self.empty, self.most = count, most
        self.front = zeros(CHANNELS, PORTRAIT, PORTRAIT)
        self.back = zeros(CHANNELS, PORTRAIT // 2, PORTRAIT // 2)
        self.means, self.axes, self.opacities = zeros(most, 3), zeros(most, 2, 3), zeros(most)
        self.colors, self.outer = zeros(most, COLORS), zeros(most)
        self.camera_from_head = zeros(4, 4)
        self.depth, self.mask = zeros(1, PORTRAIT, PORTRAIT), zeros(1, PORTRAIT, PORTRAIT)
        self.numbers = FreeNumbers(
            count,
            f"The server can follow {count} callers at once, and all are taken. Try again when a "
            "call has ended.",
        )

    def enrol(
        self, place: int, slots: AvatarSlots, slot: int, mask: Tensor, camera_from_head: Tensor
    ) -> None:
        """Remember an avatar.

        Args:
            place: where.
            slots: where it lives.
            slot: which one it is.
            mask: of its portrait. [1, 256, 256]
            camera_from_head: likewise. [4, 4]
        """
        self.depth[place] = slots.depths[slot]
        self.mask[place] = mask.to(self.mask.device)
        self.camera_from_head[place] = camera_from_head.to(self.mask.device)
        discs = Gaussians(
            slots.means[slot], slots.axes[slot], slots.opacities[slot], slots.colors[slot]
        )
        view = PortraitView(self.camera_from_head[place], self.depth[place], self.mask[place])
        kept = KeptSides.of(discs, view)
        some = torch.arange(self.most, device=self.mask.device) < slots.counts[slot]
        self.means[place], self.axes[place] = discs.means, discs.axes
        self.opacities[place] = discs.opacities * some
        self.colors[place] = discs.colors
        self.outer[place] = kept.outer * some

    def known(self, place: Tensor) -> KeptSides:
        """What was remembered. int64 [1]"""

        def at(values: Tensor) -> Tensor:
            return values.index_select(0, place)[0]

        return KeptSides(
            Gaussians(at(self.means), at(self.axes), at(self.opacities), at(self.colors)),
            at(self.outer),
            PortraitView(at(self.camera_from_head), at(self.depth), at(self.mask)),
        )


class FollowBlock:
    """A portrait and what belongs to it, in one block of float32.

    Args:
        block: [numbers(fine)]
        fine: side of the portrait with all its pixels.

    Attributes:
        picture: sRGB 0..1, and the person mask. [1, 4, 256, 256]
        fine: as in `PortraitBlock`. [1, 3, fine, fine]
        change: from `StillFilter`. [1, 1, 256, 256]
        head_from_camera: [4, 4]
        camera_from_head: [4, 4]
        moved: how the head has moved since the enrolment. [4, 4]
        back: its inverse. [4, 4]
        distance: metres. [1]
        share: of what was kept. [1]
        fresh: 1: forget the maps of before. [1]
        slot: where the avatar is to be. int32 [1]
        place: the caller's. int32 [1]
    """

    def __init__(self, block: Tensor, fine: int = PORTRAIT) -> None:
        self.block = block
        rest = fine_pixels(fine)
        parts = torch.split(block, [PIXELS, AREA, 16, 16, 16, 16, 1, 1, 1, 1, 1, rest])
        self.picture = parts[0].view(1, COLORS, PORTRAIT, PORTRAIT)
        self.change = parts[1].view(1, 1, PORTRAIT, PORTRAIT)
        self.head_from_camera, self.camera_from_head, self.moved, self.back = (
            part.view(4, 4) for part in parts[2:6]
        )
        self.distance, self.share, self.fresh = parts[6:9]
        self.slot, self.place = (part.view(torch.int32) for part in parts[9:11])
        self.fine = fine_of(self.picture, parts[11], fine)

    @staticmethod
    def numbers(fine: int = PORTRAIT) -> int:
        """Of a block."""
        return PIXELS + AREA + 4 * 16 + 5 + fine_pixels(fine)


class FollowStaging:
    """A portrait on the host. See `gpu_views.Staging`."""

    def __init__(self, queue: Queue, fine: int = PORTRAIT) -> None:
        block = queue.host(FollowBlock.numbers(fine), dtype=torch.float32)
        self._block = FollowBlock(block, fine)
        self._sent: Mark = queue.mark()

    def write(
        self,
        slot: int,
        place: int,
        portrait: LivePortrait,
        moved: Tensor,
        share: float,
        fresh: bool,
    ) -> None:
        """Set the portrait.

        Args:
            slot: where the avatar is to be.
            place: the caller's.
            portrait: of the frame.
            moved: of the head, from the enrolment to now, in head space. [4, 4]
            share: of what was kept.
            fresh: forget the maps of before.
        """
        self._sent.wait()
        block = self._block
        write_fine(block, portrait.fine)
        block.picture[0, :3], block.picture[0, 3:] = portrait.image, portrait.mask
        block.change[0, 0] = portrait.change
        block.head_from_camera[:] = portrait.head_from_camera
        block.camera_from_head[:] = torch.linalg.inv(portrait.head_from_camera)
        block.moved[:], block.back[:] = moved, torch.linalg.inv(moved)
        for part, number in (
            (block.distance, portrait.distance),
            (block.share, share),
            (block.fresh, float(fresh)),
            (block.slot, slot),
            (block.place, place),
        ):
            part.numpy()[0] = number

    def send(self, block: Tensor) -> None:
        """Copy to the device, within the queue."""
        block.copy_(self._block.block, non_blocking=True)
        self._sent.record()


class FollowChain:
    """The work for one portrait of a followed caller.

    Args:
        slots: where the avatar goes.
        places: where callers are remembered.
        lifter: on the device, in `dtype`.
        refiner: likewise.
        dtype: of the networks.
        device: where all is.
    """

    def __init__(
        self,
        slots: AvatarSlots,
        places: FollowerPlaces,
        lifter: Lifter,
        refiner: OneStepRefiner,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._slots, self._places = slots, places
        self._lifter, self._refiner, self._dtype = lifter, refiner, dtype
        fine = slots.shown.shape[-1]
        self.block = FollowBlock(torch.zeros(FollowBlock.numbers(fine), device=device), fine)
        self._given = torch.ones(1, device=device, dtype=dtype)
        # Until a portrait is written, a run must do no harm; see `LiftChain`.
        self.block.slot.fill_(slots.empty)
        self.block.place.fill_(places.empty)
        self.block.distance.fill_(1.0)
        for matrix in (
            *(self.block.head_from_camera, self.block.camera_from_head),
            *(self.block.moved, self.block.back),
        ):
            matrix.copy_(torch.eye(4))

    def follow(self) -> None:
        """Fill the portrait's slot."""
        block, dtype = self.block, self._dtype
        slot, place = block.slot.long(), block.place.long()
        picture = block.picture.to(memory_format=torch.channels_last).to(dtype)
        front, back = self._lifter(picture[:, :3], picture[:, 3:], self._given)
        layers = filled(Layers(front.float(), back.float()), block.picture[:, 3:])
        layers = self._averaged(layers, place)
        lifted = to_gaussians(layers, block.picture[:, :3], block.distance)
        view = PortraitView(block.camera_from_head, lifted.depth, block.picture[:, 3:])
        parts = self._places.known(place).merged(
            placed(lifted, block.head_from_camera), view, block.moved, block.back, block.share
        )
        names = ("means", "axes", "opacities", "colors")
        discs = Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
        store_discs(self._slots, slot, discs)
        store_portrait(self._slots, slot, block, lifted.depth, self._refiner, dtype)

    def _averaged(self, new: Layers, place: Tensor) -> Layers:
        """The maps, averaged with those of before where nothing changed; see `MapFilter`."""
        places, block = self._places, self.block
        old = Layers(places.front.index_select(0, place), places.back.index_select(0, place))
        weight = map_weight(
            *(old.front[:, :1], new.front[:, :1], old.front[:, 5:6], new.front[:, 5:6]),
            block.change,
        )
        weight = torch.maximum(weight, block.fresh)
        mixed = Layers(
            torch.lerp(old.front, new.front, weight),
            torch.lerp(old.back, new.back, F.max_pool2d(weight, 2)),
        )
        places.front.index_copy_(0, place, mixed.front)
        places.back.index_copy_(0, place, mixed.back)
        return mixed
