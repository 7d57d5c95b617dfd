"""From a picture to a person who can be seen from anywhere: what `stream` uses of `models`.

No type of torch stands in these signatures, and nothing here knows of sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import SetupError
from models.frame_check import FrameCheck
from models.viewpoint import Viewpoint

__all__ = [
    "Avatar",
    "Engine",
    "Followed",
    "Follower",
    "FrameCheck",
    "Picture",
    "RenderRequest",
    "load_engine",
]

logger = logging.getLogger(__name__)

Picture = NDArray[np.uint8]
"""RGB [H, W, 3], or an I420 frame [H * 3 / 2, W]."""


class Avatar(Protocol):
    """A person that an engine can render. Opaque; holds memory of its device until closed."""

    @property
    def id(self) -> str: ...

    def close(self) -> None:
        """Free what it holds. Rendering it afterwards is an error; closing twice is not."""


@dataclass(frozen=True)
class Followed:
    """What became of one camera frame.

    Attributes:
        avatar: the newest state of the person, a new avatar that belongs to who asked for it; None:
            what there is stays ("held").
        code: "ok", or why it is held: a code of `FrameCheck`.
        reason: one line for the caller on what to do; empty when ok.
    """

    avatar: Avatar | None
    code: str
    reason: str


class Follower(Protocol):
    """Follows one caller from frame to frame. One thread at a time calls it."""

    def update(self, picture: Picture, time: float) -> Followed:
        """Lift the newest frame.

        Args:
            picture: RGB [H, W, 3]
            time: seconds of any monotonic clock, when the picture was taken.

        Raises:
            CapacityError: the engine holds as many avatars as it has room for.
        """

    def close(self) -> None:
        """Free what it holds; avatars that it gave stay."""


@dataclass(frozen=True)
class RenderRequest:
    """One picture to make.

    Attributes:
        avatar: of this engine.
        viewpoint: where to look from.
        refine: False leaves the diffusion step out, for a frame that would be late.
        coarse: True draws at half the width and height and enlarges, without the diffusion step:
            the frame keeps its size, since encoders send a key frame when it changes. An engine
            that would save little by it may draw at full size.
    """

    avatar: Avatar
    viewpoint: Viewpoint
    refine: bool = True
    coarse: bool = False


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

    @property
    def batch(self) -> int:
        """Pictures that one call of `render` makes in hardly more time than one, so that all that
        are due are best asked for at once; 1 where each takes as long as the first."""

    def check_frame(self, picture: Picture) -> FrameCheck:
        """Whether a camera's frame is fit for an avatar, and if not, what to do. RGB [H, W, 3]"""

    def build_avatar(self, picture: Picture) -> Avatar:
        """Lift the one face in a picture, RGB [H, W, 3].

        Raises:
            PortraitError: there is no one face that can be lifted.
            CapacityError: the engine holds as many avatars as it has room for.
        """

    def follow(self, avatar: Avatar) -> Follower:
        """Begin to follow the person of an avatar that `build_avatar` made.

        What is needed of it is copied: it may be closed afterwards.
        """

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        """Make the pictures, as I420 frames [size * 3 / 2, size]."""

    def save_ply(self, avatar: Avatar, path: str | PathLike[str]) -> int:
        """Write an avatar's Gaussians in the standard splatting layout; returns their number."""

    def stage_times(self) -> Mapping[str, float]:
        """Milliseconds that each stage last took: portrait, lift, rasterise, refine, i420 (with the
        portrait's own pixels and the backdrop); of followed callers track (find the face, crop,
        mask) and relift."""

    def left_out(self) -> int:
        """Pairs of a Gaussian and a tile of 16 x 16 pixels that pictures had no room for, since the
        start: the farthest Gaussians are missing there. 0 is all well."""

    def close(self) -> None:
        """Free the engine's memory."""


DEVICES = ("auto", "cpu", "cuda")


def load_engine(
    device: str = "auto",
    size: int = 256,
    threads: int | None = None,
    progress: Callable[[str], object] | None = None,
) -> Engine:
    """Load the networks and choose, by timing them, how to run them.

    Args:
        device: "cpu", "cuda" for an NVIDIA GPU, or "auto": a GPU where one can be used.
        size: of the frames, pixels; a multiple of 16 from 64 to 1024, on a GPU of 32.
        threads: for each of the CPU's kernels; None measures.
        progress: told in words what is being done, where that takes many seconds.

    Raises:
        SetupError: the device, the weights, the kernels or the face models are not there.
    """
    if device not in DEVICES:
        raise SetupError(
            f"There is no device {device!r}. Use --device auto, cpu or cuda.", "no_device"
        )
    if size % 16 or not 64 <= size <= 1024:
        raise SetupError(
            f"A size of {size} cannot be rendered. Take a multiple of 16 from 64 to 1024.",
            "bad_size",
        )
    if device != "cpu":
        try:
            return _gpu_engine(size, progress)
        except SetupError as error:
            # Without face models or weights the CPU cannot work either, and says so itself.
            if device == "cuda":
                raise
            logger.log(logging.INFO if error.code == "no_gpu" else logging.WARNING, "%s", error)
    from models.cpu_engine import CpuEngine

    return CpuEngine(size, threads)


def _gpu_engine(size: int, progress: Callable[[str], object] | None) -> Engine:
    from models.gpu_setup import gpu_problem

    problem = gpu_problem()
    if problem is not None:
        raise SetupError(
            f"There is no GPU that the engine can use: {problem}. Use --device cpu.", "no_gpu"
        )
    from models.gpu_engine import GpuEngine
    from models.portrait import PortraitFinder

    finder = PortraitFinder()
    try:
        return GpuEngine(size, progress=progress, finder=finder)
    except RuntimeError as error:  # of torch, cuDNN or the driver
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SetupError(
            f"The engine cannot start on the GPU ({reason}). Use --device cpu.", "gpu_failed"
        ) from error
