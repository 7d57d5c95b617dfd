"""How close are rendered views of held-out people to the truth? One command, JSON and a table.

    visavis-train evaluate --people DIR [--lifter FILE] [--refiner FILE] [--size 512]
                           [--json OUT] [--sheet PNG] [--plot PNG] [--identity] [--limits]
                           [--per-yaw]

DIR holds people in the test layout: view 0 is the input, the others are targets. `ci` is half of a
95 % confidence interval of the mean over people; `training.measures` says what the other columns
are. "As shown" is with the portrait's own pixels near its camera (`models.portrait_blend`).
With `--limits` rows follow of what could be had: the raw splat with the true depth of what the
portrait shows, and with the portrait's own pixels there as well (`training.limits`). `--per-yaw`
prints a table over the yaws for every measure, not for PSNR alone.
Agreement of neighbouring views and jitter under camera noise follow in another table, and with
`--identity` distances between faces: see `training.identity`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from models.errors import VisavisError
from models.int8 import available
from models.quantised import Network, quantised
from models.refiner import NOISE_LEVEL, Refiner
from models.sd_turbo import SdTurbo
from models.weights import (
    LIFTER,
    REFINER,
    load_calibration,
    load_lifter,
    open_refiner,
    weights_folder,
)
from training.dataset import CorpusError, People
from training.identity import FaceEmbedder, identity
from training.limits import TrueDepth
from training.measures import Scores, per_yaw, score, summary, view_names
from training.numbers import number
from training.predictions import (
    LIFTED,
    Networks,
    Predict,
    input_repeated,
    mean_depth,
    on_grey,
    warped,
)
from training.stability import consistency, jitter
from training.variants import Variant

DIGITS = {"ssim": 3, "ssim_whole": 3, "iou": 3, "sharpness": 3, "depth": 1, "not found": 0}


def evaluate(predict: Predict, people: People, limit: int = 0) -> dict[str, float]:
    """Summary of a prediction on all people, or on the first `limit`."""
    return summary(score(predict, people, limit), view_names(people))


class HeldOut:
    """People that a training is measured on, of one or several kinds.

    Args:
        folders: in the test layout.

    Raises:
        CorpusError: one holds no people, or two have the same name.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        names = [folder.resolve().name for folder in folders]
        if len(set(names)) < len(names):
            raise CorpusError("Two folders to be measured on have the same name. Rename one.")
        prefixes = [f"held_out_{name}" for name in names] if len(names) > 1 else ["held_out"]
        self._people = {
            prefix: People(folder) for prefix, folder in zip(prefixes, folders, strict=False)
        }

        for folder, people in zip(folders, self._people.values(), strict=True):
            if people.views_per_person < 2 or people.picture_size < LIFTED:
                raise CorpusError(
                    f"{folder} cannot be measured on: it takes an input and another view of each "
                    f"person, {LIFTED} pixels wide or more."
                )

    def __bool__(self) -> bool:
        return bool(self._people)

    def measure(self, predict: Predict, limit: int) -> dict[str, float]:
        """Summaries over the first `limit` people of each kind, under the names that logs have:
        with the folder's name in them, if there are several."""
        return {
            f"{prefix}_{key}": value
            for prefix, people in self._people.items()
            for key, value in evaluate(predict, people, limit).items()
        }


def table(rows: dict[str, dict[str, float]], title: str = "", digits: int = 2) -> str:
    """Rows of measures as a Markdown table, with `title` in its corner; `digits` after the point,
    where DIGITS does not say how many."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["| " + " | ".join([title, *names]) + " |", "|---" * (len(names) + 1) + "|"]
    for label, row in rows.items():
        cells = (f"{row[n]:.{DIGITS.get(n, digits)}f}" if n in row else "-" for n in names)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_sheet(
    path: Path, predictions: dict[str, Predict], people: People, count: int, size: int = 256
) -> None:
    """A picture with, for each of `count` people, the truth above each prediction, at pitch 0
    if there are such views, each `size` pixels wide."""
    rows = []
    names = view_names(people)
    level = [index for index, name in enumerate(names) if "/" not in name]
    if len(level) < 2:  # photographs are hardly ever quite level
        level = list(range(len(names)))
    for person in range(min(count, len(people))):
        views = people.views(np.array([person]), np.array([level]), size)
        pictures = [on_grey(views.rgba[0])]
        pictures += [on_grey(predict(views).rgba) for predict in predictions.values()]
        rows += [torch.cat(list(picture), -1) for picture in pictures]
    sheet = torch.cat(rows, 1).clamp(0, 1).permute(1, 2, 0).numpy()
    if not cv2.imwrite(str(path), (sheet[..., ::-1] * 255).round().astype(np.uint8)):
        raise OSError(f"cannot write {path}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train evaluate`."""
    parser.add_argument("--people", type=Path, required=True, help="folder in the test layout")
    parser.add_argument("--lifter", type=Path, help="weights; default: those that ship")
    parser.add_argument(
        "--refiner",
        type=Path,
        help="weights, or where the large refiner is: what `visavis-train sd-turbo` wrote, or a "
        "pipeline of diffusers; default: those that ship",
    )
    parser.add_argument(
        "--levels",
        type=number(0, 1),
        nargs="*",
        help="of noise; the engine uses 0.05 (default: 0 0.05 0.2 0.5; with --int8 the first two)",
    )
    parser.add_argument(
        "--int8", action="store_true", help="in eight bits, as engines compute on CPUs with VNNI"
    )
    parser.add_argument("--size", type=int, choices=[256, 512], default=256, help="of the views")
    parser.add_argument("--limit", type=int, default=0, help="people at most; 0: all")
    parser.add_argument("--json", type=Path, help="write the rows, and every score, here")
    parser.add_argument("--sheet", type=Path, help="picture of truth, raw and refined to write")
    parser.add_argument("--plot", type=Path, help="picture of the measures over views to write")
    parser.add_argument("--identity", action="store_true", help="measure distances between faces")
    parser.add_argument("--per-yaw", action="store_true", help="print each measure by yaw")
    parser.add_argument(
        "--limits", action="store_true", help="measure too what true depth would bring"
    )
    parser.add_argument("--sheet-people", type=int, default=6, help="people on the sheet")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train evaluate` asks for."""
    _check_outputs(options)
    embed = FaceEmbedder() if options.identity else None
    people = People(options.people)
    lifter, refiner = load_lifter(options.lifter), open_refiner(options.refiner)
    variant = Variant.of(options.lifter, options.refiner)
    if options.levels is None:
        options.levels = [0.0, NOISE_LEVEL] if options.int8 else [0.0, NOISE_LEVEL, 0.2, 0.5]
    if options.int8:
        if max(options.levels, default=0) > NOISE_LEVEL:
            raise VisavisError(
                f"Eight bits are calibrated for levels up to {NOISE_LEVEL:g}. Give no higher ones."
            )
        lifter = _in_eight_bits(lifter, options.lifter or weights_folder() / LIFTER)
        if isinstance(refiner, Refiner):
            refiner = _in_eight_bits(refiner, options.refiner or weights_folder() / REFINER)
    if isinstance(refiner, SdTurbo):
        variant = Variant(variant.layers)  # the cards of small refiners say nothing of it
        if torch.cuda.is_available():
            refiner.to("cuda", torch.bfloat16)
    networks = {"raw": Networks(lifter, variant=variant)}
    for level in options.levels:
        networks[f"refined, sigma {level:g}"] = Networks(lifter, refiner, level, variant=variant)
    networks["raw, as shown"] = replace(networks["raw"], blend=True)
    if options.levels:
        level = min(options.levels, key=lambda each: abs(each - NOISE_LEVEL))
        whole = replace(networks[f"refined, sigma {level:g}"], blend=True)
        networks[f"refined, sigma {level:g}, as shown"] = whole
    depth = mean_depth(people)
    if depth is None and options.limits:
        raise VisavisError(f"{options.people} holds no depth, which --limits needs. Leave it out.")
    limits: dict[str, Predict] = {
        "raw, true depth": TrueDepth(networks["raw"]),
        "raw, true depth and pixels": TrueDepth(networks["raw"], pixels=True),
    }
    predictions: dict[str, Predict] = {
        "input repeated": input_repeated,
        **({} if depth is None else {"warped with the mean head": warped(depth)}),
        "raw, no mask given": Networks(lifter, given=False, variant=variant),
        **networks,
        **(limits if options.limits else {}),
    }
    names = view_names(people)
    scores: dict[str, Scores] = {
        label: score(predict, people, options.limit, options.size)
        for label, predict in predictions.items()
    }
    rows = {label: summary(values, names) for label, values in scores.items()}
    print(table(rows), end="\n\n", flush=True)
    yaws = {label: per_yaw(values, names) for label, values in scores.items()}
    if options.per_yaw:
        for name in dict.fromkeys(name for row in yaws.values() for name in row):
            measured = {label: row[name] for label, row in yaws.items() if name in row}
            print(table(measured, name, DIGITS.get(name, 2)), end="\n\n", flush=True)
    moving = {
        label: {
            "neighbours agree, dB": consistency(chain, people, options.limit),
            "jitter, levels": jitter(chain, people, options.limit),
        }
        for label, chain in networks.items()
    }
    print(table(moving), flush=True)
    report: dict[str, object] = {"views": names, "rows": rows, "yaws": yaws, "moving": moving}
    if embed:
        faces = identity(predictions, people, names, embed, options.limit, options.size)
        print("\n" + table(faces, "identity distance"))
        report["identity"] = faces
    if options.sheet:
        plain: dict[str, Predict] = {name: one for name, one in networks.items() if not one.blend}
        write_sheet(options.sheet, plain, people, options.sheet_people, options.size)
    if options.plot:
        from training.plots import per_view  # needs matplotlib, which the tables do not

        per_view(scores, names, options.plot)
    if options.json:
        report["scores"] = {
            label: {name: _plain(values) for name, values in measured.items()}
            for label, measured in scores.items()
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def _in_eight_bits(network: Network, path: Path) -> Network:
    if not available():
        raise VisavisError("This CPU has no VNNI, which --int8 needs. Leave it out.")
    calibration = load_calibration(path)
    if calibration is None:
        raise VisavisError(
            f"{path.name} has no calibration. Make one with: visavis-train calibrate"
        )
    return quantised(network, calibration, torch.float32)


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in values]


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse before minutes of work what could not be written after them."""
    for path in filter(None, (options.json, options.sheet, options.plot)):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    refused = []
    if options.sheet and not cv2.haveImageWriter(str(options.sheet)):
        refused.append(options.sheet)
    if options.plot:
        from matplotlib.figure import Figure

        if options.plot.suffix[1:].lower() not in Figure().canvas.get_supported_filetypes():
            refused.append(options.plot)
    if refused:
        raise VisavisError(f"Pictures cannot be written as {refused[0].name}. Name it .png, say.")
