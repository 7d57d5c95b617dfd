"""Real portraits: single pictures of people, without any second view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import PortraitError
from models.picture import load_picture
from models.portrait import PortraitFinder
from training.dataset import CorpusError


class Portraits:
    """The usable pictures of a folder, each as the lifter would see it.

    Args:
        folder: pictures of one person each; what is no picture, or has no fit face, is left out.

    Attributes:
        image: sRGB 0..1, with the room behind. uint8 [N, 3, 256, 256]
        mask: the person. uint8 [N, 1, 256, 256]
        refused: name and reason of every file that was left out.

    Raises:
        CorpusError: there is no portrait at all.
    """

    def __init__(self, folder: Path) -> None:
        finder = PortraitFinder()
        images, masks = [], []
        self.refused: list[tuple[str, str]] = []
        if not folder.is_dir():
            raise CorpusError(f"There is no folder {folder}.")
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            try:
                portrait = finder.portrait(load_picture(path), strict=False)
            except PortraitError as error:
                self.refused.append((path.name, error.reason))
                continue
            images.append((portrait.image * 255).round().byte())
            masks.append((portrait.mask * 255).round().byte())
        if not images:
            raise CorpusError(f"No file in {folder} is a portrait of one person.")
        self.image, self.mask = torch.stack(images), torch.stack(masks)

    def __len__(self) -> int:
        return len(self.image)

    def draw(
        self, rng: np.random.Generator, noise: torch.Generator, count: int
    ) -> tuple[Tensor, Tensor]:
        """Images [count, 3, 256, 256] and masks [count, 1, 256, 256], half of them mirrored."""
        chosen = torch.from_numpy(rng.integers(0, len(self), count))
        both = torch.cat([self.image[chosen], self.mask[chosen]], 1).float() / 255
        mirror = torch.rand(count, 1, 1, 1, generator=noise) < 0.5
        both = torch.where(mirror, both.flip(-1), both)
        return both[:, :3], both[:, 3:]
