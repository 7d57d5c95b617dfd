"""People painted and lit anew: patterns that cling to them and light from a side, in all views.

A generator's colours go together with its shapes, so that a network may learn the generator in
place of people. Here each person's colours are multiplied by a pattern that fills head space, and
by a light that depends on which way the surface faces. Both follow from the depth that comes with
the views, so that these still show one person.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.dataset import Views, camera_points, intrinsics

SHARE = 0.6
"""Of the people who are painted, and, drawn by itself, of those who are lit."""
REACH = 0.3
"""Metres from the middle of the head to the end of the pattern, each way."""
CELLS = (5, 14, 32)
"""Cells of a pattern along each axis, from blots to freckles."""
PAINT = 0.22
"""The largest standard deviation of a pattern's logarithm, for each size of cells. Grey: with
patterns of a colour of their own hair went pink and green where the portrait does not show it."""
LIGHT, WARMTH = 0.7, 0.05
"""Of the logarithm of what a light adds towards itself and takes away behind: at most, and the
standard deviation by which colours differ in it."""


def repainted(views: Views, rng: Generator) -> Tensor:
    """Premultiplied RGBA of the views, with a pattern and a light of each person's own.
    [B, V, 4, S, S]"""
    rgba = views.rgba
    batch, count = rgba.shape[:2]
    points = head_points(views)
    alpha = F.interpolate(rgba[:, :, 3:].flatten(0, 1), size=points.shape[-1], mode="area")
    known = ((_depth(views) > 0) & (alpha > 0.3)).float()
    factor = _light(points, known, rng, batch) + _pattern(points.unflatten(0, (batch, count)), rng)
    spread = F.avg_pool2d(factor * known, 3, 1, 1) / F.avg_pool2d(known, 3, 1, 1).clamp(min=0.05)
    factor = torch.where(known > 0, factor, spread)  # no seam at the outline
    factor = F.interpolate(factor, size=rgba.shape[-1], mode="bilinear").unflatten(
        0, (batch, count)
    )
    colors = torch.minimum(rgba[:, :, :3] * factor.exp(), rgba[:, :, 3:])
    return torch.cat([colors, rgba[:, :, 3:]], 2)


def head_points(views: Views) -> Tensor:
    """Where each pixel of the depth maps lies, metres in head space. [B * V, 3, D, D]"""
    depth = _depth(views)
    size = depth.shape[-1]
    there = camera_points(depth[:, 0], intrinsics(size, views.focal.flatten()))
    back = torch.linalg.inv(views.world_to_camera.flatten(0, 1))
    points = back[:, :3, :3] @ there + back[:, :3, 3:]
    return points.unflatten(-1, (size, size))


def _depth(views: Views) -> Tensor:
    """Of all views, 0 where it is not known. [B * V, 1, D, D]"""
    return views.depth.flatten(0, 1).nan_to_num(0, 0, 0)


def _pattern(points: Tensor, rng: Generator) -> Tensor:
    """Logarithm of what colours are multiplied by, from points [B, V, 3, D, D]. [B * V, 1, D, D]"""
    batch = len(points)
    grid = (points.permute(0, 1, 3, 4, 2) / REACH).flatten(1, 2)[:, None]  # [B, 1, V * D, D, 3]
    some = (torch.rand(batch, 1, 1, 1, generator=rng) < SHARE).float()
    total = torch.zeros(())
    for cells in CELLS:
        paint = PAINT * torch.rand(batch, 1, 1, 1, 1, generator=rng)
        noise = paint * torch.randn(batch, 1, cells, cells, cells, generator=rng)
        total = total + F.grid_sample(noise, grid, padding_mode="border", align_corners=False)
    total = some * total[:, :, 0]  # [B, 1, V * D, D]
    size = points.shape[-1]
    return total.unflatten(2, (-1, size)).transpose(1, 2).flatten(0, 1)


def _light(points: Tensor, known: Tensor, rng: Generator, batch: int) -> Tensor:
    """Logarithm of a light, from points [B * V, 3, D, D] in head space. [B * V, 3, D, D]"""
    weight = F.avg_pool2d(known, 5, 1, 2).clamp(min=0.05)
    smooth = F.avg_pool2d(points * known, 5, 1, 2) / weight
    across = F.pad(smooth[..., 2:] - smooth[..., :-2], (1, 1, 0, 0), mode="replicate")
    down = F.pad(smooth[..., 2:, :] - smooth[..., :-2, :], (0, 0, 1, 1), mode="replicate")
    normal = F.normalize(torch.linalg.cross(across, down, dim=1), dim=1)
    toward = F.normalize(torch.randn(batch, 3, generator=rng), dim=1)
    views = len(points) // batch
    facing = torch.einsum("nchw,nc->nhw", normal, toward.repeat_interleave(views, 0))[:, None]
    some = (torch.rand(batch, 1, 1, 1, generator=rng) < SHARE).float()
    strength = LIGHT * torch.rand(batch, 1, 1, 1, generator=rng)
    color = WARMTH * torch.randn(batch, 3, 1, 1, generator=rng)
    strength = (some * (strength + color)).repeat_interleave(views, 0)
    return strength * facing
