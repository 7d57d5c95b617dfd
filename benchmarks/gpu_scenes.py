"""What is rendered: a person, lifted from the portrait that ships, or discs at random."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from models.lifter import HALF_FOV
from models.portrait_blend import WIDEST
from models.reprojection import DOUBTED, TRUSTED
from models.viewpoint import Viewpoint

DEMO = Path(__file__).parents[1] / "models" / "assets" / "demo_portrait.png"


@dataclass(frozen=True)
class BenchPortrait:
    """A portrait as `models.portrait.Portrait` has it, cut out without the face models.

    Args:
        image: sRGB. [3, 256, 256]
        mask: [1, 256, 256]
        origin: where the picture is from.
    """

    image: Tensor
    mask: Tensor
    origin: str
    distance: float = 0.75

    @property
    def fine(self) -> Tensor:
        return self.image

    @property
    def head_from_camera(self) -> Tensor:
        transform = torch.eye(4)
        transform[2, 3] = -self.distance
        return transform


def bench_portrait() -> BenchPortrait:
    """The person that ships, with an oval for a mask; a drawn one where no package reads PNG."""
    axis = (torch.arange(256) + 0.5) / 128 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    oval = (8 * (1 - (x / 0.7) ** 2 - ((y - 0.1) / 0.95) ** 2)).clamp(0, 1)[None]
    picture = _read(DEMO)
    if picture is not None:
        small = F.interpolate(picture[None], size=(256, 256), mode="area")[0]
        return BenchPortrait(small, oval, "the portrait that ships, an oval for a mask")
    shade = 0.35 + 0.4 * (1 - x * x - y * y).clamp(min=0).sqrt()
    drawn = torch.stack([shade, 0.8 * shade, 0.7 * shade]) + 0.05 * torch.rand(3, 256, 256)
    return BenchPortrait(drawn.clamp(0, 1), oval, "a drawn ball")


def _read(path: Path) -> Tensor | None:
    """sRGB 0..1 by whatever package is there. [3, H, W]"""
    try:
        cv2: Any = importlib.import_module("cv2")
        return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1) / 255
    except ImportError:
        pass
    try:
        import numpy as np

        image: Any = importlib.import_module("PIL.Image")
        with image.open(path) as opened:
            return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1) / 255
    except ImportError:
        return None


@dataclass(frozen=True)
class BenchRequest:
    """As `models.engine.RenderRequest`, whose module needs cv2."""

    avatar: Any
    viewpoint: Viewpoint
    refine: bool = True
    coarse: bool = False


def swinging(count: int) -> list[Viewpoint]:
    """Viewpoints to both sides, no two alike."""
    turns = [2 * math.pi * (k + 0.5) / count for k in range(count)]
    return [Viewpoint(yaw=30 * math.sin(t), pitch=8 * math.cos(t)) for t in turns]


@dataclass(frozen=True)
class Discs:
    """Avatars in slots, and views of them; float64 on the CPU."""

    means: Tensor  # [S, N, 3]
    axes: Tensor  # [S, N, 2, 3]
    opacities: Tensor  # [S, N]
    colors: Tensor  # [S, N, C]
    counts: Tensor  # [S]
    slots: Tensor  # [V]
    world_to_camera: Tensor  # [V, 4, 4]
    K: Tensor  # [V, 3, 3]

    def on(self, device: torch.device) -> list[Tensor]:
        """As `GpuSplatter.render` takes them."""
        floats = (self.means, self.axes, self.opacities, self.colors)
        ints = (self.counts, self.slots)
        return [
            *(t.float().to(device) for t in floats),
            *(t.int().to(device) for t in ints),
            *(t.float().to(device) for t in (self.world_to_camera, self.K)),
        ]


def random_discs(views: int, slots: int, most: int, width: int, height: int) -> Discs:
    """Discs of every size, slant and opacity, new ones at every call; the last slot is empty."""
    double = torch.float64
    counts = torch.randint(most // 2, most + 1, (slots,))
    counts[-1] = 0
    yaw = torch.rand(views, dtype=double) - 0.5
    E = torch.eye(4, dtype=double).repeat(views, 1, 1)
    E[:, 0, 0], E[:, 0, 2], E[:, 2, 0], E[:, 2, 2] = yaw.cos(), yaw.sin(), -yaw.sin(), yaw.cos()
    E[:, 2, 3] = 0.75
    K = torch.tensor([[2.2 * width, 0, width / 2], [0, 2.4 * width, height / 2], [0, 0, 1]])
    size = 0.004 * torch.exp(torch.randn(slots, most, 1, 1, dtype=double))
    return Discs(
        0.12 * torch.randn(slots, most, 3, dtype=double),
        size * torch.randn(slots, most, 2, 3, dtype=double),
        torch.rand(slots, most, dtype=double),
        torch.rand(slots, most, 4, dtype=double),
        counts,
        torch.cat([torch.arange(slots), torch.randint(slots, (views,))])[:views],
        E,
        K.to(double).repeat(views, 1, 1),
    )


class _Reading(TypedDict):
    half_fov: float
    trusted: float
    doubted: float


READING: _Reading = {"half_fov": HALF_FOV, "trusted": TRUSTED, "doubted": DOUBTED}
"""As the engines read portraits."""


class _Blending(TypedDict):
    half_fov: float
    widest: float


BLENDING: _Blending = {"half_fov": HALF_FOV, "widest": WIDEST}
"""As the engines blend views with portraits."""


def splats_and_portraits(views: int, slots: int, size: int, portrait: int) -> list[Tensor]:
    """What the refiner's input is made of, at random: points before, on and behind the portraits'
    surfaces. As `cuda_kernels.portrait_detail.refiner_input` takes them; on the CPU.

    Args:
        views: of a batch.
        slots: portraits.
        size: of the views, pixels.
        portrait: of a portrait, pixels.
    """
    alpha = (1.6 * torch.rand(views, 1, size, size) - 0.3).clamp(0, 1)
    depth = 0.75 + 0.06 * (torch.rand(views, 1, size, size) - 0.5)
    colors = torch.rand(views, 4, size, size) * alpha
    mask = (2 * torch.rand(slots, 1, portrait, portrait) - 0.4).clamp(0, 1)
    wave = torch.linspace(0, 6, portrait).sin()
    K = torch.tensor([[2.3 * size, 0, size / 2], [0, 2.3 * size, size / 2], [0, 0, 1]])
    moves = torch.eye(4).repeat(views, 1, 1)
    moves[:, :3, 3] = 0.01 * torch.randn(views, 3)
    return [
        torch.cat([colors, depth * alpha, alpha], 1),
        K.repeat(views, 1, 1),
        moves,
        torch.full((views,), 0.75),
        torch.cat([torch.rand(slots, 3, portrait, portrait) * mask, mask], 1),
        0.75 + 0.01 * (wave[:, None] + wave).repeat(slots, 1, 1, 1),
        torch.randint(slots, (views,), dtype=torch.int32),
    ]
