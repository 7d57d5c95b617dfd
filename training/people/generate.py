"""Render synthetic people into a folder of shards.

    visavis-train people --facekit NPZ --seeds 0:3000 --out DIR [--layout test|grid]
                         [--assets unseen] [--path-tracer PYTHON]

A few worker processes each hold an OpenGL context. Complete shards are kept, so an interrupted run
goes on where it stopped. With a Python that has Blender's `bpy` (5.0; it wants an environment for
itself: python -m venv blender && blender/bin/pip install bpy), pictures are path-traced: far
slower, with real shadows, light in the skin and fine hair. Depth is OpenGL's in both cases. With
`--assets unseen` every person has something that no usual one has: for the held-out test.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from training.people.arguments import add_assets, add_facekit, add_seeds
from training.people.facekit import FaceKit
from training.people.path_traced import PathTracer, check
from training.people.person import sample_person
from training.people.perspective import seen_from
from training.people.renderer import Renderer
from training.people.shards import DEPTH, Shard, plan
from training.people.unseen import Assets
from training.people.views import PICTURE, VIEWS, Layout, sample_views, webcam_distance

Task = tuple[Shard, int]

_renderer: Renderer | None = None
_kit: FaceKit | None = None
_layout: Layout = "train"
_tracer: PathTracer | None = None
_assets: Assets = "usual"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train people`."""
    add_facekit(parser)
    add_seeds(parser)
    add_assets(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of shards")
    parser.add_argument("--layout", choices=VIEWS, default="train", help="of the views")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument(
        "--path-tracer", type=Path, metavar="PYTHON", help="interpreter that can import bpy"
    )
    parser.add_argument("--samples", type=int, default=24, help="paths per pixel")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train people` asks for."""
    traced = (options.path_tracer, options.samples) if options.path_tracer else None
    generate(
        options.facekit,
        options.out,
        options.seeds,
        options.layout,
        options.workers,
        traced,
        options.assets,
    )


def render_person(
    kit: FaceKit,
    renderer: Renderer,
    seed: int,
    layout: Layout,
    tracer: PathTracer | None = None,
    assets: Assets = "usual",
) -> dict[str, np.ndarray]:
    """Render the views of one seed: the arrays of a shard without their first axis."""
    person = sample_person(kit, seed, assets=assets)
    if layout == "train":
        person = seen_from(person, webcam_distance(np.random.default_rng([seed, 98])))
    renderer.load(person)
    views = sample_views(layout, np.random.default_rng([seed, 99]))
    rgba, depth = [], []
    for view in views:
        picture, z = renderer.render(view)
        covered = (z > 0).astype(np.float32)
        share = cv2.resize(covered, (DEPTH, DEPTH), interpolation=cv2.INTER_AREA)
        mean = cv2.resize(z, (DEPTH, DEPTH), interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-6)
        rgba.append(picture)
        depth.append(mean.astype(np.float16))
    if tracer is not None:
        rgba = list(tracer.render(kit, person, renderer.textures(), views, PICTURE[layout]))
    return {
        "rgba": np.stack(rgba),
        "depth": np.stack(depth),
        "camera": np.stack([v.row() for v in views]),
    }


def generate(
    facekit: Path,
    folder: Path,
    seeds: range,
    layout: Layout,
    workers: int,
    traced: tuple[Path, int] | None = None,
    assets: Assets = "usual",
) -> None:
    """Render `seeds` into shards under `folder`; complete shards are kept, others made anew.

    With `traced`, a Python that has bpy and the samples per pixel, pictures are path-traced.
    """
    if traced:
        check(traced[0])  # before there are workers: one that cannot start would be tried for ever
    shards = plan(folder, seeds, layout, assets, "path tracer" if traced else "OpenGL")
    total = sum(len(s.seeds) for s in shards)
    tasks = [(shard, position) for shard in shards for position in range(len(shard.seeds))]
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    progress = tqdm(
        total=len(seeds), initial=len(seeds) - total, unit="person", smoothing=0.02, mininterval=5
    )
    with context.Pool(workers, _start_worker, (facekit, layout, workers, traced, assets)) as pool:
        pending = iter(shards)
        for shard, position in pool.imap(_work, _prepared(tasks), chunksize=1):
            progress.update()
            if position == len(shard.seeds) - 1:
                # Results come in order: with the last person all others of the shard are written.
                next(pending).finish()
    progress.close()


def _prepared(tasks: list[Task]) -> Iterator[Task]:
    """Create the folder of each shard just before its first task is handed out."""
    for shard, position in tasks:
        if position == 0:
            shard.create()
        yield shard, position


def _start_worker(
    facekit: Path, layout: Layout, workers: int, traced: tuple[Path, int] | None, assets: Assets
) -> None:
    global _renderer, _kit, _layout, _tracer, _assets
    cv2.setNumThreads(1)
    _kit, _layout, _assets = FaceKit.load(facekit), layout, assets
    _renderer = Renderer(_kit, PICTURE[layout])
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    _tracer = PathTracer(*traced, threads) if traced else None


def _work(task: Task) -> Task:
    assert _kit is not None and _renderer is not None
    shard, position = task
    seed = shard.seeds[position]
    shard.write(position, render_person(_kit, _renderer, seed, _layout, _tracer, _assets))
    return task
