"""Plots of training logs and of evaluations.

    visavis-train plot LOG.jsonl [LOG.jsonl ...] --out PNG

Every loss, and every measure of the held-out people, over steps; one line for each log.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from training.dataset import CorpusError
from training.measures import Scores

NOT_PLOTTED = {"step", "seconds", "people"}
SHOWN = ("psnr", "ssim", "sharpness", "iou")
"""Measures of `training.measures` that an evaluation's plot has."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train plot`."""
    parser.add_argument(
        "logs", type=Path, nargs="+", metavar="LOG", help="JSON lines of a training"
    )
    parser.add_argument("--out", type=Path, required=True, help="picture to write")


def run(options: argparse.Namespace) -> None:
    """Do what `visavis-train plot` asks for."""
    curves({str(path): read_log(path) for path in options.logs}, options.out)


def read_log(path: Path) -> list[dict[str, float]]:
    """The records of a training's log.

    Raises:
        CorpusError: the file is not such a log.
    """
    try:
        # The last line may still be being written.
        lines = path.read_text().rpartition("\n")[0].split("\n")
        records = [json.loads(line) for line in lines if line.strip()]
        steps = [float(record["step"]) for record in records]
    except (ValueError, KeyError, TypeError):
        raise CorpusError(f"{path} is not a log of visavis-train lifter or refiner.") from None
    if not steps:
        raise CorpusError(f"{path} is empty: nothing has been trained yet.")
    return records


def curves(logs: dict[str, list[dict[str, float]]], out: Path) -> None:
    """Plot every quantity of some logs over steps into `out`."""
    names = list(dict.fromkeys(key for log in logs.values() for record in log for key in record))
    names = [name for name in names if name not in NOT_PLOTTED]
    columns = max(1, min(5, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(3.2 * columns, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.remove()
    for axis, name in zip(axes, names, strict=False):
        for number, log in enumerate(logs.values()):
            points = [(record["step"], record[name]) for record in log if name in record]
            if points:
                axis.plot(*zip(*points, strict=True), color=f"C{number}", linewidth=1)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    if len(logs) > 1:
        lines = [
            Line2D([], [], color=f"C{number}", label=label) for number, label in enumerate(logs)
        ]
        figure.legend(handles=lines, loc="outside upper center", fontsize=8)
    figure.savefig(out, dpi=110)


def per_view(scores: dict[str, Scores], names: list[str], out: Path) -> None:
    """Plot measures over the views of an evaluation, with 95 % intervals over people, into `out`.

    Args:
        scores: [people, views] of each measure, for each row of the table.
        names: of the views; the first is the input, which is left out.
        out: picture to write.
    """
    figure = Figure(figsize=(max(8.0, 0.5 * len(names)), 9), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    places = np.arange(1, len(names))
    for axis, measure in zip(axes, SHOWN, strict=True):
        for shift, (label, measured) in zip(
            np.linspace(-0.15, 0.15, len(scores)), scores.items(), strict=True
        ):
            values = measured[measure][:, 1:]
            spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(places))
            interval = 1.96 * spread / math.sqrt(len(values))
            axis.errorbar(
                places + shift, values.mean(0), interval, label=label, linewidth=1, elinewidth=0.7
            )
        axis.set_title({"psnr": "PSNR over the person, dB", "ssim": "SSIM over the person"}.get(
            measure, measure
        ))  # fmt: skip
        axis.set_xticks(places, names[1:], rotation=90 if len(names) > 9 else 0)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(out, dpi=110)
