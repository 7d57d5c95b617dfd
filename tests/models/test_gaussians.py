import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.gaussians import Gaussians
from models.ply import SH_C0, write_ply


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices by the sandwich product of quaternions, apart from the code under test."""

    def product(a: Tensor, b: Tensor) -> Tensor:
        w1, v1, w2, v2 = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
        w = w1 * w2 - (v1 * v2).sum(-1, keepdim=True)
        return torch.cat([w, w1 * v2 + w2 * v1 + torch.linalg.cross(v1, v2)], -1)

    conjugate = quats * torch.tensor([1.0, -1.0, -1.0, -1.0])
    columns = []
    for axis in torch.eye(3, dtype=quats.dtype):
        pure = torch.cat([torch.zeros(1, dtype=quats.dtype), axis]).expand_as(quats)
        columns.append(product(product(quats, pure), conjugate)[..., 1:])
    return torch.stack(columns, -1)


def discs(kind: str, n: int = 200) -> Gaussians:
    draw = torch.Generator().manual_seed(0)
    axes = torch.randn(n, 2, 3, generator=draw) * 0.01
    if kind == "needle":
        axes[:, 1] = 0.5 * axes[:, 0]
    elif kind == "half":
        axes[:, 0] = 0
    elif kind == "point":
        axes = torch.zeros_like(axes)
    elif kind == "round":
        axes[:, 0] = torch.tensor([0.01, 0, 0])
        axes[:, 1] = torch.tensor([0, 0, -0.01])
    return Gaussians(
        torch.randn(n, 3, generator=draw),
        axes,
        torch.rand(n, generator=draw),
        torch.rand(n, 4, generator=draw),
    )


KINDS = ["any", "needle", "half", "point", "round"]


@pytest.mark.parametrize("kind", KINDS)
def test_quats_and_scales_keep_the_covariance(kind: str) -> None:
    gaussians = discs(kind)
    quats, scales = gaussians.quats_scales()
    torch.testing.assert_close(quats.norm(dim=-1), torch.ones(len(gaussians)))
    assert (quats[:, 0] >= 0).all()
    assert (scales >= 0).all() and (scales[:, 2] <= 1e-5).all()
    turn = rotations(quats)
    covariance = turn @ torch.diag_embed(scales**2) @ turn.mT
    axes = gaussians.axes
    expected = axes[:, 0, :, None] * axes[:, 0, None] + axes[:, 1, :, None] * axes[:, 1, None]
    torch.testing.assert_close(covariance, expected, atol=2e-9, rtol=1e-4)


def test_quaternions_of_half_turns() -> None:
    # Traces of -1, where the textbook formula divides by zero.
    axes = torch.tensor([[[-1.0, 0, 0], [0, -0.5, 0]], [[1, 0, 0], [0, -0.5, 0]]]) * 0.01
    gaussians = Gaussians(torch.zeros(2, 3), axes, torch.ones(2), torch.ones(2, 4))
    assert torch.isfinite(gaussians.quats_scales()[0]).all()


def test_moved_moves_every_disc() -> None:
    gaussians = discs("any", 5)
    transform = torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    moved = gaussians.moved(transform)
    tip = gaussians.means + gaussians.axes[:, 0]
    moved_tip = torch.cat([tip, torch.ones(5, 1)], 1) @ transform.T
    torch.testing.assert_close(moved.means + moved.axes[:, 0], moved_tip[:, :3])


def test_refuses_arrays_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="expected"):
        Gaussians(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 4))


def read_ply(path: Path) -> tuple[list[str], dict[str, list[float]]]:
    """A reader by the PLY description, value by value."""
    data = path.read_bytes()
    head, body = data.split(b"end_header\n", 1)
    lines = head.decode("ascii").splitlines()
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex "))
    assert len(body) == count * len(names) * 4
    rows = list(struct.iter_unpack("<" + "f" * len(names), body))
    return lines, {name: [row[i] for row in rows] for i, name in enumerate(names)}


@pytest.mark.parametrize("kind", KINDS)
def test_ply_read_back_is_the_same_set_of_discs(kind: str, tmp_path: Path) -> None:
    gaussians = discs(kind)
    gaussians.save_ply(tmp_path / "avatar.ply")
    lines, columns = read_ply(tmp_path / "avatar.ply")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert (
        list(columns)
        == (
            "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 "
            "rot_0 rot_1 rot_2 rot_3"
        ).split()
    )

    def column(*names: str) -> np.ndarray:
        return np.array([columns[name] for name in names]).T

    np.testing.assert_allclose(column("x", "y", "z"), gaussians.means, rtol=1e-6)
    colours = 0.5 + SH_C0 * column("f_dc_0", "f_dc_1", "f_dc_2")
    np.testing.assert_allclose(colours, gaussians.colors[:, :3], atol=1e-6)
    opacity = 1 / (1 + np.exp(-column("opacity")[:, 0]))
    np.testing.assert_allclose(opacity, gaussians.opacities, atol=2e-6)
    turn = rotations(torch.tensor(column("rot_0", "rot_1", "rot_2", "rot_3"), dtype=torch.float32))
    scales = torch.tensor(np.exp(column("scale_0", "scale_1", "scale_2")), dtype=torch.float32)
    covariance = turn @ torch.diag_embed(scales**2) @ turn.mT
    expected = gaussians.axes.mT @ gaussians.axes
    torch.testing.assert_close(covariance, expected, atol=2e-9, rtol=1e-4)
    normals = torch.tensor(column("nx", "ny", "nz"), dtype=torch.float32)
    torch.testing.assert_close(normals, turn[:, :, 2], atol=1e-5, rtol=0)


def test_ply_is_finite_at_the_ends_of_opacity_and_colour(tmp_path: Path) -> None:
    gaussians = Gaussians(
        torch.zeros(2, 3), torch.zeros(2, 2, 3), torch.tensor([0.0, 1.0]), torch.zeros(2, 4)
    )
    write_ply(tmp_path / "ends.ply", gaussians, sh_degree=3)
    _, columns = read_ply(tmp_path / "ends.ply")
    assert sum(name.startswith("f_rest_") for name in columns) == 45
    assert np.isfinite(np.array(list(columns.values()))).all()


def test_an_empty_set_is_a_valid_file(tmp_path: Path) -> None:
    empty = Gaussians(torch.zeros(0, 3), torch.zeros(0, 2, 3), torch.zeros(0), torch.zeros(0, 4))
    empty.save_ply(tmp_path / "empty.ply")
    assert "element vertex 0" in read_ply(tmp_path / "empty.ply")[0]
