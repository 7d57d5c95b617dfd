"""The kernels against torch are in tests/models/test_following_parts.py; here, depths, and what
they refuse."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cuda_kernels.live_maps import Change, mix_maps, surfaces

RULES = Change(0.25, (0.02, 0.06), (0.3, 1.2))


def test_depths_of_both_layers() -> None:
    torch.manual_seed(0)
    front, back = torch.randn(64, 10), 9 * torch.randn(16, 10)
    back[3, 0] = 200
    depth, behind = surfaces(front, back, 8, 0.75)
    cells = (0.75 + 0.08 * front[:, 0]).view(4, 4, 2, 2)
    torch.testing.assert_close(depth, cells.transpose(1, 2).reshape(8, 8))
    rows = back[:, 0].view(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
    torch.testing.assert_close(behind, cells.mean((2, 3)) + 0.01 + 0.05 * F.softplus(rows))


def arguments() -> dict[str, Any]:
    return {
        "front": torch.zeros(64, 10),
        "back": torch.zeros(16, 10),
        "new_front": torch.ones(64, 10),
        "new_back": torch.ones(16, 10),
        "change": torch.zeros(8, 8),
        "rules": RULES,
    }


def test_a_jump_in_depth_is_new_and_rest_is_not() -> None:
    given = arguments()
    given["new_front"][:32, [0, 5]] = 0
    mix_maps(**given)
    assert torch.equal(given["front"][32:], torch.ones(32, 10))
    torch.testing.assert_close(given["front"][:32, 1], torch.full((32,), 0.25))
    torch.testing.assert_close(given["back"][:8], torch.full((8, 10), 0.25))
    assert torch.equal(given["back"][8:], torch.ones(8, 10))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("front", torch.zeros(64, 9), r"front is torch.float32 \[64, 9\]"),
        ("back", torch.zeros(16, 10).double(), "back is torch.float64"),
        ("new_front", torch.zeros(60, 10), "new_front is"),
        ("new_back", torch.zeros(10, 16).T, "new_back is"),
        ("change", torch.zeros(6, 6), r"front is .* a multiple of 4"),
        ("change", torch.zeros(8, 8, dtype=torch.bool), "change is torch.bool"),
    ],
)
def test_wrong_input(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mix_maps(**{**arguments(), name: value})
