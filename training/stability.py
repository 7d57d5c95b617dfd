"""What a moving viewer sees: whether neighbouring views agree, and what camera noise shakes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.camera import viewpoint_camera
from models.viewpoint import Viewpoint
from training.dataset import FOCAL, People, camera_points, intrinsics
from training.predictions import Networks, on_grey

STEP = 5.0
"""Degrees between neighbouring views."""
YAWS = (-42.5, -22.5, -2.5, 17.5, 37.5)
SHAKEN_YAWS = (0.0, 25.0)
SENSOR_NOISE = 0.02
FRAMES = 6


def consistency(networks: Networks, people: People, limit: int = 0) -> float:
    """PSNR in dB between a view and its neighbour, `STEP` degrees on, warped to it by the depth of
    the raw splat, over pixels that both see."""
    errors = []
    for person in range(min(len(people), limit or len(people))):
        views = people.views(np.array([person]), np.zeros((1, 1), np.int64))
        lifted, distance = networks.lift(views), float(views.nominal_distance[0, 0])
        for yaw in YAWS:
            cameras = _cameras([yaw, yaw + STEP], distance)
            seen = networks.see(lifted, *cameras)
            assert seen.depth is not None
            moved, both = warp(seen.rgba, seen.depth, cameras[0])
            error = ((on_grey(moved) - on_grey(seen.rgba[0])) ** 2).mean(0)[both].mean()
            errors.append(-10 * torch.log10(error.clamp(min=1e-6)))
    return float(torch.stack(errors).mean())


def jitter(networks: Networks, people: People, limit: int = 0) -> float:
    """Standard deviation over frames in 8-bit levels, over the person, when the camera's pictures
    differ by sensor noise alone."""
    generator = torch.Generator().manual_seed(0)
    shakes = []
    for person in range(min(len(people), limit or len(people))):
        views = people.views(np.array([person]), np.zeros((1, 1), np.int64))
        cameras = _cameras(list(SHAKEN_YAWS), float(views.nominal_distance[0, 0]))
        frames = []
        for _ in range(FRAMES):
            noise = torch.randn(1, 3, *views.rgba.shape[-2:], generator=generator) * SENSOR_NOISE
            frames.append(networks.see(networks.lift(views, noise), *cameras).rgba)
        pictures = torch.stack(frames)
        covered = pictures[:, :, 3].mean(0) > 0.9
        shake = on_grey(pictures).std(0).mean(1) * 255
        shakes.append(shake[covered].mean())
    return float(torch.stack(shakes).mean())


def _cameras(yaws: list[float], distance: float) -> tuple[Tensor, Tensor, Tensor]:
    """world_to_camera [V, 4, 4], distances [V] and focal lengths [V]."""
    cameras = [viewpoint_camera(Viewpoint(yaw=yaw), distance).world_to_camera for yaw in yaws]
    distances = torch.full((len(yaws),), distance)
    return torch.stack(cameras), distances, torch.full_like(distances, FOCAL)


def warp(
    pictures: Tensor, depth: Tensor, cameras: Tensor, focal: Tensor | float = FOCAL
) -> tuple[Tensor, Tensor]:
    """View 1 as view 0 sees it [..., C, S, S], and where both see the same surface [..., S, S].

    Differentiable in the pictures alone: where a surface lies is not for their agreement to move.

    Args:
        pictures: two views, premultiplied; channel 3 is alpha. [..., 2, C, S, S]
        depth: metres, where alpha is not small. [..., 2, S, S]
        cameras: world_to_camera. [..., 2, 4, 4]
        focal: of both cameras, in picture widths. [...]
    """
    size, batch = pictures.shape[-1], pictures.shape[:-4]
    depth = depth.detach()
    K = intrinsics(size, torch.as_tensor(focal, dtype=depth.dtype, device=depth.device))
    points = camera_points(depth[..., 0, :, :], K)
    move = cameras[..., 1, :, :] @ torch.linalg.inv(cameras[..., 0, :, :])
    there = move[..., :3, :3] @ points + move[..., :3, 3:]
    far = there[..., 2:, :]
    pixel = (K @ there)[..., :2, :] / far.clamp(min=1e-3)
    grid = (pixel / size * 2 - 1).transpose(-1, -2).reshape(-1, size, size, 2)
    source = torch.cat([pictures[..., 1, :, :, :], depth[..., 1:, :, :]], -3)
    sampled = F.grid_sample(
        source.reshape(-1, *source.shape[-3:]), grid, mode="bilinear", align_corners=False
    ).view(*batch, -1, size, size)
    moved, near = sampled[..., :-1, :, :], sampled[..., -1, :, :]
    same = (near - far.reshape(*batch, size, size)).abs() < 0.01
    solid = (pictures[..., 0, 3, :, :] > 0.95) & (moved[..., 3, :, :] > 0.95)
    return moved, solid & same
