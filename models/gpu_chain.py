"""From the viewpoints of a batch to its frames: what one graph holds.

Nothing here waits for the device. Every tensor that outlives a run is made once, at the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_kernels.gpu_splatter import Workspace
from cuda_kernels.i420 import rgb_to_i420
from cuda_kernels.portrait_blend import blend_portrait
from cuda_kernels.portrait_detail import refiner_input
from models.backdrop import backdrop
from models.gpu_batches import Quality
from models.gpu_rasteriser import PICTURE, Rasteriser
from models.gpu_slots import AvatarSlots
from models.gpu_views import NUMBERS, ViewBlock
from models.lifter import HALF_FOV
from models.portrait_blend import WIDEST
from models.refiner import NOISE_LEVEL, RENDER, OneStepRefiner
from models.reprojection import DOUBTED, TRUSTED


@dataclass(frozen=True)
class Look:
    """What all chains share.

    Args:
        size: of the frames, pixels.
        slots: the avatars.
        refiner: on the device, in its type.
        dtype: of the refiner.
        workspace: of the rasterisers, from `shared_workspace`.
    """

    size: int
    slots: AvatarSlots
    refiner: OneStepRefiner
    dtype: torch.dtype
    workspace: Workspace | None


class Surroundings:
    """What is the same in every frame: the backdrop [1, 3, S, S] and the noise [1, 4, S, S].

    One noise does for all avatars: it must only not change from one frame to the next.
    """

    def __init__(self, look: Look, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 4, look.size, look.size, generator=generator)
        self.noise = noise.to(device, look.dtype)
        self.backdrop = backdrop(look.size).to(device)


class Chain:
    """The work for a batch of views, in three qualities.

    Args:
        batch: views.
        look: what all chains share.
        around: likewise.

    Attributes:
        views: what the batch shows; to be written before a run.
        frames: what a run makes, I420. uint8 [batch, size * 3 / 2, size]
    """

    def __init__(self, batch: int, look: Look, around: Surroundings) -> None:
        self._look, self._around = look, around
        device = around.backdrop.device
        self.views = ViewBlock(torch.zeros(batch * NUMBERS, device=device), batch)
        size = look.size
        self.frames = torch.zeros(batch, size * 3 // 2, size, dtype=torch.uint8, device=device)
        self._full = Rasteriser(look.slots, self.views, size, look.workspace)
        self._half = Rasteriser(look.slots, self.views, size // 2, look.workspace)

    def refined(self) -> None:
        """Rasterise, refine, compose."""
        views, slots, look = self.views, self._look.slots, self._look
        splatted = self._full.run()
        # The kernel writes no float16.
        written = torch.bfloat16 if look.dtype == torch.bfloat16 else torch.float32
        shape = (len(splatted), RENDER, look.size, look.size)
        inputs = refiner_input(
            splatted,
            views.K,
            views.portrait_from_camera,
            views.distances,
            slots.pictures,
            slots.depths,
            views.slots,
            half_fov=HALF_FOV,
            trusted=TRUSTED,
            doubted=DOUBTED,
            out=torch.empty(shape, dtype=written, device=splatted.device),
        ).to(look.dtype)
        tokens = slots.tokens.index_select(0, views.slots)
        noise = self._around.noise.expand(len(inputs), -1, -1, -1)
        self.compose(
            self._blended(look.refiner.refine(inputs, noise, NOISE_LEVEL, tokens), splatted)
        )

    def raw(self) -> None:
        """Rasterise and compose."""
        splatted = self._full.run()
        self.compose(self._blended(_shown(splatted), splatted))

    def coarse(self) -> None:
        """Rasterise at half the width and height, enlarge, compose."""
        picture = _shown(self._half.run())
        self.compose(F.interpolate(picture, scale_factor=2.0, mode="bilinear", align_corners=False))

    def _blended(self, picture: Tensor, splatted: Tensor) -> Tensor:
        """Pictures [batch, 4, S, S], near the portrait's camera with its own pixels; float32"""
        views, slots = self.views, self._look.slots
        return blend_portrait(
            picture.float(),
            splatted,
            views.K,
            views.portrait_from_camera,
            views.distances,
            slots.shown,
            views.slots,
            half_fov=HALF_FOV,
            widest=WIDEST,
        )

    def compose(self, picture: Tensor) -> None:
        """Put people before the backdrop and write the frames.

        Args:
            picture: colours (premultiplied) and alpha. [batch, 4, S, S]
        """
        picture = picture.float()
        alpha = picture[:, 3:].clamp(0, 1)
        rgb = torch.addcmul(picture[:, :3], 1 - alpha, self._around.backdrop)
        rgb_to_i420(rgb, out=self.frames)

    def left_out(self, quality: Quality) -> Tensor:
        """Pairs of a Gaussian and a tile that the newest frames had no room for. int64 [batch]"""
        return (self._half if quality is Quality.COARSE else self._full).left_out


def _shown(splatted: Tensor) -> Tensor:
    """Colours and alpha of a splat. [B, 6, H, W] -> [B, 4, H, W]"""
    return torch.cat([splatted[:, :3], splatted[:, PICTURE - 1 :]], 1)
