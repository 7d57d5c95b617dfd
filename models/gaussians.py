"""A set of coloured Gaussian discs in head space: what a portrait is lifted to."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor

DISC_THICKNESS = 1e-5
"""Metres; the third scale of a disc where a format or a viewer wants one."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussian discs. The covariance of a disc is a0 a0^T + a1 a1^T.

    Args:
        means: centres, metres. [N, 3]
        axes: half axes at one standard deviation, metres; they need not be orthogonal. [N, 2, 3]
        opacities: 0..1. [N]
        colors: sRGB 0..1, then uncertainty 0..1 (1: never seen in the portrait). [N, 4]
    """

    means: Tensor
    axes: Tensor
    opacities: Tensor
    colors: Tensor

    def __post_init__(self) -> None:
        n = len(self.means)
        shapes = [tuple(t.shape) for t in (self.means, self.axes, self.opacities, self.colors)]
        if shapes != [(n, 3), (n, 2, 3), (n,), (n, 4)]:
            raise ValueError(f"expected [N, 3], [N, 2, 3], [N], [N, 4], got {shapes}")

    def __len__(self) -> int:
        return len(self.means)

    def moved(self, transform: Tensor) -> Gaussians:
        """The same discs after a rigid transform.

        Args:
            transform: such as head_from_camera. [4, 4]
        """
        transform = transform.to(self.means)
        rotation = transform[:3, :3]
        return Gaussians(
            self.means @ rotation.T + transform[:3, 3],
            self.axes @ rotation.T,
            self.opacities,
            self.colors,
        )

    def quats_scales(self) -> tuple[Tensor, Tensor]:
        """The discs as rotations and standard deviations, the form other splatting software uses.

        Returns:
            quats: unit, wxyz, w >= 0; their rotation's columns are the principal axes, the disc's
                normal last. [N, 4]
            scales: metres, the third is `DISC_THICKNESS` or a tenth of the second, whichever is
                smaller. [N, 3]
        """
        a0, a1 = self.axes.detach().double().unbind(1)  # [N, 3] each
        # One Jacobi rotation in the plane of the disc makes the half axes orthogonal and keeps the
        # covariance.
        angle = 0.5 * torch.atan2(2 * (a0 * a1).sum(-1), (a0 * a0).sum(-1) - (a1 * a1).sum(-1))
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        b0, b1 = c * a0 + s * a1, c * a1 - s * a0
        s0, s1 = b0.norm(dim=-1), b1.norm(dim=-1)  # s0 >= s1
        u0 = _unit(b0, s0, torch.eye(3, dtype=b0.dtype, device=b0.device)[0].expand_as(b0))
        # A needle or a point has no second direction of its own: any one across the first will do.
        weakest = torch.nn.functional.one_hot(u0.abs().argmin(-1), 3).to(u0)
        across = torch.linalg.cross(u0, weakest)
        across = across / across.norm(dim=-1, keepdim=True)
        u1 = _unit(b1, torch.where(s1 > 1e-7 * s0, s1, 0), across)
        u1 = u1 - (u1 * u0).sum(-1, keepdim=True) * u0
        u1 = u1 / u1.norm(dim=-1, keepdim=True)
        rotation = torch.stack([u0, u1, torch.linalg.cross(u0, u1)], -1)  # columns, [N, 3, 3]
        thin = (0.1 * s1).clamp(max=DISC_THICKNESS)
        scales = torch.stack([s0, s1, thin], -1)
        return _quaternions(rotation).to(self.axes.dtype), scales.to(self.axes.dtype)

    def save_ply(self, path: str | PathLike[str]) -> None:
        """Write the standard 3D Gaussian splatting PLY; see `models.ply.write_ply`."""
        from models.ply import write_ply

        write_ply(path, self)


def _unit(vectors: Tensor, lengths: Tensor, fallback: Tensor) -> Tensor:
    """Vectors divided by their lengths; the fallback where a length is 0. [N, 3]"""
    some = (lengths > 0)[:, None]
    return torch.where(some, vectors / lengths.clamp(min=1e-300)[:, None], fallback)


def _quaternions(rotation: Tensor) -> Tensor:
    """Unit quaternions wxyz, w >= 0, of rotation matrices. [N, 3, 3] -> [N, 4]

    Of the four equivalent formulas each rotation takes the one with the largest divisor (Shepperd
    1978).
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = rotation.flatten(1).unbind(1)
    w, x, y, z = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    yz, zx, xy = m21 - m12, m02 - m20, m10 - m01
    candidates = torch.stack(
        [
            torch.stack([w, yz, zx, xy], -1),
            torch.stack([yz, x, m01 + m10, m02 + m20], -1),
            torch.stack([zx, m01 + m10, y, m12 + m21], -1),
            torch.stack([xy, m02 + m20, m12 + m21, z], -1),
        ],
        1,
    )  # [N, 4, 4], each row a multiple of the quaternion
    best = torch.stack([w, x, y, z], -1).argmax(-1)
    quats = candidates[torch.arange(len(best), device=best.device), best]
    quats = quats / quats.norm(dim=-1, keepdim=True)
    return torch.where(quats[:, :1] < 0, -quats, quats)
