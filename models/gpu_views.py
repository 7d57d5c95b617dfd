"""What a batch of views looks like in memory: on the host, where it is written, and on the GPU.

All numbers of a batch lie in one block, so that one copy brings them to the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.camera import portrait_camera, viewpoint_camera
from models.graphs import Mark, Queue
from models.viewpoint import Viewpoint

NUMBERS = 16 + 9 + 16 + 1 + 1
"""Of a view: two transforms, intrinsics, distance, slot."""


@dataclass(frozen=True)
class SlotView:
    """A view of an avatar, ready to be rendered.

    Attributes:
        slot: of the avatar.
        world_to_camera: from head space, metres. float32 [4, 4]
        K: intrinsics in pixels of the size that is drawn. [3, 3]
        portrait_from_camera: from the view's camera to the portrait's. [4, 4]
    """

    slot: int
    world_to_camera: NDArray[np.float32]
    K: NDArray[np.float32]
    portrait_from_camera: NDArray[np.float32]


def slot_view(
    slot: int,
    viewpoint: Viewpoint,
    distance: float,
    camera_from_head: NDArray[np.float64],
    size: int,
) -> SlotView:
    """The view of an avatar from a viewpoint.

    Args:
        slot: of the avatar.
        viewpoint: where to look from.
        distance: of the portrait's camera from the middle of the head, metres.
        camera_from_head: from head space to the portrait's camera. [4, 4]
        size: that is drawn, pixels.
    """
    camera = viewpoint_camera(viewpoint, distance, size)
    there = camera.world_to_camera.double().numpy()
    back = np.eye(4)
    back[:3, :3] = there[:3, :3].T  # a rigid transform needs no general inverse
    back[:3, 3] = -there[:3, :3].T @ there[:3, 3]
    return SlotView(
        slot,
        camera.world_to_camera.numpy(),
        camera.K.numpy(),
        (camera_from_head @ back).astype(np.float32),
    )


class ViewBlock:
    """The numbers of a batch in one block of float32.

    Args:
        block: [batch * NUMBERS], contiguous.
        batch: views.

    Attributes:
        world_to_camera: [batch, 4, 4]
        K: [batch, 3, 3]
        portrait_from_camera: [batch, 4, 4]
        distances: of the head's middle along the camera's axis, metres. [batch]
        slots: int32 [batch]
    """

    def __init__(self, block: Tensor, batch: int) -> None:
        self.block = block
        self.world_to_camera = block[: 16 * batch].view(batch, 4, 4)
        self.K = block[16 * batch : 25 * batch].view(batch, 3, 3)
        self.portrait_from_camera = block[25 * batch : 41 * batch].view(batch, 4, 4)
        self.distances = block[41 * batch : 42 * batch]
        self.slots = block[42 * batch :].view(torch.int32)


class Staging:
    """A batch on the host, to be written while an older one may still be on its way.

    Args:
        queue: that the batch is sent with.
        batch: views.
        empty: the slot of the views that are not there.
        size: that is drawn, pixels.
    """

    def __init__(self, queue: Queue, batch: int, empty: int, size: int) -> None:
        self._empty = empty
        block = queue.host(batch * NUMBERS, dtype=torch.float32)
        self._views = ViewBlock(block, batch)
        self._sent: Mark = queue.mark()
        # The arrays share the block's memory.
        self._world_to_camera = self._views.world_to_camera.numpy()
        self._K = self._views.K.numpy()
        self._move = self._views.portrait_from_camera.numpy()
        self._distances = self._views.distances.numpy()
        self._slots = self._views.slots.numpy()
        # A view that is not there sees nobody, but its numbers must be a camera's: no 1 / 0.
        camera = portrait_camera(size=size)
        self._world_to_camera[:], self._K[:] = camera.world_to_camera.numpy(), camera.K.numpy()
        self._move[:] = np.eye(4)
        self._distances[:] = camera.world_to_camera[2, 3]
        self._slots[:] = empty

    def write(self, views: list[SlotView]) -> None:
        """Set the views; those that a batch has more see nobody. Waits only for this staging's own
        last way to the device."""
        self._sent.wait()
        for row, view in enumerate(views):
            self._world_to_camera[row] = view.world_to_camera
            self._K[row] = view.K
            self._move[row] = view.portrait_from_camera
            self._distances[row] = view.world_to_camera[2, 3]
            self._slots[row] = view.slot
        self._slots[len(views) :] = self._empty

    def send(self, block: Tensor) -> None:
        """Copy to the device, within the queue."""
        block.copy_(self._views.block, non_blocking=True)
        self._sent.record()
