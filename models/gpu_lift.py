"""From a portrait to an avatar in its slot: what the lifter's graph holds.

As `models.cpu_engine.CpuEngine.lift`, but nothing waits for the device: how many Gaussians are kept
is known there alone, so that those kept move up by a running count, and those dropped all go to a
row that nobody reads.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.gaussians import Gaussians
from models.gpu_slots import COLORS, PORTRAIT, AvatarSlots
from models.graphs import Mark, Queue
from models.lifter import FAINT, Layers, LiftedGaussians, Lifter, filled, to_gaussians
from models.portrait_blend import countable, eroded
from models.refiner import OneStepRefiner
from models.reprojection import fading, smoothness

PIXELS = COLORS * PORTRAIT * PORTRAIT


class Block(Protocol):
    """What is stored of a portrait."""

    picture: Tensor
    fine: Tensor


class PortraitBlock:
    """A portrait and what belongs to it, in one block of float32.

    Args:
        block: [numbers(fine)]
        fine: side of the portrait with all its pixels.

    Attributes:
        picture: sRGB 0..1, and the person mask. [1, 4, 256, 256]
        fine: sRGB with all pixels; of `picture` where that has them. [1, 3, fine, fine]
        head_from_camera: [4, 4]
        distance: metres. [1]
        slot: where the avatar is to be. int32 [1]
    """

    def __init__(self, block: Tensor, fine: int = PORTRAIT) -> None:
        self.block = block
        parts = torch.split(block, [PIXELS, 16, 1, 1, fine_pixels(fine)])
        self.picture = parts[0].view(1, COLORS, PORTRAIT, PORTRAIT)
        self.head_from_camera, self.distance = parts[1].view(4, 4), parts[2]
        self.slot = parts[3].view(torch.int32)
        self.fine = fine_of(self.picture, parts[4], fine)

    @staticmethod
    def numbers(fine: int = PORTRAIT) -> int:
        """Of a block."""
        return PIXELS + 18 + fine_pixels(fine)


class PortraitStaging:
    """A portrait on the host. See `gpu_views.Staging`."""

    def __init__(self, queue: Queue, fine: int = PORTRAIT) -> None:
        block = queue.host(PortraitBlock.numbers(fine), dtype=torch.float32)
        self._portrait = PortraitBlock(block, fine)
        self._sent: Mark = queue.mark()

    def write(
        self,
        slot: int,
        image: Tensor,
        fine: Tensor,
        mask: Tensor,
        distance: float,
        head_from_camera: Tensor,
    ) -> None:
        """Set the portrait.

        Args:
            slot: where the avatar is to be.
            image: sRGB 0..1. [3, 256, 256]
            fine: the same with more pixels, or `image` itself. [3, F, F]
            mask: the person, 0..1. [1, 256, 256]
            distance: from the camera to the middle of the head, metres.
            head_from_camera: to head space. [4, 4]
        """
        self._sent.wait()
        write_fine(self._portrait, fine)
        self._portrait.picture[0, :3] = image
        self._portrait.picture[0, 3:] = mask
        self._portrait.head_from_camera[:] = head_from_camera
        # Through numpy, since torch would make a tensor of each number first.
        self._portrait.distance.numpy()[0] = np.float32(distance)
        self._portrait.slot.numpy()[0] = slot

    def send(self, block: Tensor) -> None:
        """Copy to the device, within the queue."""
        block.copy_(self._portrait.block, non_blocking=True)
        self._sent.record()


class LiftChain:
    """The work for one portrait.

    Args:
        slots: where the avatar goes.
        lifter: on the device, in `dtype`.
        refiner: likewise.
        dtype: of the networks.
        device: where all is.
    """

    def __init__(
        self,
        slots: AvatarSlots,
        lifter: Lifter,
        refiner: OneStepRefiner,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._slots, self._lifter, self._refiner, self._dtype = slots, lifter, refiner, dtype
        fine = slots.shown.shape[-1]
        block = torch.zeros(PortraitBlock.numbers(fine), device=device)
        self.portrait = PortraitBlock(block, fine)
        self._given = torch.ones(1, device=device, dtype=dtype)
        # Until a portrait is written, a run must do no harm: it lifts an empty picture to nowhere.
        self.portrait.slot.fill_(slots.empty)
        self.portrait.distance.fill_(1.0)
        self.portrait.head_from_camera.copy_(torch.eye(4))

    def lift(self) -> None:
        """Fill the portrait's slot."""
        portrait, slots, dtype = self.portrait, self._slots, self._dtype
        picture = portrait.picture.to(memory_format=torch.channels_last)
        image, mask = picture[:, :3], picture[:, 3:]
        front, back = self._lifter(image.to(dtype), mask.to(dtype), self._given)
        layers = filled(Layers(front.float(), back.float()), portrait.picture[:, 3:])
        lifted = to_gaussians(layers, portrait.picture[:, :3], portrait.distance)
        slot = portrait.slot.long()  # [1]
        store_discs(slots, slot, placed(lifted, portrait.head_from_camera))
        store_portrait(slots, slot, portrait, lifted.depth, self._refiner, dtype)


def write_fine(block: Block, fine: Tensor) -> None:
    """Set a block's portrait with all pixels; of fewer [3, T, T] it is enlarged."""
    size = block.fine.shape[-1]
    if fine.shape[-1] != size:
        fine = F.interpolate(fine[None], size=(size, size), mode="bilinear")[0]
    block.fine[0] = fine


def fine_pixels(fine: int) -> int:
    """Numbers that a portrait of `fine` pixels a side has beside the one of `PORTRAIT`."""
    return 0 if fine == PORTRAIT else 3 * fine * fine


def fine_of(picture: Tensor, rest: Tensor, fine: int) -> Tensor:
    """The portrait with all pixels: those of `rest` [fine_pixels(fine)], or the picture's own."""
    return picture[:, :3] if fine == PORTRAIT else rest.view(1, 3, fine, fine)


def placed(lifted: LiftedGaussians, head_from_camera: Tensor) -> Gaussians:
    """All discs of one portrait in head space."""
    rotation = head_from_camera[:3, :3].T
    return Gaussians(
        lifted.means[0] @ rotation + head_from_camera[:3, 3],
        lifted.axes[0] @ rotation,
        lifted.opacities[0],
        lifted.colors[0],
    )


def store_discs(slots: AvatarSlots, slot: Tensor, discs: Gaussians) -> None:
    """Write the discs that are not faint to a slot, as many as it has room for.

    Args:
        slots: where avatars live.
        slot: which one. int64 [1]
        discs: any number.
    """
    keep = discs.opacities >= FAINT
    running = keep.cumsum(0)
    keep = keep & (running <= slots.most)
    rows = torch.where(keep, slot * slots.most + running - 1, slots.bin)
    for name in ("means", "axes", "opacities", "colors"):
        slots.flat[name].index_copy_(0, rows, getattr(discs, name))
    # The empty slot stays empty, whatever a warm-up lifts there.
    count = torch.where(slot == slots.empty, 0, running[-1:].clamp(max=slots.most))
    slots.counts.index_copy_(0, slot, count.int())


def store_portrait(
    slots: AvatarSlots,
    slot: Tensor,
    portrait: Block,
    depth: Tensor,
    refiner: OneStepRefiner,
    dtype: torch.dtype,
) -> None:
    """Write what the refiner and the reading of the portrait need to a slot.

    Args:
        slots: where avatars live.
        slot: which one. int64 [1]
        portrait: what came from the host.
        depth: of layer 1, metres. [1, 1, 256, 256]
        refiner: reads the portrait.
        dtype: that it works in.
    """
    picture = portrait.picture
    source = torch.cat([picture[:, :3] * picture[:, 3:], picture[:, 3:]], 1)
    tokens = refiner.encode_portrait(source.to(dtype, memory_format=torch.channels_last))
    slots.tokens.index_copy_(0, slot, tokens.to(slots.tokens.dtype))
    smooth = smoothness(depth)
    slots.pictures.index_copy_(0, slot, source * fading(smooth))
    slots.depths.index_copy_(0, slot, depth)
    slots.shown.index_copy_(0, slot, countable(portrait.fine, eroded(picture[:, 3:]), smooth))
