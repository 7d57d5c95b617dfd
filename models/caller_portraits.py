"""From the camera frames of one caller to portraits that rest where the caller rests.

What `models.portrait` does for one picture, for each next one at a tenth of the cost, and smoothed
in time: the crop by a One-Euro filter, the pixels by a `StillFilter`, the silhouette with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.camera import NOMINAL_DISTANCE
from models.face_models import Affine, Floats, Picture, mapped, sample
from models.face_tracker import FaceTracker
from models.frame_check import live_words
from models.live_mask import LiveMask
from models.portrait import (
    SIZE,
    Portrait,
    PortraitFinder,
    checked_picture,
    enlarged,
    head_from_rolled,
)
from models.still_filter import StillFilter


@dataclass(frozen=True, eq=False)
class LivePortrait:
    """As `models.portrait.Portrait`, of one frame of a caller.

    Args:
        image: sRGB 0..1. [3, 256, 256]
        fine: as `Portrait.fine`. [3, F, F]
        mask: the person, 0..1. [1, 256, 256]
        distance: metres.
        head_from_camera: [4, 4]
        change: 0 where nothing has changed since the last portrait, 1 where all is new.
            [256, 256]
        landmarks: pixels of the portrait. [468, 2]
        rotation: from the head to the portrait's camera, as measured. [3, 3]
    """

    image: Tensor
    fine: Tensor
    mask: Tensor
    distance: float
    head_from_camera: Tensor
    change: Tensor
    landmarks: Floats
    rotation: Affine


@dataclass(frozen=True)
class Held:
    """A frame that cannot be lifted: the code and the words of `models.frame_check`."""

    code: str
    reason: str


class CallerPortraits:
    """Portraits of one caller. One thread at a time calls it.

    Args:
        finder: asked when the face was lost.
        enrolment: the portrait that the caller began with; the others are as fine.
        smooth: False leaves out all smoothing in time.
    """

    def __init__(self, finder: PortraitFinder, enrolment: Portrait, smooth: bool = True) -> None:
        self._fine = enrolment.fine.shape[-1]
        self._tracker = FaceTracker(finder, SIZE, smooth)
        image = (enrolment.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        self._mask = LiveMask(image, enrolment.mask[0].numpy())
        self._still = StillFilter() if smooth else None
        self._held = False

    def update(self, picture: Picture, now: float) -> LivePortrait | Held:
        """Take in a frame.

        Args:
            picture: RGB [H, W, 3]
            now: when it was taken, seconds.
        """
        picture = checked_picture(picture)
        track = self._tracker.update(picture, now)
        if isinstance(track, str):
            self._held = True
            return Held(track, live_words(track))
        if self._held:  # elsewhere, perhaps, and in another light
            self._mask.reset()
            if self._still is not None:
                self._still.reset()
            self._held = False
        portrait = sample(picture, track.crop, SIZE)
        smoothed, change = self._smoothed(portrait)
        face = mapped(track.crop, track.mesh.points[:, :2])
        mask = self._mask(picture, track.crop, portrait, face, change)
        image = _planes(smoothed)
        return LivePortrait(
            image=image,
            fine=image if self._fine == SIZE else self._enlarged(picture, track.crop, change),
            mask=torch.from_numpy(mask)[None],
            distance=NOMINAL_DISTANCE,
            head_from_camera=head_from_rolled(track.roll),
            change=torch.from_numpy(change),
            landmarks=face,
            rotation=track.rotation,
        )

    def _enlarged(self, picture: Picture, crop: Affine, change: Floats) -> Tensor:
        """The portrait with all its pixels; `change` is of the one with `SIZE`."""
        fine = sample(picture, enlarged(crop, self._fine), self._fine)
        return _planes(self._still.larger(fine, change) if self._still is not None else fine)

    def _smoothed(self, portrait: Picture) -> tuple[Floats, Floats]:
        if self._still is not None:
            return self._still(portrait)
        return portrait.astype(np.float32), np.ones(portrait.shape[:2], np.float32)


def _planes(picture: Floats | Picture) -> Tensor:
    """[S, S, 3] of 0..255 -> [3, S, S] of 0..1"""
    return torch.from_numpy(picture.transpose(2, 0, 1) * np.float32(1 / 255))
