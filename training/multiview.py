"""Bring people who were photographed or scanned from several sides into the test layout.

    visavis-train multiview PERSON [PERSON ...] --out DIR
    visavis-train evaluate --people DIR

Each PERSON is a folder with pictures and a `cameras.json`:

    {
      "metres": 0.01,                      one unit of the cameras' world in metres
      "head": {"origin": [0, 0, 2],        its middle: 11 cm behind the tip of the nose, level
               "right": [1, 0, 0],         where the right side of a picture of the face points
               "down": [0, -1, 0]},        from the forehead to the chin
      "views": [
        {"picture": "front.png",           RGBA, or RGB with a "mask" (white is the person)
         "mask": "front_mask.png",
         "K": [[2400, 0, 960], [0, 2400, 540], [0, 0, 1]],    pixels, centres at +0.5
         "world_to_camera": [[1, 0, 0, 0], ...]},             4 x 4, x right, y down, z forward
        ...
      ]
    }

The first view is the input. Of several people, views of the same number are averaged, under the
angles of the first person's: take all by the same cameras. Every picture is turned about its
camera's centre and zoomed, so that its middle is the head's and it shows as much there as the
portrait camera does; this is exact for any scene. Pictures are taken to have no lens distortion,
and the same light.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.camera import NOMINAL_DISTANCE
from training.dataset import FOCAL, CorpusError

F64 = NDArray[np.float64]
SIZE = 256
WINDOW = NOMINAL_DISTANCE / FOCAL
"""Metres that a picture shows at the head."""
NEAREST, FARTHEST = 0.2, 20
"""Metres from a camera to the head; whatever else is given is a mistake of units."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train multiview`."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="PERSON", help="folder of views")
    parser.add_argument("--out", type=Path, required=True, help="folder of people to write")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train multiview` asks for."""
    shard = options.out / "shard_00000"
    if shard.exists():
        raise CorpusError(f"{shard} is there already. Give another folder with --out.")
    people = [read_person(folder) for folder in options.folders]
    counts = {len(cameras) for _, cameras in people}
    if len(counts) > 1:
        raise CorpusError(f"All people must have the same number of views; these have {counts}.")
    draft = shard.with_name(shard.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rgba, cameras = (np.stack(part) for part in zip(*people, strict=True))
    np.save(draft / "rgba.npy", rgba)
    np.save(draft / "camera.npy", cameras.astype(np.float32))
    np.save(draft / "depth.npy", np.zeros((*cameras.shape[:2], 128, 128), np.float16))
    draft.rename(shard)
    print(f"{len(people)} people with {counts.pop()} views each: {options.out}")


def read_person(folder: Path) -> tuple[NDArray[np.uint8], F64]:
    """Premultiplied RGBA [V, 256, 256, 4] and cameras [V, 18] of one person.

    Raises:
        CorpusError: something is missing, or is not what it should be.
    """
    path = folder / "cameras.json"
    try:
        described = json.loads(path.read_text())
        metres = float(_numbers("metres", described["metres"]))
        if not metres > 0:
            raise ValueError("metres must be above 0")
        to_world = _head_to_world(described["head"])
        views = [
            _named(number, _read_view, folder, view, metres, to_world)
            for number, view in enumerate(described["views"])
        ]
    except FileNotFoundError as error:
        raise CorpusError(f"{error.filename or path} is missing.") from None
    except KeyError as error:
        raise CorpusError(f"{path} lacks {error}. See: visavis-train multiview --help") from None
    except (ValueError, TypeError, AttributeError, RecursionError, cv2.error) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CorpusError(f"{path} cannot be used: {why}.") from None
    if len(views) < 2:
        raise CorpusError(f"{path} has fewer than two views.")
    pictures, cameras = zip(*views, strict=True)
    return np.stack(pictures), np.stack(cameras)


def _named(number: int, read: Any, *arguments: Any) -> Any:
    """What `read` returns; its complaints say which view they are about."""
    try:
        return read(*arguments)
    except (ValueError, TypeError, AttributeError, cv2.error) as error:
        raise ValueError(f"views[{number}]: {str(error).splitlines()[0]}") from None


def _numbers(name: str, value: Any, *shape: int) -> F64:
    flat = np.asarray(value, object).ravel().tolist()
    right = all(isinstance(x, int | float) and not isinstance(x, bool) for x in flat)
    array = np.asarray(value, np.float64) if right else np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        expected = " x ".join(map(str, shape)) + " finite numbers" if shape else "a finite number"
        raise ValueError(f"{name} must be {expected}")
    return array


def _intrinsics(value: Any) -> F64:
    K = _numbers("K", value, 3, 3)
    if not (K[0, 0] > 1 and K[1, 1] > 1 and K[1, 0] == 0 and (K[2] == [0, 0, 1]).all()):
        raise ValueError("K must be [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels")
    return K


def _rigid(value: Any) -> F64:
    pose = _numbers("world_to_camera", value, 4, 4)
    turn = pose[:3, :3]
    proper = np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0
    if not proper or (pose[3] != [0, 0, 0, 1]).any():
        raise ValueError("world_to_camera must be a rotation and a translation, last row 0 0 0 1")
    return pose


def _head_to_world(head: dict[str, Any]) -> F64:
    """[4, 4] from head space (right, down, away from the camera) in units of the world."""
    right, down = _numbers("right", head["right"], 3), _numbers("down", head["down"], 3)
    away = np.cross(right, down)
    if not np.linalg.norm(away) > 1e-6:
        raise ValueError("the head's axes must not be 0 or parallel")
    right, away = right / np.linalg.norm(right), away / np.linalg.norm(away)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(away, right), away], 1)
    matrix[:3, 3] = _numbers("origin", head["origin"], 3)
    return matrix


def _read_view(
    folder: Path, view: dict[str, Any], metres: float, to_world: F64
) -> tuple[NDArray[np.uint8], F64]:
    """A picture [256, 256, 4] and its camera [18], aimed at the head."""
    K, pose = _intrinsics(view["K"]), _rigid(view["world_to_camera"]) @ to_world
    centre = pose[:3, 3]
    distance = float(np.linalg.norm(centre))
    if centre[2] <= 0:
        raise ValueError("the head is behind the camera")
    if not NEAREST < distance * metres < FARTHEST:
        raise ValueError(
            f"the head is {distance * metres:.3g} m from the camera, not {NEAREST} to {FARTHEST}; "
            "check metres and origin"
        )
    forward = centre / distance
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    aim = np.stack([right, np.cross(forward, right), forward])
    aimed = np.eye(4)
    aimed[:3, :3], aimed[:3, 3] = aim @ pose[:3, :3], [0, 0, distance * metres]
    focal = distance * metres / WINDOW
    fine = _oversampling(focal * SIZE / float(K[0, 0]))
    size = SIZE * fine
    new_K = np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1]])
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])  # OpenCV's pixel centres are whole
    homography = half @ new_K @ aim @ np.linalg.inv(half @ K)
    picture = cv2.warpPerspective(
        _premultiplied(folder, view), homography, (size, size), flags=cv2.INTER_LINEAR
    )
    picture = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    if picture[..., 3].max() < 0.5:
        raise ValueError("the person is not where the head is said to be, or the mask is empty")
    row = np.concatenate([aimed.ravel(), [distance * metres, focal]])
    return (picture * 255).round().astype(np.uint8), row


def _oversampling(zoom: float) -> int:
    """By how much finer to sample first, where pixels become `zoom` times as large."""
    return max(1, min(8, math.ceil(1 / zoom))) if zoom > 0 else 1


def _premultiplied(folder: Path, view: dict[str, Any]) -> NDArray[np.float32]:
    path = folder / view["picture"]
    picture = _read(path, cv2.IMREAD_UNCHANGED)
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError(f"{path.name} is not a picture of 8-bit colours")
    if "mask" in view:
        mask = _read(folder / view["mask"], cv2.IMREAD_GRAYSCALE)
        if mask.shape != picture.shape[:2]:
            raise ValueError(f"{view['mask']} and {path.name} differ in size")
    elif picture.shape[2] == 4:
        mask = picture[..., 3]
    else:
        raise ValueError(f'{path.name} needs an alpha channel or a "mask"')
    alpha = mask[..., None].astype(np.float32) / 255
    return np.concatenate([picture[..., 2::-1].astype(np.float32) / 255 * alpha, alpha], -1)


def _read(path: Path, flags: int) -> NDArray[Any]:
    if not path.exists():
        raise FileNotFoundError(2, "missing", str(path))
    # Cameras were calibrated on the pixels as they are stored.
    picture = cv2.imread(str(path), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise ValueError(f"{path.name} is not a picture")
    return picture
