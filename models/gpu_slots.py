"""Where avatars live on the GPU: slots of one set of tensors, whose addresses graphs keep.

People come and go by slots being taken and given back; no graph has to be captured again.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from models.errors import CapacityError

PORTRAIT = 256
"""Side of a portrait, pixels."""
COLORS = 4
"""Red, green, blue, uncertainty."""


class FreeNumbers:
    """Which of the numbers 0..count - 1 are taken. Any thread may ask.

    Args:
        count: how many there are.
        full: what to say when all are taken.
    """

    def __init__(self, count: int, full: str) -> None:
        self.count, self._full = count, full
        self._lock = threading.Lock()
        self._free = list(reversed(range(count)))

    @property
    def taken(self) -> int:
        """How many are in use."""
        with self._lock:
            return self.count - len(self._free)

    def take(self) -> int:
        """One that is free; it is not free any more.

        Raises:
            CapacityError: all are taken.
        """
        with self._lock:
            if not self._free:
                raise CapacityError(self._full)
            return self._free.pop()

    def give(self, number: int) -> None:
        """Give one back."""
        with self._lock:
            if not 0 <= number < self.count or number in self._free:
                raise ValueError(f"slot {number} is not taken")
            self._free.append(number)


class AvatarSlots:
    """Room for a number of avatars.

    Args:
        count: of avatars.
        most: Gaussians of one at most.
        tokens: what the refiner keeps of a portrait: the shape for one, and the type.
        device: to live on.
        fine: side of the portraits that views show, pixels.

    Attributes:
        means: metres, head space. float32 [count + 1, most, 3]
        axes: half axes of the discs, metres. [count + 1, most, 2, 3]
        opacities: 0..1. [count + 1, most]
        colors: [count + 1, most, 4]
        counts: how many Gaussians a slot holds; what lies beyond is of no meaning.
            int32 [count + 1]
        tokens: [count + 1, ...]
        pictures: portraits, colours times mask, mask, without steps of
            depth. float32 [count + 1, 4, 256, 256]
        shown: from `portrait_blend.countable`. float32 [count + 1, 4, fine, fine]
        depths: of layer 1, metres. float32 [count + 1, 1, 256, 256]
        empty: the last slot, which holds nobody: where a batch is not full, its views look there.
    """

    def __init__(
        self,
        count: int,
        most: int,
        tokens: tuple[tuple[int, ...], torch.dtype],
        device: torch.device,
        fine: int = PORTRAIT,
    ) -> None:
        if count < 1 or most < 1:
            raise ValueError(
                f"AvatarSlots: needs room for someone, not {count} avatars of {most} Gaussians"
            )
        self.count, self.most, self.empty = count, most, count
        rows = (count + 1) * most
        # One row more than the slots have: what a lift drops is written there, see `gpu_lift`.
        self.flat = {
            "means": torch.zeros(rows + 1, 3, device=device),
            "axes": torch.zeros(rows + 1, 2, 3, device=device),
            "opacities": torch.zeros(rows + 1, device=device),
            "colors": torch.zeros(rows + 1, COLORS, device=device),
        }
        self.means, self.axes, self.opacities, self.colors = (
            t[:rows].view(count + 1, most, *t.shape[1:]) for t in self.flat.values()
        )
        self.counts = torch.zeros(count + 1, dtype=torch.int32, device=device)
        shape, dtype = tokens
        self.tokens = torch.zeros(count + 1, *shape, dtype=dtype, device=device)
        self.pictures, self.depths = (
            torch.zeros(count + 1, planes, PORTRAIT, PORTRAIT, device=device)
            for planes in (COLORS, 1)
        )
        self.shown = torch.zeros(count + 1, 4, fine, fine, device=device)
        self._numbers = FreeNumbers(
            count,
            f"The server has room for {count} avatars, and all are taken. Try again when a call "
            "has ended.",
        )

    @property
    def bin(self) -> int:
        """The row of the flat tensors that nobody reads."""
        return (self.count + 1) * self.most

    @property
    def taken(self) -> int:
        """How many slots are in use."""
        return self._numbers.taken

    @property
    def octets(self) -> int:
        """Bytes of all tensors."""
        tensors: list[Tensor] = [*self.flat.values(), self.counts, self.tokens]
        tensors += [self.pictures, self.shown, self.depths]
        return sum(t.numel() * t.element_size() for t in tensors)

    def take(self) -> int:
        """A slot that is free; it is not free any more.

        Raises:
            CapacityError: all are taken.
        """
        return self._numbers.take()

    def give(self, slot: int) -> None:
        """Give a slot back. What it holds stays until the next one's avatar is written there."""
        self._numbers.give(slot)
