"""What an ablation leaves out of the networks, so that each part's worth can be measured.

The networks keep their shapes, and their files the format of those that ship. What they were
trained without stands in the settings of the model card beside the weights, and is left out again
where they are measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.lifter import LiftedGaussians
from models.refiner import PICTURE, OneStepRefiner, Refiner
from models.weights import LIFTER, REFINER, weights_folder
from training.dataset import CorpusError


@dataclass(frozen=True)
class Variant:
    """How lifter and refiner are used.

    Attributes:
        layers: of Gaussians; with 1, the back layer is not splatted.
        portrait: whether the refiner gets the portrait's tokens.
        reprojection: whether it gets what the portrait shows of each point of the view.
        map: whether noise is where information is missing, or everywhere the same.
    """

    layers: int = 2
    portrait: bool = True
    reprojection: bool = True
    map: bool = True

    @classmethod
    def of(cls, lifter: Path | None = None, refiner: Path | None = None) -> Variant:
        """What the model cards of weights say; None takes those that ship. Without a card, or a
        word in it, nothing was left out."""
        lifted = settings(lifter or weights_folder() / LIFTER)
        refined = settings(refiner or weights_folder() / REFINER)
        return cls(
            int(lifted.get("layers", 2)),
            not refined.get("no_portrait", False),
            not refined.get("no_reprojection", False),
            not refined.get("no_map", False),
        )

    def kept(self, gaussians: LiftedGaussians) -> LiftedGaussians:
        """Gaussians of the layers that are splatted."""
        if self.layers == 2:
            return gaussians
        front = gaussians.depth[0].numel()  # they stand first: one for each pixel of that map
        return replace(
            gaussians,
            means=gaussians.means[:, :front],
            axes=gaussians.axes[:, :front],
            opacities=gaussians.opacities[:, :front],
            colors=gaussians.colors[:, :front],
        )

    def refine(
        self,
        network: OneStepRefiner,
        render: Tensor,
        noise: Tensor,
        level: Tensor | float,
        tokens: Tensor,
    ) -> Tensor:
        """`OneStepRefiner.refine`, less what is left out of the small one. [B, 4, H, W]"""
        if not self.portrait:
            tokens = tokens[..., :0, :]
        if not self.reprojection:
            render = torch.cat([render[:, :PICTURE], torch.zeros_like(render[:, PICTURE:])], 1)
        if self.map:
            return network.refine(render, noise, level, tokens)
        assert isinstance(network, Refiner)
        sigma = torch.zeros_like(render[:, :1]) + level
        clean = torch.cat([render[:, :3], render[:, 5:6]], 1)
        result: Tensor = network(clean + sigma * noise, render, sigma, tokens)
        return result


def settings(weights: Path) -> dict[str, Any]:
    """The settings of training in the model card beside a file of weights; none without a card.

    Raises:
        CorpusError: the card is no JSON object.
    """
    card = weights.with_suffix(".json")
    told = read_card(card).get("settings") if card.is_file() else None
    return told if isinstance(told, dict) else {}


def read_card(path: Path) -> dict[str, Any]:
    """A model card.

    Raises:
        CorpusError: it is no JSON object.
    """
    try:
        card = json.loads(path.read_text())
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise CorpusError(f"{path} is not a JSON object. Mend it, or take it away.")
    return card
