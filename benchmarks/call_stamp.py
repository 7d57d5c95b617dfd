"""A number in the pixels of a picture, in blocks that survive a video encoder.

Twelve bits and a check of four, light and dark, in one row of 16 blocks at the top left. It is how
a page knows which viewpoint a frame shows, whatever server the frame comes from, and how a server
knows which camera frame it has. `call_page.js` reads the same blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS, CHECK_BITS = 12, 4
BLOCKS = BITS + CHECK_BITS
NUMBERS = 1 << BITS
"""Numbers are stamped modulo this."""

DARK, LIGHT = 16, 235
THRESHOLD = 125
SALT = 0b1010
"""Makes a black and a white picture invalid."""


def blocks(number: int) -> NDArray[np.uint8]:
    """The blocks of a number, from the left. [16]"""
    number %= NUMBERS
    check = SALT ^ (number >> 8) ^ (number >> 4 & 15) ^ (number & 15)
    bits = [number << CHECK_BITS | check] >> np.arange(BLOCKS - 1, -1, -1) & 1
    return np.where(bits, LIGHT, DARK).astype(np.uint8)


def stamp(picture: NDArray[np.uint8], number: int, block: int) -> None:
    """Write a number into a picture, grey or RGB or the luma of an I420 frame. [H, W, ...]

    Args:
        picture: at least 16 blocks wide.
        number: whole, not negative.
        block: side of a block, pixels.
    """
    row = np.repeat(blocks(number), block)
    picture[:block, : len(row)] = row if picture.ndim == 2 else row[:, None]


def read(picture: NDArray[np.uint8], block: float) -> int | None:
    """The number in a picture; None if there is none. [H, W] or [H, W, 3]"""
    margin = block / 4
    rows = slice(int(margin), max(int(margin) + 1, int(block - margin)))
    value = 0
    for index in range(BLOCKS):
        left = int(index * block + margin)
        right = max(left + 1, int((index + 1) * block - margin))
        value = value << 1 | int(picture[rows, left:right].mean() > THRESHOLD)
    number = value >> CHECK_BITS
    return number if (blocks(number) == blocks_of(value)).all() else None


def blocks_of(value: int) -> NDArray[np.uint8]:
    """The blocks of 16 bits."""
    bits = [value] >> np.arange(BLOCKS - 1, -1, -1) & 1
    return np.where(bits, LIGHT, DARK).astype(np.uint8)


def unwrapped(number: int, near: int) -> int:
    """The whole number closest to `near` that is stamped as `number`."""
    return near + (number - near + NUMBERS // 2) % NUMBERS - NUMBERS // 2
