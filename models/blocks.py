"""The one building block both networks share: dense 3x3 convolutions, ReLU, no norm.

Measured on CPUs with AMX: dense 3x3 + ReLU gives 3.6-5 times the arithmetic per millisecond of
gated or depthwise blocks, which are bound by memory.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Features: TypeAlias = Any
"""What flows between convolutions: a Tensor, or `models.int8.Codes`."""


class ResidualBlock(nn.Module):
    """conv 3x3, activation, conv 3x3, plus the input, activation.

    Args:
        channels: features in and out.
        slope: negative slope of the activation; 0 is a plain ReLU, which fuses best.
    """

    def __init__(self, channels: int, slope: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.slope = slope

    def forward(self, x: Features) -> Features:
        """Map features [B, C, H, W] to the same shape."""
        hidden = convolve(self.first, x, self.slope)
        return convolve_onto(self.second, hidden, x, self.slope)


def convolve(layer: nn.Module, x: Features, slope: float | None = None) -> Features:
    """A convolution, and an activation unless `slope` is None.

    Args:
        layer: a Conv2d, or what `models.int8` puts in its place.
        x: features. [B, C, H, W]
        slope: as in `activate`.
    """
    if isinstance(layer, nn.Conv2d):
        return layer(x) if slope is None else activate(layer(x), slope)
    return layer.convolve(x, slope)  # type: ignore[operator]


def convolve_onto(
    layer: nn.Module, x: Features, base: Features, slope: float | None = None
) -> Features:
    """As `convolve`, with `base` added before the activation. It may be overwritten."""
    if isinstance(layer, nn.Conv2d):
        total = base + layer(x)
        return total if slope is None else activate(total, slope)
    return layer.convolve_onto(x, base, slope)  # type: ignore[operator]


def join(layer: nn.Module, coarse: Features, fine: Features) -> Features:
    """A 1x1 convolution of features of half the resolution, added to `fine`. That may be
    overwritten."""
    if isinstance(layer, nn.Conv2d):
        return upsample(layer(coarse)) + fine
    return layer.join(coarse, fine)  # type: ignore[operator]


def activate(x: Tensor, slope: float) -> Tensor:
    """ReLU for slope 0, leaky ReLU otherwise; in place where autograd allows it."""
    return F.relu_(x) if slope == 0.0 else F.leaky_relu_(x, slope)


def upsample(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by two. [B, C, H, W] -> [B, C, 2H, 2W]"""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def initialise(network: nn.Module, residual_gain: float = 0.3) -> None:
    """Kaiming weights and zero biases.

    The second convolution of each residual block is scaled down, so that a fresh network is close
    to its skip connections and trains from the first step without norms.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", mode="fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                module.second.weight.mul_(residual_gain)
