"""A contact sheet of synthetic people, to look at before a corpus is made.

visavis-train sheet --facekit NPZ --seeds 0:24 --out SHEET.png [--assets unseen]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from training.people.arguments import add_assets, add_facekit, add_seeds
from training.people.facekit import FaceKit
from training.people.person import sample_person
from training.people.renderer import Renderer
from training.people.unseen import Assets
from training.people.views import orbit

BACKGROUND = 118
YAWS = (-45, 0, 30)
COLUMNS = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train sheet`."""
    add_facekit(parser)
    add_seeds(parser)
    add_assets(parser)
    parser.add_argument("--out", type=Path, required=True, help="picture to write")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train sheet` asks for."""
    write_sheet(options.facekit, options.seeds, options.out, options.assets)


def write_sheet(
    facekit: Path, seeds: range, out: Path, assets: Assets = "usual", size: int = 256
) -> None:
    """Write a PNG with three views of each person, three people in a row."""
    kit = FaceKit.load(facekit)
    renderer = Renderer(kit, size)
    strips = []
    for seed in seeds:
        renderer.load(sample_person(kit, seed, assets=assets))
        pictures = [over_gray(renderer.render(orbit(yaw, 0, 0.75))[0]) for yaw in YAWS]
        strip = np.hstack(pictures)
        cv2.putText(
            strip,
            str(seed),
            (6, 16),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
        strips.append(strip)
    strips += [np.zeros_like(strips[0])] * (-len(strips) % COLUMNS)
    rows = [np.hstack(strips[i : i + COLUMNS]) for i in range(0, len(strips), COLUMNS)]
    if not cv2.imwrite(str(out), np.vstack(rows)[..., ::-1]):
        raise OSError(f"cannot write {out}")


def over_gray(rgba: np.ndarray) -> np.ndarray:
    """Put a premultiplied picture [H, W, 4] on a grey ground [H, W, 3]."""
    rest = 1 - rgba[..., 3:].astype(np.float32) / 255
    return np.clip(rgba[..., :3] + rest * BACKGROUND, 0, 255).astype(np.uint8)
