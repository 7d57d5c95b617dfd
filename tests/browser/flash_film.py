"""A film and a sound for Chromium's fake camera and microphone: flashes, and beeps with them.

The gaps differ, so that a delay of a whole gap is not taken for none. Chromium starts the two files
at times of its own and repeats them for ever; both are exactly as long.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FPS = 30
SAMPLE_RATE = 48_000
FLASH_SECONDS = 0.2
"""Long enough for a few frames even of an avatar that is lifted ten times a second."""

GAPS = (1.2, 1.5, 1.3, 1.9, 1.4, 1.7, 1.2, 1.6, 1.8, 1.4)
"""Seconds from one flash to the next. Longer than any delay that is measured."""

BEEP_HZ = 1000.0
LOUDNESS = 0.5

Picture = NDArray[np.uint8]


def flash_times() -> list[float]:
    """When flashes begin, in seconds from the start of the film, which ends with the last gap."""
    return [0.6 + sum(GAPS[:n]) for n in range(len(GAPS))]


def write_flashes(
    folder: Path, picture: Callable[[int, bool], Picture], seconds: float = FLASH_SECONDS
) -> tuple[Path, Path]:
    """Write the film (MJPEG) and the sound (WAV); return their paths.

    Args:
        folder: where to write.
        picture: gives the picture of a frame by its number, with a flash or without. RGB [H, W, 3]
        seconds: that a flash lasts.
    """
    frames = round(sum(GAPS) * FPS)
    bright = np.zeros(frames, bool)
    sound = np.zeros(frames * SAMPLE_RATE // FPS)
    for begins in flash_times():
        first, length = round(begins * FPS), round(seconds * FPS)
        bright[first : first + length] = True
        samples = np.arange(length * SAMPLE_RATE // FPS)
        beep = LOUDNESS * np.cos(2 * np.pi * BEEP_HZ * samples / SAMPLE_RATE)
        sound[first * SAMPLE_RATE // FPS :][: len(samples)] = beep
    film, wav = folder / "flashes.mjpeg", folder / "beeps.wav"
    with film.open("wb") as output:
        for number in range(frames):
            bgr = np.ascontiguousarray(picture(number, bool(bright[number]))[..., ::-1])
            output.write(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return film, wav
