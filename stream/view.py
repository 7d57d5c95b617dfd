"""What the render threads know of one receiver, and who may share a picture with whom."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from models.viewpoint import Viewpoint
from stream.avatar_lease import AvatarLease
from stream.mailbox import Mailbox
from stream.pacer import Pacer
from stream.viewpoint_inbox import Aim

Picture = NDArray[np.uint8]
"""I420 [H * 3 / 2, W]"""


@dataclass(frozen=True, eq=False)
class Company:
    """Stands for one picture: the very same object is given to all who are delivered it.

    Args:
        views: numbers of the views that share the picture.
        pictured: when the camera frame came in that the avatar of the picture follows, in seconds
            of the monotonic clock; None if it follows nobody.
    """

    views: frozenset[int]
    pictured: float | None = None


@dataclass(eq=False)
class View:
    """One receiver.

    Args:
        avatar: gives the call's present avatar, or None.
        deliver: takes a finished picture [H * 3 / 2, W] with the aim it shows, whether it was
            refined, when its viewpoint was taken, and with whom it is shared; called by a render
            thread.
        pacer: when frames are due.
        aims: the newest viewpoint of the receiver.
        refine: whether the receiver wants refined pictures.
        aim: of the newest frame that was begun.
        shown: the avatar of that frame.
    """

    numbers: ClassVar[Iterator[int]] = itertools.count()

    avatar: Callable[[], AvatarLease | None]
    deliver: Callable[[Picture, Aim | None, bool, float, Company], None]
    pacer: Pacer
    aims: Mailbox[Aim] = field(default_factory=Mailbox)
    refine: bool = True
    aim: Aim | None = None
    shown: AvatarLease | None = None
    rendering: int = 0
    started: int = 0
    delivered: int = 0
    number: int = field(default_factory=lambda: next(View.numbers))


Sight = tuple[AvatarLease | None, Viewpoint, bool]
"""Whom, from where, and whether refined: receivers for whom these are equal share one picture."""


def sight_of(view: View, aim: Aim | None = None) -> Sight:
    """What a view's next picture is of: at `aim`, or else at the viewpoint it had last."""
    aim = aim or view.aim
    return view.avatar(), aim.viewpoint if aim is not None else Viewpoint(), view.refine


def alike(due: list[tuple[float, View]]) -> list[list[tuple[float, View]]]:
    """Views that are due, in groups of those that can share a picture."""
    groups: dict[Sight, list[tuple[float, View]]] = {}
    for at, view in due:
        groups.setdefault(sight_of(view, view.aims.peek()), []).append((at, view))
    return list(groups.values())
