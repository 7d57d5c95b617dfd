"""What the enrolment saw of a head and the present frame does not: kept, and moved with the head.

A head that has turned by 25 degrees hides an ear and a cheek; the lifter then invents them, though
the enrolment has seen them. Its discs are moved to where the head is now. Those that lie behind
what the present frame sees, or face its camera hardly at all, are shown in place of what was
invented there. On rendered people who have turned by 30 degrees, views from the far side gain 0.4
to 0.8 dB over the person, and 0.7 to 1.4 dB at the far side of the head; by 15 degrees 0.3 to 0.4
and 0.4 to 0.8 dB (`benchmarks.live_avatar`).

Nothing here waits for the device, and no shape depends on what is seen: the answer is how much of
each disc is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.gaussians import Gaussians
from models.lifter import HALF_FOV

TAN = math.tan(HALF_FOV)
SEEN = 0.35
"""Uncertainty up to which the enrolment has seen a disc."""
INVENTED = 0.5
"""Uncertainty from which the present frame has not."""
GRAZING = 0.3
"""Cosine between a kept disc's normal and the line of sight up to which the present frame sees too
little of it. What that saw of it stays beside: without it, the seam tears open."""
BEHIND = 0.012
"""Metres behind the present surface from which a disc is hidden."""
AROUND = 0.02
"""Metres before it up to which a disc may lie that is seen from the side."""
NEAR = 0.03
"""Metres behind the enrolment's surface up to which its discs take the place of others."""
NECK = 0.095
"""Metres below the middle of the head from which the torso begins, which does not turn with it."""
START, WHOLE = 8.0, 14.0
"""Degrees by which the head has turned since the enrolment: what was kept fades in between."""


@dataclass(frozen=True, eq=False)
class PortraitView:
    """What a portrait's camera saw.

    Args:
        camera_from_head: from head space to the camera. [4, 4]
        depth: of layer 1, metres. [1, 1, S, S]
        mask: the person. [1, 1, S, S]
    """

    camera_from_head: Tensor
    depth: Tensor
    mask: Tensor

    def looked_up(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """How far points lie behind the surface, and whether the mask holds them.

        Args:
            points: head space. [N, 3]

        Returns:
            Metres [N]; 0..1 [N], 0 outside the portrait.
        """
        move = self.camera_from_head
        there = torch.addmm(move[:3, 3], points, move[:3, :3].T)
        z = there[:, 2]
        grid = (there[:, :2] / (TAN * z.clamp(min=0.05))[:, None])[None, None]
        size = self.depth.shape[-1]
        maps = torch.cat([self.depth.view(1, 1, size, size), self.mask.view(1, 1, size, size)], 1)
        surface, mask = F.grid_sample(maps, grid, mode="nearest", align_corners=False)[0, :, 0]
        return z - torch.where(mask > 0, surface, z - 1), mask

    def facing(self, discs: Gaussians) -> Tensor:
        """Cosine between each disc's normal, towards +z, and the line of sight. [N]"""
        move = self.camera_from_head
        eye = -move[:3, :3].T @ move[:3, 3]
        normal = torch.linalg.cross(discs.axes[:, 0], discs.axes[:, 1])
        sight = discs.means - eye
        along = (normal * sight).sum(1)
        cosine: Tensor = along / (normal.norm(dim=1) * sight.norm(dim=1)).clamp(min=1e-12)
        return cosine


@dataclass(frozen=True, eq=False)
class KeptSides:
    """What is known of a caller's head from the enrolment.

    Args:
        discs: of its avatar.
        outer: on which side a disc was seen: its normal's sign towards +z, or 0 where the disc is
            not kept: not of the head, or invented. [E]
        view: of its portrait.
    """

    discs: Gaussians
    outer: Tensor
    view: PortraitView

    @classmethod
    def of(cls, discs: Gaussians, view: PortraitView) -> KeptSides:
        """What an enrolment's avatar is worth."""
        seen = (discs.colors[:, 3] < SEEN) & (discs.means[:, 1] < NECK)
        outer = torch.where(view.facing(discs) < 0, -1.0, 1.0)
        return cls(discs, outer * seen, view)

    def compact(self) -> KeptSides:
        """Without the discs that are not kept. How many those are is known to the host then."""
        kept = self.outer != 0
        d = self.discs
        discs = Gaussians(d.means[kept], d.axes[kept], d.opacities[kept], d.colors[kept])
        return KeptSides(discs, self.outer[kept], self.view)

    def merged(
        self, now: Gaussians, view: PortraitView, moved: Tensor, back: Tensor, share: Tensor | float
    ) -> tuple[Gaussians, Gaussians]:
        """The present discs and the kept ones, each with the opacity that it is to have.

        Args:
            now: of the present frame, head space.
            view: of its portrait.
            moved: from where the head was at enrolment to where it is. [4, 4]
            back: its inverse. [4, 4]
            share: of what is kept, 0..1.

        Returns:
            Those of `now`, and those kept, where the head is now; opacity 0 where not shown.
        """
        kept = self.discs.moved(moved)
        behind, _ = view.looked_up(kept.means)
        facing = view.facing(kept) * self.outer
        shown = (behind > BEHIND) | ((facing < GRAZING) & (behind > -AROUND))
        shown &= self.outer != 0

        then = now.moved(back)
        behind, inside = self.view.looked_up(then.means)
        replaced = (now.colors[:, 3] > INVENTED) & (then.means[:, 1] < NECK)
        replaced &= (inside > 0.5) & (behind < NEAR)
        return (
            Gaussians(now.means, now.axes, now.opacities * (1 - share * replaced), now.colors),
            Gaussians(kept.means, kept.axes, kept.opacities * (share * shown), kept.colors),
        )


def in_head_space(
    moved: NDArray[np.float64], head_from_camera: Tensor, head_from_enrolment: Tensor
) -> Tensor:
    """A motion between two portraits' cameras, from `HeadMotion`, as one of head space. float32
    [4, 4], on the CPU"""
    there = head_from_camera.double() @ torch.from_numpy(moved)
    whole: Tensor = (there @ torch.linalg.inv(head_from_enrolment.double())).float()
    return whole


def share_of(moved: Tensor) -> float:
    """How much of what was kept is shown when the head has moved so. [4, 4]"""
    cosine = 0.5 * (float(moved[:3, :3].diagonal().sum()) - 1)
    degrees = math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
    return min(1.0, max(0.0, (degrees - START) / (WHOLE - START)))
