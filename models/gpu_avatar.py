"""An avatar that lives in a slot of a GPU engine, and what it is lifted from."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from models.caller_portraits import LivePortrait
    from models.gpu_engine import GpuEngine
    from models.portrait import Portrait


class CutPortrait(Protocol):
    """What is lifted; see `models.portrait.Portrait`."""

    @property
    def image(self) -> Tensor: ...

    @property
    def fine(self) -> Tensor: ...

    @property
    def mask(self) -> Tensor: ...

    @property
    def distance(self) -> float: ...

    @property
    def head_from_camera(self) -> Tensor: ...


class GpuAvatar:
    """An avatar in a slot of a GPU engine.

    Args:
        engine: whose avatar it is.
        slot: where it lives; None once it is closed.
        distance: of the portrait's camera from the middle of the head, metres.
        camera_from_head: from head space to that camera. [4, 4]
        enrolment: what following begins with; None for an avatar of a follower.
    """

    def __init__(
        self,
        engine: GpuEngine,
        slot: int,
        distance: float,
        camera_from_head: NDArray[np.float64],
        enrolment: Portrait | CutPortrait | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.engine = engine
        self.slot: int | None = slot
        self.distance = distance
        self.camera_from_head = camera_from_head
        self.enrolment = enrolment

    def close(self) -> None:
        self.engine.free(self)


def camera_from_head(portrait: Portrait | CutPortrait | LivePortrait) -> NDArray[np.float64]:
    """From head space to the portrait's camera. [4, 4]"""
    return np.asarray(np.linalg.inv(portrait.head_from_camera.double().numpy()))
