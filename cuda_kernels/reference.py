"""Plain torch references of the kernels: slow, short, for any floating point type, and what the tests compare with."""

import torch
from torch import Tensor

MAX_ALPHA = 0.99
MIN_ALPHA = 1 / 255
SEEN_LIMIT = 1e-3


def _splat_view(
    means: Tensor,
    axes: Tensor,
    opacities: Tensor,
    colors: Tensor,
    world_to_camera: Tensor,
    K: Tensor,
    width: int,
    height: int,
    eps2d: float,
    near: float,
) -> Tensor:
    R, t = world_to_camera[:3, :3], world_to_camera[:3, 3]
    centre = means @ R.T + t  # [N, 3], camera frame
    seen = (centre[:, 2] >= near) & (opacities >= MIN_ALPHA)
    order = torch.argsort(centre[seen, 2].detach(), stable=True)
    centre, axes, opacities, colors = (
        t[seen][order] for t in (centre, axes @ R.T, opacities, colors)
    )
    x, y, z = centre.unbind(-1)
    fx, fy = K[0, 0], K[1, 1]
    u, v = fx * x / z + K[0, 2], fy * y / z + K[1, 2]
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], -1)
    screen_axes = axes @ J.view(-1, 2, 3).mT  # [N, 2 axes, 2]
    sigma = screen_axes.mT @ screen_axes + eps2d * torch.eye(2, dtype=z.dtype)  # [N, 2, 2]
    inverse = torch.linalg.inv(sigma)

    px = torch.arange(width, dtype=z.dtype) + 0.5
    py = torch.arange(height, dtype=z.dtype) + 0.5
    dx = (px - u[:, None])[:, None, :]  # [N, 1, W]
    dy = (py - v[:, None])[:, :, None]  # [N, H, 1]
    a, b, c = (inverse[:, i, j][:, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (a * dx**2 + 2 * b * dx * dy + c * dy**2))
    alpha = torch.where(alpha >= MIN_ALPHA, alpha.clamp(max=MAX_ALPHA), 0.0)  # [N, H, W]

    def shining_through(alpha: Tensor) -> Tensor:
        """How much of Gaussian n is not hidden by those before it. [N, H, W]"""
        through = torch.cumprod(1 - alpha, 0)
        return torch.cat([torch.ones_like(through[:1]), through[:-1]])

    alpha = torch.where(shining_through(alpha).detach() >= SEEN_LIMIT, alpha, 0.0)
    weight = alpha * shining_through(alpha)
    values = torch.cat([colors, z[:, None], torch.ones_like(z)[:, None]], -1)  # [N, C + 2]
    return torch.einsum("nhw,nc->chw", weight, values)
