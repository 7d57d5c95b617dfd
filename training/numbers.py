"""Numbers on the command line, in the range where they mean something."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def number(least: float, most: float = math.inf) -> Callable[[str], float]:
    """A type for argparse: a finite number from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number{_range(least, most)}")
        return value

    return parse


def whole(least: int) -> Callable[[str], int]:
    """A type for argparse: a whole number not below `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
        return value

    return parse


def _range(least: float, most: float) -> str:
    return f", {least:g} or more" if math.isinf(most) else f" from {least:g} to {most:g}"
