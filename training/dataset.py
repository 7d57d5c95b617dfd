"""Rendered people on disk: shards of views with depth and cameras, read through memory maps.

A folder holds shards written by `visavis-train people`, each a folder of three arrays: `rgba.npy`
uint8 [P, V, 256, 256, 4] (premultiplied), `depth.npy` float16 [P, V, 128, 128] (metres, 0 where
empty) and `camera.npy` float32 [P, V, 18] (world_to_camera row by row, the distance to the head's
origin, the focal length in picture widths). Older shards have 17 numbers, without the focal length,
which is the portrait camera's there; both may lie in one folder. People brought in by
`visavis-train multiview` have no depth (0 everywhere).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.camera import focal_pixels
from models.errors import VisavisError

FOCAL = focal_pixels(1)
"""Focal length of the portrait camera, in picture widths."""


class CorpusError(VisavisError):
    """The people to train on, or to measure with, are not there."""

    default_code = "no_people"


@dataclass
class Views:
    """Some views of some people.

    Attributes:
        rgba: premultiplied, 0..1. [B, V, 4, S, S]
        depth: metres, 0 where empty. [B, V, 1, 128, 128]
        world_to_camera: OpenCV axes, metres. [B, V, 4, 4]
        distance: from the camera to the head's origin along the optical axis, metres. [B, V]
        focal: of the camera, in picture widths. [B, V]
    """

    rgba: Tensor
    depth: Tensor
    world_to_camera: Tensor
    distance: Tensor
    focal: Tensor

    @property
    def nominal_distance(self) -> Tensor:
        """From where the portrait camera sees as much at the head's origin: where a live call
        takes every camera to be, not knowing better. Metres. [B, V]"""
        return self.distance * FOCAL / self.focal

    def to(self, device: torch.device) -> Views:
        """The same views there."""
        return Views(*(getattr(self, field.name).to(device) for field in fields(self)))

    def mirrored(self, which: Tensor) -> Views:
        """The same views with the people of the boolean mask `which` [B] seen in a mirror."""
        flip = torch.where(which, -1.0, 1.0)
        sign = torch.ones(len(which), 1, 4, 1)
        sign[:, 0, 0, 0] = flip
        pick = which.view(-1, 1, 1, 1, 1)
        return Views(
            torch.where(pick, self.rgba.flip(-1), self.rgba),
            torch.where(pick, self.depth.flip(-1), self.depth),
            sign * self.world_to_camera * sign.transpose(-1, -2),
            self.distance,
            self.focal,
        )


class People:
    """All shards of a folder that are complete; `refresh` picks up those finished since."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._shards: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._starts = np.zeros(1, np.int64)
        self.refresh()
        if not len(self):
            raise CorpusError(
                f"There are no rendered people in {folder}. Make some with: visavis-train people"
            )

    def refresh(self) -> None:
        """Map shards that have been finished since the last call."""
        for shard in sorted(self.folder.glob("shard_*")):
            files = [shard / f"{part}.npy" for part in ("rgba", "depth", "camera")]
            if shard.name not in self._shards and all(file.exists() for file in files):
                if shard.suffix != ".part":
                    rgba, depth, camera = (np.load(file, mmap_mode="r") for file in files)
                    self._shards[shard.name] = (rgba, depth, camera)
        counts = [len(self._shards[name][0]) for name in sorted(self._shards)]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def views_per_person(self) -> int:
        return int(next(iter(self._shards.values()))[0].shape[1])

    @property
    def picture_size(self) -> int:
        """Edge of the stored pictures, pixels."""
        return int(next(iter(self._shards.values()))[0].shape[2])

    def views(self, people: np.ndarray, views: np.ndarray, size: int = 256) -> Views:
        """Read views `views` [B, V] of people `people` [B], at `size` pixels: theirs or a divisor.

        Raises:
            CorpusError: their pictures are smaller.
        """
        names = sorted(self._shards)
        rgba, depth, camera = [], [], []
        for person, chosen in zip(people, views, strict=True):
            shard = int(np.searchsorted(self._starts, person, "right")) - 1
            arrays = self._shards[names[shard]]
            row = person - self._starts[shard]
            rgba.append(np.stack([arrays[0][row, v] for v in chosen]))
            depth.append(np.stack([arrays[1][row, v] for v in chosen]))
            camera.append(np.stack([_with_focal(arrays[2][row, v]) for v in chosen]))
        picture = torch.from_numpy(np.stack(rgba)).permute(0, 1, 4, 2, 3).float().div_(255)
        stored = picture.shape[-1]
        if size > stored:
            raise CorpusError(
                f"Pictures of {size} pixels are wanted, and these people's have {stored}. "
                "Render them with --layout grid."
            )
        if size != stored:
            factor = stored // size
            picture = F.avg_pool2d(picture.flatten(0, 1), factor).unflatten(0, picture.shape[:2])
        cameras = torch.from_numpy(np.stack(camera)).float()
        return Views(
            picture,
            torch.from_numpy(np.stack(depth)).float()[:, :, None],
            cameras[..., :16].unflatten(-1, (4, 4)),
            cameras[..., 16],
            cameras[..., 17],
        )


def _with_focal(numbers: np.ndarray) -> np.ndarray:
    """The 18 numbers of a camera; the portrait camera's focal length where they are 17."""
    return numbers if len(numbers) == 18 else np.append(numbers, np.float32(FOCAL))


def relative_cameras(source: Tensor, target: Tensor) -> Tensor:
    """From the source camera's frame to each target camera's: target @ source^-1.

    Args:
        source: world_to_camera. [B, 4, 4]
        target: world_to_camera. [B, V, 4, 4]

    Returns:
        [B, V, 4, 4]
    """
    return target @ torch.linalg.inv(source)[:, None]


def camera_points(depth: Tensor, K: Tensor) -> Tensor:
    """Where the pixels of a depth map lie, in its camera's frame, row by row.

    Args:
        depth: metres. [..., S, S]
        K: intrinsics of S x S pixels. [..., 3, 3]

    Returns:
        Metres, [..., 3, S * S]
    """
    axis = torch.arange(depth.shape[-1], device=depth.device, dtype=depth.dtype) + 0.5
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    rays = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    return torch.linalg.inv(K) @ rays * depth.flatten(-2)[..., None, :]


def intrinsics(size: int, focal: Tensor) -> Tensor:
    """K of pictures `size` pixels wide from focal lengths [...] in widths. [..., 3, 3]"""
    K = focal.new_zeros(*focal.shape, 3, 3)
    K[..., 0, 0] = K[..., 1, 1] = focal * size
    K[..., :2, 2] = 0.5 * size
    K[..., 2, 2] = 1
    return K
