"""What real cameras, rooms and segmenters do to a picture, done to rendered people at random.

All draws come from the generator that is passed in, so that a run is reproducible from its seed, in
any number of threads.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.rooms import room

LUMA = (0.299, 0.587, 0.114)


def random_background(batch: int, size: int, rng: Generator) -> Tensor:
    """Smooth, blotchy or boxy backgrounds, or rooms, 0..1. [B, 3, size, size]"""
    picture = torch.rand(batch, 3, 1, 1, generator=rng).expand(batch, 3, size, size).clone()
    kind = torch.randint(0, 5, (batch,), generator=rng)  # two in five are rooms
    textured = (kind > 0).float().view(batch, 1, 1, 1)
    for cells, amplitude in ((3, 0.7), (9, 0.4), (33, 0.2), (90, 0.1)):
        noise = 0.6 * torch.randn(batch, 3, cells, cells, generator=rng) + 0.6 * torch.randn(
            batch, 1, cells, cells, generator=rng
        )
        strength = amplitude * torch.rand(batch, 1, 1, 1, generator=rng) * textured
        picture += strength * F.interpolate(noise, size=(size, size), mode="bilinear")
    for index in torch.nonzero(kind == 2).flatten().tolist():
        for _ in range(int(torch.randint(2, 9, (), generator=rng))):
            top, left = torch.randint(0, size - 8, (2,), generator=rng).tolist()
            height, width = torch.randint(6, size // 2, (2,), generator=rng).tolist()
            box = picture[index, :, top : top + height, left : left + width]
            box.mul_(0.2).add_(0.8 * torch.rand(3, 1, 1, generator=rng))
    for index in torch.nonzero(kind > 2).flatten().tolist():
        seed = int(torch.randint(0, 2**62, (), generator=rng))
        picture[index] = torch.from_numpy(room(size, np.random.default_rng(seed))).permute(2, 0, 1)
    return picture.clamp_(0, 1)


def random_colors(rgba: Tensor, rng: Generator) -> Tensor:
    """One white balance, exposure and saturation per person, the same in all views.

    Args:
        rgba: premultiplied. [B, V, 4, H, W]
    """
    batch = len(rgba)
    saturation = 0.6 + 0.8 * torch.rand(batch, 1, 1, generator=rng)
    matrix = saturation * torch.eye(3) + (1 - saturation) * torch.tensor(LUMA).expand(3, 3)
    matrix = matrix * torch.exp(0.25 * torch.randn(batch, 1, 1, generator=rng))
    matrix = matrix * torch.exp(0.08 * torch.randn(batch, 3, 1, generator=rng))
    lift = 0.12 * (torch.rand(batch, 1, 1, 1, 1, generator=rng) - 0.6)
    alpha = rgba[:, :, 3:]
    color = torch.einsum("bij,bvjhw->bvihw", matrix, rgba[:, :, :3]) + lift * alpha
    return torch.cat([torch.minimum(color.clamp(min=0), alpha), alpha], 2)


def degraded_mask(alpha: Tensor, rng: Generator) -> Tensor:
    """What a segmenter would return for the true alpha: coarse, shifted, too fat. [B, 1, H, W]"""
    size = alpha.shape[-1]
    cell = int(torch.tensor([1, 2, 4, 6])[torch.randint(0, 4, (), generator=rng)]) * size // 128
    mask = alpha
    if cell > 1:
        mask = F.interpolate(F.avg_pool2d(mask, cell), size=(size, size), mode="bilinear")
    shift = torch.randint(-size // 100, size // 100 + 1, (2,), generator=rng).tolist()
    mask = torch.roll(mask, shift, (2, 3))
    draw = float(torch.rand((), generator=rng))
    if draw < 0.15:
        mask = F.max_pool2d(mask, 5, 1, 2)
    elif draw < 0.3:
        mask = -F.max_pool2d(-mask, 5, 1, 2)
    return mask


def camera_picture(picture: Tensor, rng: Generator) -> Tensor:
    """Blur, sensor noise and compression of a camera. [B, 3, H, W], 0..1"""
    size = picture.shape[-1]
    if float(torch.rand((), generator=rng)) < 0.25:
        small = max(8, int(size * (0.4 + 0.5 * float(torch.rand((), generator=rng)))))
        picture = F.interpolate(picture, size=(small, small), mode="bilinear", antialias=True)
        picture = F.interpolate(picture, size=(size, size), mode="bilinear")
    level = 0.03 * torch.rand(len(picture), 1, 1, 1, generator=rng)
    picture = (picture + level * torch.randn(picture.shape, generator=rng)).clamp(0, 1)
    squeezed = torch.rand(len(picture), generator=rng) < 0.35
    quality = torch.randint(25, 96, (len(picture),), generator=rng)
    rows = [
        jpeg(row, int(q)) if small else row
        for row, q, small in zip(picture, quality, squeezed, strict=True)
    ]
    return torch.stack(rows)


def jpeg(picture: Tensor, quality: int) -> Tensor:
    """A picture after JPEG at a quality of 1 to 100. [3, H, W], 0..1"""
    pixels = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].copy()
    return torch.from_numpy(decoded).permute(2, 0, 1).float() / 255
