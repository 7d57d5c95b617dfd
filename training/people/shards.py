"""Shards: folders of memory-mappable arrays with one hundred people each.

    DIR/shard_00012/rgba.npy    uint8   [100, V, S, S, 4]     premultiplied sRGB, coverage
                    depth.npy   float16 [100, V, 128, 128]    metres of camera z, 0 where empty
                    camera.npy  float32 [100, V, 18]          world_to_camera row by row, distance,
                                                          focal length in picture widths
                    seeds.npy   int64   [100]
                    made.json   layout, assets and renderer

Shards from before have cameras of 17 numbers: all pictures are the portrait camera's there.

The layout (`training.people.views`) gives the number of views V and the edge S of their pictures.

A shard is written under a temporary name and renamed when it is complete: a folder with the final
name can be read, by a trainer that started earlier too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import VisavisError
from training.people.unseen import Assets
from training.people.views import NUMBERS, PICTURE, VIEWS, Layout

SHARD_PEOPLE = 100
DEPTH = 128


class OtherPeople(VisavisError):
    """A folder holds people that were made in another way than is asked for."""

    default_code = "other_people"


@dataclass(frozen=True)
class Shard:
    """A block of seeds and the folder that it becomes."""

    folder: Path
    seeds: range
    layout: Layout = "train"
    assets: Assets = "usual"
    renderer: str = "OpenGL"

    @property
    def made(self) -> dict[str, str]:
        """What the shard remembers of how it was made."""
        return {"layout": self.layout, "assets": self.assets, "renderer": self.renderer}

    def check(self) -> None:
        """Raise OtherPeople if the folder is there and says that it was made in another way."""
        path = self.folder / "made.json"
        if path.exists() and (made := json.loads(path.read_text())) != self.made:
            told = ", ".join(f"{key} {value}" for key, value in made.items())
            raise OtherPeople(f"{self.folder} has other people: {told}. Give another --out.")

    @property
    def draft(self) -> Path:
        """Where the shard is written before it is complete."""
        return self.folder.with_name(self.folder.name + ".part")

    def create(self) -> None:
        """Make the draft with empty arrays; an older draft is dropped."""
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True)
        first = (len(self.seeds), VIEWS[self.layout])
        shapes = {
            "rgba": ((*first, PICTURE[self.layout], PICTURE[self.layout], 4), np.uint8),
            "depth": ((*first, DEPTH, DEPTH), np.float16),
            "camera": ((*first, NUMBERS), np.float32),
        }
        for name, (shape, dtype) in shapes.items():
            np.lib.format.open_memmap(self.draft / f"{name}.npy", "w+", dtype, shape).flush()
        np.save(self.draft / "seeds.npy", np.array(self.seeds))
        (self.draft / "made.json").write_text(json.dumps(self.made) + "\n")

    def write(self, position: int, arrays: dict[str, np.ndarray]) -> None:
        """Store the views of one person in the draft."""
        for name, values in arrays.items():
            stored = np.load(self.draft / f"{name}.npy", mmap_mode="r+")
            stored[position] = values
            stored.flush()

    def finish(self) -> None:
        """Give the draft its final name."""
        self.draft.rename(self.folder)


def plan(
    folder: Path,
    seeds: range,
    layout: Layout = "train",
    assets: Assets = "usual",
    renderer: str = "OpenGL",
) -> list[Shard]:
    """Cut `seeds` at multiples of one hundred; a shard that is complete in `folder` is left out.

    Raises:
        OtherPeople: such a shard was made in another way.
    """
    shards = []
    start = seeds.start
    while start < seeds.stop:
        number = start // SHARD_PEOPLE
        stop = min((number + 1) * SHARD_PEOPLE, seeds.stop)
        shard = Shard(folder / f"shard_{number:05d}", range(start, stop), layout, assets, renderer)
        shard.check()
        if not shard.folder.exists():
            shards.append(shard)
        start = stop
    return shards


def complete(folder: Path) -> Iterator[Path]:
    """The folders of the complete shards, in order."""
    return iter(sorted(p for p in folder.glob("shard_*") if p.suffix != ".part"))
