"""`python -m training.people`: make training data of synthetic people.

python -m training.people --facekit NPZ --seeds 0:2000 --out DIR [--workers 2] [--layout train|test]
python -m training.people sheet --facekit NPZ --seeds 0:24 --out SHEET.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


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


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = (
        words.pop(0) if words and words[0] in ("generate", "sheet", "portrait") else "generate"
    )
    parser = argparse.ArgumentParser(
        prog="python -m training.people", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--facekit", type=Path, required=True, help="ict_facekit.npz")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of shards, or picture to write"
    )
    if command == "portrait":
        parser.add_argument("--seed", type=int, required=True)
        parser.add_argument("--size", type=int, default=512)
    else:
        parser.add_argument("--seeds", type=seed_range, required=True, metavar="FIRST:STOP")
    if command == "generate":
        parser.add_argument("--layout", choices=["train", "test"], default="train")
        parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(words)
    if not options.facekit.is_file():
        parser.error(f"--facekit: no file {options.facekit}")
    if command == "generate":
        from training.people.generate import generate

        generate(options.facekit, options.out, options.seeds, options.layout, options.workers)
    elif command == "sheet":
        from training.people.sheet import write_sheet

        write_sheet(options.facekit, options.seeds, options.out)
    else:
        from training.people.portrait import write_portrait

        write_portrait(options.facekit, options.seed, options.size, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
