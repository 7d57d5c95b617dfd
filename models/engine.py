"""From a picture to a person who can be seen from anywhere: what `stream` uses of `models`.

No type of torch stands in these signatures, and nothing here knows of sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import SetupError
from models.frame_check import FrameCheck
from models.viewpoint import Viewpoint

__all__ = ["Avatar", "Engine", "FrameCheck", "Picture", "RenderRequest", "load_engine"]

Picture = NDArray[np.uint8]
"""RGB [H, W, 3], or an I420 frame [H * 3 / 2, W]."""


class Avatar(Protocol):
    """A person that an engine can render. Opaque; holds memory of its device until closed."""

    @property
    def id(self) -> str: ...

    def close(self) -> None:
        """Free what it holds. Rendering it afterwards is an error; closing twice is not."""


@dataclass(frozen=True)
class RenderRequest:
    """One picture to make.

    Attributes:
        avatar: of this engine.
        viewpoint: where to look from.
        refine: False leaves the diffusion step out, for a frame that would be late.
    """

    avatar: Avatar
    viewpoint: Viewpoint
    refine: bool = True


class Engine(Protocol):
    """Builds and renders avatars.

    All methods may be called from any thread; renders that two threads ask for overlap, one being
    rasterised while the other is refined.
    """

    @property
    def name(self) -> str:
        """What runs where, in words."""

    @property
    def size(self) -> int:
        """Width and height of the frames, pixels."""

    def check_frame(self, picture: Picture) -> FrameCheck:
        """Whether a camera's frame is fit for an avatar, and if not, what to do. RGB [H, W, 3]"""

    def build_avatar(self, picture: Picture) -> Avatar:
        """Lift the one face in a picture, RGB [H, W, 3].

        Raises:
            PortraitError: there is no one face that can be lifted.
        """

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        """Make the pictures, as I420 frames [size * 3 / 2, size]."""

    def save_ply(self, avatar: Avatar, path: str | PathLike[str]) -> int:
        """Write an avatar's Gaussians in the standard splatting layout; returns their number."""

    def stage_times(self) -> Mapping[str, float]:
        """Milliseconds that each stage last took: portrait, lift, rasterise, refine, i420."""

    def close(self) -> None:
        """Free the engine's memory."""


def load_engine(device: str = "auto", size: int = 256, threads: int | None = None) -> Engine:
    """Load the networks and choose, by timing them, how to run them.

    Args:
        device: "auto" or "cpu".
        size: of the frames, pixels; a multiple of 16 from 64 to 1024.
        threads: for each kernel; None measures.

    Raises:
        SetupError: the device, the weights, the kernels or the face models are not there.
    """
    if device not in ("auto", "cpu"):
        raise SetupError(
            f"The device {device!r} cannot run the engine yet. Use --device cpu.", "no_device"
        )
    if size % 16 or not 64 <= size <= 1024:
        raise SetupError(
            f"A size of {size} cannot be rendered. Take a multiple of 16 from 64 to 1024.",
            "bad_size",
        )
    from models.cpu_engine import CpuEngine

    return CpuEngine(size, threads)
