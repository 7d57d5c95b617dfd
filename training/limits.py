"""What is there to be had: how good views are when a part of the truth is given away.

Two things a lifter has to find: where lies what the portrait shows, and what lies where it shows
nothing. With the first given away, what is left of the error is the second, and what no depth can
mend: light that changes with the direction it is seen from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.lifter import Layers
from training.dataset import Views, camera_points, intrinsics, relative_cameras
from training.predictions import (
    LIFTED,
    Networks,
    Prediction,
    lifted,
    seen_by_lifter,
    splatted,
    unrefined,
)

SAME = 0.006
"""Metres within which two depths are the same surface's: half a pixel of a map of 128 is 1.3 mm,
and surfaces are slanted."""


@dataclass
class TrueDepth:
    """The raw splat with layer 1 at its true depth where the portrait is solid; layer 2 stays where
    it was.

    Attributes:
        networks: whose lifter makes the rest.
        pixels: whether the colours too are the portrait's own, in each pixel of a view whose true
            surface the portrait shows.
    """

    networks: Networks
    pixels: bool = False

    @torch.no_grad()
    def __call__(self, views: Views) -> Prediction:
        image, mask = seen_by_lifter(views)
        layers = at_true_depth(self.networks.layers(image, mask), views)
        person = lifted(layers, image, torch.cat([image * mask, mask], 1), views)
        person.gaussians = self.networks.variant.kept(person.gaussians)
        size = views.rgba.shape[-1]
        prediction = unrefined(splatted(person, views.world_to_camera[0], views.focal[0], size))
        if self.pixels:
            colors, shown = portrait_pixels(views)
            solid = torch.cat([colors, torch.ones_like(shown)], 1)
            prediction.rgba = torch.where(shown > 0, solid, prediction.rgba)
            prediction.depth = None  # the splat's, which no longer belongs to these pixels
        return prediction


def at_true_depth(layers: Layers, views: Views) -> Layers:
    """Layers of view 0 (B = 1) with the true depth in layer 1, where it is known."""
    distance = views.nominal_distance[:, 0].view(-1, 1, 1, 1)
    nearer = views.distance[:, 0].view(-1, 1, 1, 1) - distance
    solid = (F.avg_pool2d(views.rgba[:, 0, 3:], views.rgba.shape[-1] // 128) > 0.95).float()

    def finer(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(LIFTED, LIFTED), mode="bilinear")

    known = finer(solid)
    truth = finer((views.depth[:, 0] - nearer) * solid) / known.clamp(min=1e-3)
    front = layers.front.clone()
    front[:, :1] = torch.where(known > 0.5, (truth - distance) / 0.08, front[:, :1])
    moved = 0.08 * F.avg_pool2d(front[:, :1] - layers.front[:, :1], 2)
    behind = ((0.05 * F.softplus(layers.back[:, :1]) - moved) / 0.05).clamp(min=1e-3)
    back = layers.back.clone()
    back[:, :1] = behind + torch.log(-torch.expm1(-behind))  # softplus's inverse
    return Layers(front, back)


def portrait_pixels(views: Views) -> tuple[Tensor, Tensor]:
    """For all views of one person (B = 1): the colours that view 0 has where they look
    [V, 3, S, S], and 1 where it shows the same surface, else 0 [V, 1, S, S]."""
    size, count = views.rgba.shape[-1], views.rgba.shape[1]
    depth = F.interpolate(views.depth[0], size=(size, size), mode="nearest")
    K = intrinsics(size, views.focal[0])
    points = camera_points(depth[:, 0], K)
    move = torch.linalg.inv(relative_cameras(views.world_to_camera[:, 0], views.world_to_camera))[0]
    there = move[:, :3, :3] @ points + move[:, :3, 3:]
    far = there[:, 2].view(count, 1, size, size)
    pixel = (K[:1] @ there)[:, :2] / there[:, 2:].clamp(min=1e-3)
    grid = (pixel / size * 2 - 1).transpose(1, 2).reshape(count, size, size, 2)

    def read(picture: Tensor, mode: str) -> Tensor:
        every = picture.expand(count, -1, -1, -1)
        return F.grid_sample(every, grid, mode=mode, align_corners=False)

    portrait = read(views.rgba[:, 0], "bilinear")
    near = read(depth[:1], "nearest")
    solid = (views.rgba[0, :, 3:] > 0.95) & (portrait[:, 3:] > 0.95)
    shown = solid & (depth > 0) & ((near - far).abs() < SAME)
    return portrait[:, :3], shown.float()
