"""Options that the commands about synthetic people share."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.people.unseen import ASSETS


def add_facekit(parser: argparse.ArgumentParser) -> None:
    """`--facekit`, the arrays of ICT-FaceKit."""
    parser.add_argument(
        "--facekit", type=_file, required=True, metavar="NPZ", help="arrays of ICT-FaceKit"
    )


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, one person each."""
    parser.add_argument("--seeds", type=seed_range, required=True, metavar="FIRST:STOP")


def add_assets(parser: argparse.ArgumentParser) -> None:
    """`--assets`, what the people have and wear."""
    parser.add_argument(
        "--assets",
        choices=ASSETS,
        default="usual",
        help="unseen: each person has some that are reserved for the held-out test",
    )


def seed_range(text: str) -> range:
    """Parse `first:stop`."""
    try:
        first, stop = (int(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form FIRST:STOP, for example 0:2000"
        ) from None
    if not 0 <= first < stop:
        raise argparse.ArgumentTypeError(
            f"{text!r} holds no seeds: FIRST must be below STOP and not negative"
        )
    return range(first, stop)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no file {text}")
    return path
