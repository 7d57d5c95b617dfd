"""Copies of the networks that compute in eight bits, and what has to be measured for them.

A network is run once on people that it was trained on, by `visavis-train calibrate`; how large its
numbers become is kept beside its weights (`models.weights`). `models.int8` is what the copies are
made of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.blocks import activate, convolve, convolve_onto, join
from models.int8 import Int8Attention, Int8Conv, Range
from models.refiner import PortraitAttention


@dataclass(frozen=True)
class Calibration:
    """What a network's numbers are, as `measured` on pictures.

    Attributes:
        ranges: of the outputs of its layers, but for its HEADS; before the activation.
        pictures: per channel, how large the inputs of its STEMS become.
    """

    ranges: dict[str, Range]
    pictures: dict[str, list[float]]


class _Observed(nn.Module):
    """Takes the place of a Conv2d or of the attention, and remembers between what its outputs were,
    before the activation."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.low = self.high = 0.0
        self.picture: Tensor | None = None

    def _note(self, values: Tensor, slope: float | None = None) -> Tensor:
        if slope != 0:
            self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        return values if slope is None else activate(values, slope)

    def convolve(self, x: Tensor, slope: float | None) -> Tensor:
        if self.picture is not None:
            self.picture = torch.maximum(self.picture, x.abs().amax((0, 2, 3)).float())
        return self._note(convolve(self.layer, x), slope)

    def convolve_onto(self, x: Tensor, base: Tensor, slope: float | None) -> Tensor:
        return self._note(convolve_onto(self.layer, x, base), slope)

    def join(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self._note(join(self.layer, coarse, fine))

    def portrait(self, features: Tensor) -> Tensor:
        assert isinstance(self.layer, PortraitAttention)
        return self.layer.portrait(features)

    def forward(self, x: Tensor, portrait: Tensor) -> Tensor:
        return self._note(self.layer(x, portrait))


Network = TypeVar("Network", bound=nn.Module)


def observing(network: Network) -> Network:
    """A copy that computes the same, and remembers for `measured` what it saw."""
    result = _replaced(network, lambda name, layer: _Observed(layer))
    for stem in _names(network, "STEMS"):
        result.get_submodule(stem).picture = torch.zeros(())
    return result


def measured(network: nn.Module) -> Calibration:
    """What a network from `observing` has seen."""
    layers = {n: m for n, m in network.named_modules() if isinstance(m, _Observed)}
    heads = _names(network, "HEADS")
    return Calibration(
        {
            name: Range.between(layer.low, layer.high)
            for name, layer in layers.items()
            if name not in heads
        },
        {
            name: layer.picture.tolist()
            for name, layer in layers.items()
            if layer.picture is not None
        },
    )


def quantised(network: Network, calibration: Calibration, dtype: torch.dtype) -> Network:
    """A copy that computes in eight bits.

    Args:
        network: a Lifter or a Refiner.
        calibration: from `measured`.
        dtype: of the pictures that come out, and of what is not in eight bits.
    """

    def replace(name: str, layer: nn.Module) -> nn.Module:
        if isinstance(layer, PortraitAttention):
            return Int8Attention(layer, calibration.ranges[name], dtype)
        assert isinstance(layer, nn.Conv2d)
        picture = calibration.pictures.get(name)
        return Int8Conv(layer, calibration.ranges.get(name), picture, dtype)

    return _replaced(network, replace)


def _names(network: nn.Module, kind: str) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(network, kind)
    return names


def _replaced(network: Network, replace: Callable[[str, nn.Module], nn.Module]) -> Network:
    result = copy.deepcopy(network)
    kinds = (nn.Conv2d, PortraitAttention)
    for name, layer in [x for x in result.named_modules() if isinstance(x[1], kinds)]:
        parent, _, own = name.rpartition(".")
        setattr(result.get_submodule(parent), own, replace(name, layer))
    return result
