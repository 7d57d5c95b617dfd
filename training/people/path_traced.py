"""People seen through a path tracer, in a process of its own: another renderer than the one that
makes the bulk of the data, to fine-tune with and to measure on."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import VisavisError
from training.people import scene
from training.people.facekit import FaceKit
from training.people.person import Person
from training.people.views import View

PROGRAM = Path(__file__).with_name("path_tracer.py")


class PathTracerError(VisavisError):
    """The path tracer could not be started, or has died."""

    default_code = "no_path_tracer"


def check(python: Path) -> None:
    """Raise PathTracerError unless `python` is an interpreter that can import bpy."""
    try:
        command = [python, "-c", "import bpy; print('bpy is there')"]
        found = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise PathTracerError(f"{python} cannot be started: {error.strerror}.") from None
    if b"bpy is there" not in found.stdout:
        raise PathTracerError(
            f"{python} cannot import bpy. It wants an environment of its own; run: "
            "python -m venv blender && blender/bin/pip install bpy"
        )


class PathTracer:
    """Renders scenes with Cycles in another Python.

    Args:
        python: an interpreter that can import `bpy`.
        samples: paths per pixel; the result is denoised.
        threads: of the renderer; 0: one for each core.

    Raises:
        PathTracerError: there is no such interpreter.
    """

    def __init__(self, python: Path, samples: int, threads: int = 0) -> None:
        self._samples, self._threads = samples, threads
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                [python, PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            raise PathTracerError(f"{python} cannot be started: {error.strerror}.") from None

    def render(
        self,
        kit: FaceKit,
        person: Person,
        textures: dict[int, NDArray[np.uint8]],
        views: list[View],
        size: int,
    ) -> NDArray[np.uint8]:
        """Premultiplied sRGB and coverage of each view. [V, size, size, 4]

        Raises:
            PathTracerError: the process has ended.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.npz"
            scene.save_scene(path, kit, person, textures)
            job = {
                "scene": str(path),
                "out": folder,
                "views": [view.row().tolist() for view in views],
                "size": size,
                "samples": self._samples,
                "threads": self._threads,
            }
            self._ask(json.dumps(job))
            pictures = [
                cv2.imread(str(Path(folder) / f"{index}.png"), cv2.IMREAD_UNCHANGED)
                for index in range(len(views))
            ]
        return np.stack([_premultiplied(picture) for picture in pictures])

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        answer = ""
        try:
            print(line, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if answer.strip() != "done":
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            raise PathTracerError(
                f"The path tracer has failed: {said[-1] if said else 'it said nothing'}"
            )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _premultiplied(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgba = picture[..., [2, 1, 0, 3]].astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255
    return np.rint(rgba).astype(np.uint8)
