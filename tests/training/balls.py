"""People who are shaded balls, seen by real cameras: rendered in closed form."""

from __future__ import annotations

import numpy as np

from models.camera import viewpoint_camera
from models.viewpoint import Viewpoint

YAWS = (2, -6, -45, -30, -15, 15, 30, 45)
LIGHT = np.array([1.0, 0.0, 0.0])
RADIUS = 0.1


def ball(
    yaw: float, color: np.ndarray, pitch: float = 0.0, size: int = 256
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGBA, depth at 128 pixels and camera of a ball in the middle of head space.

    The light stands still while the camera moves, so that all views show the same surface.
    """
    camera = viewpoint_camera(Viewpoint(yaw=yaw, pitch=pitch), size=size)
    K, pose = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
    rgba, z = ball_seen_by(K, pose, size, size, color)
    return rgba, z[:: size // 128, :: size // 128].astype(np.float16), pose


def ball_seen_by(
    K: np.ndarray, pose: np.ndarray, width: int, height: int, color: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied RGBA [H, W, 4] and depth [H, W] from any camera."""
    across, along = np.arange(width) + 0.5, np.arange(height) + 0.5
    x, y = np.meshgrid((across - K[0, 2]) / K[0, 0], (along - K[1, 2]) / K[1, 1])
    ray = np.stack([x, y, np.ones_like(x)], -1)
    centre = pose[:3, 3]
    a, b, c = (ray**2).sum(-1), ray @ centre, centre @ centre - RADIUS**2
    root = b * b - a * c
    hit = root > 0
    z = np.where(hit, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
    normal = ((ray * z[..., None] - centre) / RADIUS) @ pose[:3, :3]
    shade = 0.5 + 0.4 * normal @ LIGHT[:, None] + 0.1 * np.sin(30 * normal[..., 1:2])
    rgb = np.clip(shade * color, 0, 1) * hit[..., None]
    rgba = np.concatenate([rgb, hit[..., None]], -1)
    return (rgba * 255).round().astype(np.uint8), z
