"""The frame loop's splatter: the same picture as `splat`, in buffers that stay."""

import pytest
import torch

from cuda_kernels.splat import splat
from cuda_kernels.splatter import Splatter
from tests.cuda_kernels.scenes import scattered


def one_view(n: int = 50, seed: int = 0) -> list[torch.Tensor]:
    tensors = scattered(B=1, V=1, N=n, seed=seed).tensors(torch.float32)
    return [*(t.detach()[0] for t in tensors[:4]), tensors[4][0, 0], tensors[5][0, 0]]


def expected(view: list[torch.Tensor], **options: int) -> torch.Tensor:
    gaussians, cameras = view[:4], view[4:]
    batch = [*(t[None] for t in gaussians), *(t[None, None] for t in cameras)]
    return splat(*batch, 40, 32, **options)[0, 0]  # type: ignore[arg-type]


def test_same_picture_again_and_again() -> None:
    splatter = Splatter(60, 40, 32)
    pictures = set()
    for seed, n in enumerate((50, 60, 1)):
        view = one_view(n, seed)
        picture = splatter.render(*view)
        assert torch.equal(picture, expected(view))
        pictures.add(picture.data_ptr())
    assert len(pictures) == 1
    assert splatter.left_out == 0


def test_writes_where_it_is_told() -> None:
    out = torch.full((6, 32, 40), torch.nan)
    assert Splatter(50, 40, 32).render(*one_view(), out=out) is out
    assert torch.equal(out, expected(one_view()))


def test_overflow() -> None:
    splatter = Splatter(50, 40, 32, capacity=20)
    assert torch.equal(splatter.render(*one_view()), expected(one_view(), capacity=20))
    assert splatter.left_out > 0


def test_what_does_not_fit() -> None:
    splatter = Splatter(50, 40, 32)
    with pytest.raises(ValueError, match="51 Gaussians of 4 channels do not fit"):
        splatter.render(*one_view(51))
    with pytest.raises(ValueError, match="out must be contiguous float32"):
        splatter.render(*one_view(), out=torch.empty(6, 40, 32))
    with pytest.raises(ValueError, match="needs one Gaussian or more"):
        Splatter(0, 40, 32)
