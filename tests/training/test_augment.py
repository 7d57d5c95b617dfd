"""Backgrounds, and what they are made of."""

import numpy as np
import pytest
import torch

from training.augment import random_background
from training.rooms import room


def test_backgrounds_come_from_the_generator_alone():
    def drawn(seed):
        return random_background(12, 64, torch.Generator().manual_seed(seed))

    np.random.seed(0)
    first = drawn(3)
    np.random.seed(1)
    torch.manual_seed(1)
    assert torch.equal(first, drawn(3))
    assert not torch.equal(first, drawn(4))
    assert first.shape == (12, 3, 64, 64) and first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("size", [64, 256])
def test_rooms_are_pictures(size):
    for seed in range(40):
        picture = room(size, np.random.default_rng(seed))
        assert picture.shape == (size, size, 3) and picture.dtype == np.float32
        assert np.isfinite(picture).all() and 0 <= picture.min() <= picture.max() <= 1


def test_rooms_are_many_and_have_bright_areas_and_edges():
    rooms = np.stack([room(128, np.random.default_rng(seed)) for seed in range(60)])
    assert rooms.mean((1, 2, 3)).std() > 0.1
    assert (rooms.max((1, 2, 3)) > 0.9).mean() > 0.4
    spread = rooms.std((1, 2)).mean(1)
    assert np.median(spread) > 0.08
    steps = np.abs(np.diff(rooms, axis=2)).max((1, 2, 3))
    assert steps.max() > 4 * np.quantile(steps, 0.1)  # from sharp to far out of focus
