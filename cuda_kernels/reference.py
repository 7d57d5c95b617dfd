"""Plain torch references of the kernels: short, slow, in any floating point type."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ALPHA = 0.99
MIN_ALPHA = 1 / 255
SEEN_LIMIT = 1e-3


def _first_that_fit(
    centre: Tensor, reach: Tensor, width: int, height: int, capacity: int | None
) -> Tensor:
    """Which Gaussians, taken front to back, have at most `capacity` pairs with tiles. bool [N]"""
    last = torch.tensor([width - 1, height - 1], dtype=centre.dtype)
    first_pixel = torch.ceil(centre - reach - 0.5).clamp(min=0)
    last_pixel = torch.minimum(torch.floor(centre + reach - 0.5), last)
    tiles = (last_pixel // 16 - first_pixel // 16 + 1).prod(-1)
    pairs = torch.where((first_pixel <= last_pixel).all(-1), tiles, 0.0)
    if capacity is None:
        return torch.ones_like(pairs, dtype=torch.bool)
    return pairs.cumsum(0) <= capacity


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
    capacity: int | None,
) -> Tensor:
    """One view of one set; arguments and result as in `splat`, without B and V."""
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

    # How far alpha reaches 1/255: half the width and height of a box around the ellipse, pixels.
    reach = (2 * torch.log(opacities * 255)).clamp(min=0)[:, None]
    reach = torch.sqrt(reach * torch.diagonal(sigma, dim1=1, dim2=2)).detach() + 1e-3
    fits = _first_that_fit(torch.stack([u, v], -1).detach(), reach, width, height, capacity)

    px = torch.arange(width, dtype=z.dtype) + 0.5
    py = torch.arange(height, dtype=z.dtype) + 0.5
    dx = (px - u[:, None])[:, None, :]  # [N, 1, W]
    dy = (py - v[:, None])[:, :, None]  # [N, H, 1]
    a, b, c = (inverse[:, i, j][:, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (a * dx**2 + 2 * b * dx * dy + c * dy**2))
    counted = (alpha >= MIN_ALPHA) & fits[:, None, None]
    alpha = torch.where(counted, alpha.clamp(max=MAX_ALPHA), 0.0)  # [N, H, W]

    def shining_through(alpha: Tensor) -> Tensor:
        """How much of Gaussian n is not hidden by those before it. [N, H, W]"""
        through = torch.cumprod(1 - alpha, 0)
        return torch.cat([torch.ones_like(through[:1]), through[:-1]])

    alpha = torch.where(shining_through(alpha).detach() >= SEEN_LIMIT, alpha, 0.0)
    weight = alpha * shining_through(alpha)
    values = torch.cat([colors, z[:, None], torch.ones_like(z)[:, None]], -1)  # [N, C + 2]
    return torch.einsum("nhw,nc->chw", weight, values)


def splat_reference(
    means: Tensor,
    axes: Tensor,
    opacities: Tensor,
    colors: Tensor,
    world_to_camera: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    eps2d: float = 0.1,
    near: float = 0.05,
    threads: int = 1,
    capacity: int | None = None,
) -> Tensor:
    """What `cuda_kernels.splat.splat` computes, by naive means: memory is B * V * N * H * W.

    Arguments and result are those of `splat`; `threads` is taken and ignored.
    """
    del threads
    views = [
        _splat_view(
            *(means[b], axes[b], opacities[b], colors[b], world_to_camera[b, v], K[b, v]),
            width,
            height,
            eps2d,
            near,
            capacity,
        )
        for b in range(world_to_camera.shape[0])
        for v in range(world_to_camera.shape[1])
    ]
    return torch.stack(views).view(*world_to_camera.shape[:2], -1, height, width)


def rgb_to_i420_reference(rgb: Tensor) -> Tensor:
    """What `cuda_kernels.i420.rgb_to_i420` computes; arguments and result are the same."""
    rgb = rgb.reshape(-1, *rgb.shape[-3:]).double().clamp(0, 1)
    B, _, H, W = rgb.shape
    matrix = torch.tensor(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]],
        dtype=rgb.dtype,
    )
    luma = torch.einsum("c,bchw->bhw", matrix[0], rgb) + 16
    chroma = torch.einsum("kc,bchw->bkhw", matrix[1:], F.avg_pool2d(rgb, 2)) + 128
    frame = torch.cat([luma.flatten(1), chroma.flatten(1)], 1)
    return torch.floor(frame + 0.5).to(torch.uint8).view(B, H * 3 // 2, W)


def rgb_to_nv12_reference(rgb: Tensor) -> Tensor:
    """What `cuda_kernels.i420.rgb_to_nv12` computes: I420 with U and V in turns."""
    frame = rgb_to_i420_reference(rgb)
    B, rows, W = frame.shape
    height = rows * 2 // 3
    pairs = frame[:, height:].reshape(B, 2, -1).mT.reshape(B, height // 2, W)
    return torch.cat([frame[:, :height], pairs], 1)
