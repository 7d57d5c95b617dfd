"""Losses that need no downloaded network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augment import LUMA


def ssim(a: Tensor, b: Tensor, window: int = 7) -> Tensor:
    """Structural similarity per pixel, box window (Wang et al. 2004). [B, C, H, W]

    Only `a` is differentiated.
    """
    b = b.detach()
    share = 1 / box_sum(torch.ones_like(a[:1, :1]), window)
    mean_a, mean_b = box_sum(a, window) * share, box_sum(b, window) * share
    var_a = box_sum(a * a, window) * share - mean_a * mean_a
    var_b = box_sum(b * b, window) * share - mean_b * mean_b
    covariance = box_sum(a * b, window) * share - mean_a * mean_b
    return ((2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_a * mean_a + mean_b * mean_b + 1e-4) * (var_a + var_b + 9e-4)
    )


def box_sum(x: Tensor, window: int) -> Tensor:
    """Sums over `window` x `window` pixels (odd), zeros beyond the border. [B, C, H, W]

    By sums of doubled widths: torch's pooling took half of a training step on a CPU.
    """
    x = F.pad(x, (window // 2,) * 4)
    for dim in (-1, -2):
        length = x.shape[dim] - window + 1
        pieces, start, width, runs = [], 0, 1, x
        while width <= window:
            if window & width:
                pieces.append(runs.narrow(dim, start, length))
                start += width
            count = runs.shape[dim] - width
            runs = runs.narrow(dim, 0, count) + runs.narrow(dim, width, count)
            width *= 2
        x = sum(pieces[1:], pieces[0])
    return x


def luma(picture: Tensor) -> Tensor:
    """Brightness of a picture. [B, 3, H, W] -> [B, 1, H, W]"""
    return torch.einsum("bchw,c->bhw", picture, picture.new_tensor(LUMA))[:, None]


def gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the pictures' finite differences. [B, C, H, W] -> [B]"""
    return (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean((1, 2, 3)) + (
        a.diff(dim=-2) - b.diff(dim=-2)
    ).abs().mean((1, 2, 3))


def detail_error(a: Tensor, b: Tensor) -> Tensor:
    """How much more or less detail `a` has than `b`, wherever it lies within 8 x 8 pixels.

    Mean difference of the local means of the gradients' magnitude. Unlike differences of pixels it
    is not least for a blur where the true detail cannot be known. Taken after a slight blur: dots
    from pixel to pixel, which splats make easily, would count as detail else. [B, C, H, W] -> [B]
    """
    return (_energy(_blurred(a)) - _energy(_blurred(b))).abs().mean((1, 2, 3))


def with_hues(x: Tensor) -> Tensor:
    """Red, green, blue, and by how much red and blue exceed green. [B, 3, H, W] -> [B, 5, H, W]

    Detail of each colour alone may be of colours that do not go together: hair went pink and green.
    """
    return torch.cat([x, x[:, :1] - x[:, 1:2], x[:, 2:] - x[:, 1:2]], 1)


def fine_detail_error(a: Tensor, b: Tensor, sure: Tensor) -> Tensor:
    """The same without the blur, and only where `sure` [B, 1, H, W] says that the detail is known:
    there the finest is at hand, and no dots are needed to imitate it. [B, C, H, W] -> [B]"""
    where = F.avg_pool2d(sure[..., 1:, 1:], 8, 4)
    return ((_energy(a) - _energy(b)).abs() * where).mean((1, 2, 3))


def _energy(x: Tensor) -> Tensor:
    """Means of the gradients' magnitude over 8 x 8 pixels, every 4 pixels."""
    dx, dy = x.diff(dim=-1)[..., 1:, :], x.diff(dim=-2)[..., 1:]
    return F.avg_pool2d(torch.sqrt(dx * dx + dy * dy + 1e-6), 8, 4)


def _blurred(x: Tensor) -> Tensor:
    """Means over 3 x 3 pixels, the middle ones weighing most, without a border."""
    for dim in (-1, -2):
        length = x.shape[dim] - 1
        x = x.narrow(dim, 0, length) + x.narrow(dim, 1, length)
        x = 0.25 * (x.narrow(dim, 0, length - 1) + x.narrow(dim, 1, length - 1))
    return x


def charbonnier(x: Tensor, epsilon: float = 0.01) -> Tensor:
    """A smooth L1: mean of sqrt(x^2 + epsilon^2) - epsilon. [B, C, H, W] -> [B]"""
    return (torch.sqrt(x * x + epsilon * epsilon) - epsilon).mean((1, 2, 3))
