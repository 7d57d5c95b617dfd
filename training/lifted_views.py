"""Splat what was lifted in the frame of an input camera into other cameras."""

from __future__ import annotations

from torch import Tensor

from cuda_kernels.splat import splat
from models.lifter import LiftedGaussians
from training.dataset import intrinsics, relative_cameras


def splat_lifted(
    gaussians: LiftedGaussians,
    source: Tensor,
    targets: Tensor,
    focal: Tensor,
    size: int,
    threads: int = 1,
) -> Tensor:
    """Views of a batch of people, channels as `splat`'s: colours, uncertainty, depth, alpha.

    Args:
        gaussians: in the frames of the input cameras.
        source: world_to_camera of the inputs. [B, 4, 4]
        targets: world_to_camera of the views. [B, V, 4, 4]
        focal: of the views, in picture widths. [B, V]
        size: edge of the pictures, pixels.
        threads: as in `splat`.

    Returns:
        [B, V, 6, size, size]
    """
    cameras = relative_cameras(source, targets)
    return splat(
        gaussians.means,
        gaussians.axes,
        gaussians.opacities,
        gaussians.colors,
        cameras,
        intrinsics(size, focal),
        size,
        size,
        threads=threads,
    )
