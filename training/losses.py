"""Losses that need no downloaded network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ssim(a: Tensor, b: Tensor, window: int = 7) -> Tensor:
    """Structural similarity per pixel, box window (Wang et al. 2004). [B, C, H, W]"""

    def mean(x: Tensor) -> Tensor:
        # Rows, then columns: 3.5 times fewer additions than a square window of 7.
        x = F.avg_pool2d(x, (1, window), 1, (0, window // 2), count_include_pad=False)
        return F.avg_pool2d(x, (window, 1), 1, (window // 2, 0), count_include_pad=False)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    return ((2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
    )


def gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the pictures' finite differences."""
    return (a.diff(dim=-1) - b.diff(dim=-1)).abs().mean() + (
        a.diff(dim=-2) - b.diff(dim=-2)
    ).abs().mean()


def charbonnier(x: Tensor, epsilon: float = 0.01) -> Tensor:
    """A smooth L1: mean of sqrt(x^2 + epsilon^2) - epsilon."""
    return (torch.sqrt(x * x + epsilon * epsilon) - epsilon).mean()
