"""The engines of the call benchmark: the real one; one that is nearly free; and, for quick tests of
the benchmark itself, the bar of the transport tests."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.frame_check import FrameCheck
from models.viewpoint import Viewpoint

if TYPE_CHECKING:
    from models.engine import Engine, RenderRequest

Picture = NDArray[np.uint8]

SIZE = 256
KINDS = ("real", "film", "bar")
FILM_FRAMES = 120
SWING = 30.0
"""Degrees to both sides, of the film and of the page that moves."""


class FilmAvatar:
    """Nobody in particular."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.id = f"film-{next(self.numbers)}"

    def close(self) -> None:
        """There is nothing to free."""


class FilmEngine:
    """Hands out pictures that the real engine made before, one after the other, in no time.

    They swing from side to side whatever is asked for, so that an encoder has the work of a moving
    view while everything else of a server costs next to nothing.

    Args:
        path: an array of I420 frames, written by `write_film`. [N, H*3/2, W]
    """

    name = "pictures made before"
    batch = 1

    def __init__(self, path: Path) -> None:
        self._film = np.load(path)
        self.size = int(self._film.shape[2])
        self._index = itertools.count()

    def check_frame(self, picture: Picture) -> FrameCheck:
        return FrameCheck(True, "ok", "", 0.0, 0.0)

    def build_avatar(self, picture: Picture) -> FilmAvatar:
        return FilmAvatar()

    def follow(self, avatar: FilmAvatar) -> Any:
        # Its call has no caller, so nobody is followed: to be asked is an error of the benchmark.
        raise AssertionError("the film follows nobody")

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        return [self._film[next(self._index) % len(self._film)] for _ in requests]

    def save_ply(self, avatar: FilmAvatar, path: str | os.PathLike[str]) -> int:
        # `visavis export` alone asks for this, and never of an engine of a benchmark.
        raise AssertionError("the film has no Gaussians")

    def stage_times(self) -> Mapping[str, float]:
        return {"rasterise": 0.0, "refine": 0.0, "i420": 0.0}

    def left_out(self) -> int:
        return 0

    def close(self) -> None:
        self._film = self._film[:0]


def swing(index: int) -> Viewpoint:
    """The view of a film's frame: to both sides and back within the film."""
    angle = 2 * math.pi * index / FILM_FRAMES
    return Viewpoint(yaw=SWING * math.sin(angle), pitch=5 * math.sin(2 * angle))


def write_film(path: Path, portrait: Picture, size: int = SIZE) -> None:
    """Make the pictures for `FilmEngine`, with the real engine."""
    from models.engine import RenderRequest, load_engine

    engine = load_engine("cpu", size)
    try:
        avatar = engine.build_avatar(portrait)
        frames = [
            engine.render([RenderRequest(avatar, swing(index))])[0] for index in range(FILM_FRAMES)
        ]
        avatar.close()
    finally:
        engine.close()
    np.save(path, np.stack(frames))


def load(kind: str, film: Path | None) -> Engine:
    """An engine of one of `KINDS`.

    Raises:
        ValueError: a film engine without a film.
        SetupError: what the real engine needs is missing.
    """
    if kind == "film":
        if film is None:
            raise ValueError("The film engine needs --film.")
        return FilmEngine(film)  # type: ignore[return-value]
    if kind == "bar":
        from tests.stream.bar_engine import BarEngine

        return BarEngine(SIZE, seconds=0.004)  # type: ignore[return-value]
    from models.engine import load_engine

    return load_engine("cpu", SIZE)
