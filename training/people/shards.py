"""Shards: folders of memory-mappable arrays with one hundred people each.

    DIR/shard_00012/rgba.npy    uint8   [100, 8, 256, 256, 4]  premultiplied sRGB, coverage
                    depth.npy   float16 [100, 8, 128, 128]     metres of camera z, 0 where empty
                    camera.npy  float32 [100, 8, 17]           world_to_camera row by row, distance
                    seeds.npy   int64   [100]

A shard is written under a temporary name and renamed when it is complete: a folder with the final
name can be read, by a trainer that started earlier too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.people.views import VIEWS

SHARD_PEOPLE = 100
PICTURE = 256
DEPTH = 128


@dataclass(frozen=True)
class Shard:
    """A block of seeds and the folder that it becomes."""

    folder: Path
    seeds: range

    @property
    def draft(self) -> Path:
        """Where the shard is written before it is complete."""
        return self.folder.with_name(self.folder.name + ".part")

    def create(self) -> None:
        """Make the draft with empty arrays; an older draft is dropped."""
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True)
        count = len(self.seeds)
        shapes = {
            "rgba": ((count, VIEWS, PICTURE, PICTURE, 4), np.uint8),
            "depth": ((count, VIEWS, DEPTH, DEPTH), np.float16),
            "camera": ((count, VIEWS, 17), np.float32),
        }
        for name, (shape, dtype) in shapes.items():
            np.lib.format.open_memmap(self.draft / f"{name}.npy", "w+", dtype, shape).flush()
        np.save(self.draft / "seeds.npy", np.array(self.seeds))

    def write(self, position: int, arrays: dict[str, np.ndarray]) -> None:
        """Store the views of one person in the draft."""
        for name, values in arrays.items():
            stored = np.load(self.draft / f"{name}.npy", mmap_mode="r+")
            stored[position] = values
            stored.flush()

    def finish(self) -> None:
        """Give the draft its final name."""
        self.draft.rename(self.folder)


def plan(folder: Path, seeds: range) -> list[Shard]:
    """Cut `seeds` at multiples of one hundred; a shard that is complete in `folder` is left out."""
    shards = []
    start = seeds.start
    while start < seeds.stop:
        number = start // SHARD_PEOPLE
        stop = min((number + 1) * SHARD_PEOPLE, seeds.stop)
        shard = Shard(folder / f"shard_{number:05d}", range(start, stop))
        if not shard.folder.exists():
            shards.append(shard)
        start = stop
    return shards


def complete(folder: Path) -> Iterator[Path]:
    """The folders of the complete shards, in order."""
    return iter(sorted(p for p in folder.glob("shard_*") if p.suffix != ".part"))
