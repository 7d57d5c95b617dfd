"""Convolutions in eight bits, in half of the time where a CPU has instructions for them (VNNI).

Static and per tensor for activations, per output channel for weights. Activations are unsigned
codes from one convolution to the next, residual sums and activations included, so that nothing
between two of them is computed in floating point. What the codes stand for (`Range`) is measured
once per network, by `visavis-train calibrate`, on people that it was trained on.

oneDNN computes, through `torch.ops.onednn`. Where its sums of products do not hold such a network
is not offered: see `available`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from models.blocks import upsample
from models.refiner import SLOPE, PortraitAttention

HIGHEST = 255
"""The largest code."""
MIDDLE = 128
"""Code of 0 in pictures, whose channels have a scale each."""


@dataclass(frozen=True)
class Range:
    """What codes 0..255 stand for: `(code - zero) * scale`."""

    scale: float
    zero: int

    @classmethod
    def between(cls, low: float, high: float) -> Range:
        """The range that ends at these values, of which 0 is one. Nothing that was seen is clipped:
        the rarest values are the sharpest edges."""
        low, high = min(low, 0.0), max(high, 1e-6)
        scale = (high - low) / HIGHEST
        return cls(scale, round(-low / scale))


@dataclass
class Codes:
    """Features in eight bits.

    Attributes:
        codes: unsigned, channels last. [B, C, H, W]
        range: what they stand for.
    """

    codes: Tensor
    range: Range

    def values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """What they stand for."""
        return ((self.codes.float() - self.range.zero) * self.range.scale).to(dtype)


PICTURE = Range(1.0, MIDDLE)
"""Of what goes into a network: the scales are in the first convolution's weights."""


def quantise(values: Tensor, range: Range) -> Codes:
    """The nearest codes."""
    scaled = values.float() * (1 / range.scale)
    return Codes(scaled.add_(range.zero + 0.5).clamp_(0, HIGHEST).to(torch.uint8), range)


def activated(x: Codes, slope: float | None) -> Codes:
    """A leaky ReLU of codes, whose slope is 3/32 for 0.1. Others are the convolution's own."""
    if not slope:
        return x
    zero, codes = x.range.zero, x.codes
    # 3/32 in bytes, rounded in the middle of what each shift cuts off: twice as fast as to go by
    # way of floating point.
    assert slope == SLOPE
    below = codes.clamp(max=zero + 2).neg_().add_(zero + 2)
    below = below.bitwise_right_shift_(2).mul_(3).add_(4).bitwise_right_shift_(3)
    return Codes(torch.maximum(codes, below.neg_().add_(zero)), x.range)


class Int8Conv(nn.Module):
    """Takes a Conv2d's place: see `models.blocks.convolve` and its like. Packs its weights at the
    first call, for pictures of that size.

    Args:
        conv: with trained weights.
        range: of its output, before the activation; None for an output in floating point.
        picture: for a convolution of pictures, how large their channels become.
        dtype: of an output in floating point.

    Attributes:
        enlarged: for a convolution of pictures, codes per unit of their channels. [C, 1, 1]
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        range: Range | None,
        picture: Sequence[float] | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._range, self._dtype = range, dtype
        assert conv.dilation == (1, 1) and conv.groups == 1 and isinstance(conv.padding, tuple)
        self._stride, self._padding = list(conv.stride), list(conv.padding)
        weight = conv.weight.detach().float()
        largest = torch.tensor([127.0] if picture is None else picture)
        self.enlarged = 127 / largest.view(-1, 1, 1).clamp(min=1e-6)
        weight = weight / self.enlarged
        self._scales = weight.abs().amax((1, 2, 3)).clamp(min=1e-8) / 127
        self._weight = (weight / self._scales.view(-1, 1, 1, 1)).round().to(torch.int8)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        bias = torch.zeros(len(weight)) if conv.bias is None else conv.bias
        self._bias = bias.detach().float().clone()
        self._packed: Tensor | None
        self.register_buffer("_packed", None)

    def convolve(self, x: Tensor | Codes, slope: float | None) -> Tensor | Codes:
        """See `models.blocks.convolve`. Pictures may be in floating point."""
        if isinstance(x, Tensor):
            x = self.picture(x)
        out = _convolution(*self._operands(x), *self._output(), slope == 0)
        return out if self._range is None else activated(Codes(out, self._range), slope)

    def convolve_onto(self, x: Codes, base: Codes, slope: float | None) -> Codes:
        """See `models.blocks.convolve_onto`."""
        assert self._range is not None
        onto = base.codes, base.range.scale, base.range.zero
        out = _convolution_onto(*self._operands(x), *self._output(), slope == 0, *onto)
        return activated(Codes(out, self._range), slope)

    def join(self, coarse: Codes, fine: Codes) -> Codes:
        """See `models.blocks.join`; enlarged first, so that the convolution itself adds."""
        return self.convolve_onto(Codes(upsample(coarse.codes), coarse.range), fine, None)

    def picture(self, x: Tensor) -> Codes:
        """A network's input in floating point, as codes. [B, C, H, W]"""
        codes = quantise(x.float() * self.enlarged, PICTURE).codes
        return Codes(codes.contiguous(memory_format=torch.channels_last), PICTURE)

    def _operands(self, x: Codes) -> tuple[Any, ...]:
        source = x.range
        if self._packed is None:
            self._packed = torch.ops.onednn.qconv_prepack(
                self._weight,
                self._scales,
                source.scale,
                source.zero,
                self._stride,
                self._padding,
                [1, 1],
                1,
                x.codes.shape,
            )
        packed = self._packed, self._scales, self._zeros, self._bias, self._stride, self._padding
        return x.codes, source.scale, source.zero, *packed

    def _output(self) -> tuple[float, int, torch.dtype]:
        if self._range is None:
            return 1.0, 0, self._dtype
        return self._range.scale, self._range.zero, torch.uint8


def _plain_convolution(
    codes: Tensor,
    source_scale: float,
    source_zero: int,
    packed: Tensor,
    scales: Tensor,
    zeros: Tensor,
    bias: Tensor,
    stride: list[int],
    padding: list[int],
    scale: float,
    zero: int,
    kind: int,
    relu: bool,
) -> Tensor:
    out: Tensor = torch.ops.onednn.qconv2d_pointwise(
        codes,
        source_scale,
        source_zero,
        packed,
        scales,
        zeros,
        bias,
        stride,
        padding,
        [1, 1],
        1,
        scale,
        zero,
        kind,
        "relu" if relu else "none",
        [],
        "",
    )
    return out


def _plain_convolution_onto(
    codes: Tensor,
    source_scale: float,
    source_zero: int,
    packed: Tensor,
    scales: Tensor,
    zeros: Tensor,
    bias: Tensor,
    stride: list[int],
    padding: list[int],
    scale: float,
    zero: int,
    kind: int,
    relu: bool,
    base: Tensor,
    base_scale: float,
    base_zero: int,
) -> Tensor:
    out: Tensor = torch.ops.onednn.qconv2d_pointwise(
        codes,
        source_scale,
        source_zero,
        packed,
        scales,
        zeros,
        base,
        bias,
        stride,
        padding,
        [1, 1],
        1,
        scale,
        zero,
        kind,
        base_scale,
        base_zero,
        "sum",
        1.0,
        "relu" if relu else "none",
        [],
        "",
    )
    return out


with warnings.catch_warnings():
    # TorchScript, because a trace cannot hold the operators' empty lists of other activations'
    # numbers; and torch would rather see torch.compile: see `models.compiled_refiner`.
    warnings.simplefilter("ignore")
    _convolution, _convolution_onto = (
        torch.jit.script(function) for function in (_plain_convolution, _plain_convolution_onto)
    )


@cache
def available() -> bool:
    """Whether this CPU computes rightly in eight bits. Without VNNI, two products of large numbers
    are added in sixteen bits, which cannot hold them."""
    conv = nn.Conv2d(64, 16, 3, padding=1, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    largest = Codes(torch.full((1, 64, 8, 8), HIGHEST, dtype=torch.uint8), Range(1.0, 0))
    largest.codes = largest.codes.contiguous(memory_format=torch.channels_last)
    try:
        found = Int8Conv(conv, None, None, torch.float32).convolve(largest, None)
    except (RuntimeError, AttributeError):  # oneDNN has no such operators here
        return False
    assert isinstance(found, Tensor)
    return bool(((found[..., 1:-1, 1:-1] / (64 * 9 * HIGHEST) - 1).abs() < 1e-4).all())


class Int8Attention(nn.Module):
    """`PortraitAttention`, which stays in floating point, among features in eight bits.

    Args:
        attention: as it is.
        range: of its output.
        dtype: to compute in.
    """

    def __init__(self, attention: PortraitAttention, range: Range, dtype: torch.dtype) -> None:
        super().__init__()
        self._attention, self._range, self._dtype = attention.to(dtype), range, dtype

    def portrait(self, features: Codes) -> Tensor:
        """See `PortraitAttention.portrait`."""
        return self._attention.portrait(features.values(self._dtype))

    def forward(self, x: Codes, portrait: Tensor) -> Codes:
        """See `PortraitAttention.forward`."""
        return quantise(self._attention(x.values(self._dtype), portrait), self._range)
