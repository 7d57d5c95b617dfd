"""The kernel against torch is in tests/models/test_following_parts.py; here, what it refuses."""

from typing import Any

import pytest
import torch

from cuda_kernels.live_discs import Discs, Rules

RULES = Rules(0.2, 0.01, 0.45, 0.3, 1.0, 0.01, 0.0)


def layer(size: int = 6) -> dict[str, Any]:
    maps = torch.zeros(size * size, 10)
    maps[:, 5] = -1
    return {
        "maps": maps,
        "depth": torch.full((size, size), 0.75),
        "picture": torch.rand(3, size, size),
        "rules": RULES,
        "pose": torch.tensor([1.0, 0, 0, 0, -0.75]),
    }


def test_those_that_are_kept_stand_behind_each_other() -> None:
    discs, some = Discs(72), layer()
    discs.add(**some)
    assert discs.count == 0
    chosen = [0, 3, 17, 35]
    some["maps"][chosen, 5] = 1
    discs.add(**some)
    discs.add(**some)
    assert discs.count == 8
    assert torch.equal(discs.means[:4], discs.means[4:8])
    # Cells of 2 x 2 pixels: pixel 3 of cell 0 is in row 1 and column 1.
    shown = discs.colors[:4, :3]
    rows, columns = [0, 1, 2, 5], [0, 1, 3, 5]
    assert torch.allclose(shown, some["picture"][:, rows, columns].T, atol=1e-6)
    assert torch.allclose(discs.means[:4, 2], torch.zeros(4), atol=1e-6)


def test_what_is_not_a_number_is_not_kept() -> None:
    discs, some = Discs(36), layer()
    some["maps"][:] = torch.nan
    discs.add(**some)
    assert discs.count == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("maps", torch.zeros(36, 9), r"maps is torch.float32 \[36, 9\]"),
        ("depth", torch.zeros(6, 6).double(), "depth is torch.float64"),
        ("picture", torch.zeros(6, 6, 3).permute(2, 0, 1), "picture is"),
        ("pose", torch.zeros(4), "pose is"),
    ],
)
def test_wrong_input(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Discs(72).add(**{**layer(), name: value})


def test_no_room() -> None:
    with pytest.raises(ValueError, match="no room for 36 more"):
        Discs(35).add(**layer())
