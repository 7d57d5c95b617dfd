"""One row per portrait: the input, then raw and refined at yaw -30, -15, 0, 15 and 30.

    python -m benchmarks.orbit_sheet PORTRAIT [PORTRAIT ...] -o SHEET.png [--size 256] [--yaws ...]

`astronaut` stands for scikit-image's public-domain portrait, `demo` for the person that ships. The
format does not change, so that sheets of different weights can be laid side by side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.engine import Engine, Picture, RenderRequest, load_engine
from models.picture import load_picture
from models.portrait import PortraitFinder
from models.viewpoint import Viewpoint

YAWS = (-30, -15, 0, 15, 30)
DEMO = Path(__file__).parents[1] / "models" / "assets" / "demo_portrait.png"


def read(portrait: str) -> Picture:
    """A picture by its path or its name. RGB [H, W, 3]"""
    if portrait == "astronaut":
        from skimage.data import astronaut

        return np.ascontiguousarray(astronaut())
    return load_picture(DEMO if portrait == "demo" else portrait)


def row(
    engine: Engine, finder: PortraitFinder, picture: Picture, yaws: Sequence[float] = YAWS
) -> NDArray[np.uint8]:
    """The input over nothing, raw views over refined ones. RGB [2 * size, (1 + V) * size, 3]"""
    portrait = finder.portrait(picture, strict=False)
    crop = (portrait.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    crop = cv2.resize(crop, (engine.size, engine.size), interpolation=cv2.INTER_CUBIC)
    avatar = engine.build_avatar(picture)
    rows = []
    for refine in (False, True):
        views = [RenderRequest(avatar, Viewpoint(yaw=yaw), refine) for yaw in yaws]
        frames = [cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420) for frame in engine.render(views)]
        rows.append(np.concatenate([np.full_like(crop, 255) if refine else crop, *frames], 1))
    avatar.close()
    return np.concatenate(rows).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("portraits", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--yaws", type=float, nargs="+", default=YAWS, help="degrees")
    options = parser.parse_args()
    engine, finder = load_engine(size=options.size), PortraitFinder()
    sheet = np.concatenate(
        [row(engine, finder, read(portrait), options.yaws) for portrait in options.portraits]
    )
    if not cv2.imwrite(str(options.output), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise SystemExit(
            f"cannot write {options.output}: use a .png or .jpg in a folder that exists"
        )
    print(options.output)


if __name__ == "__main__":
    main()
