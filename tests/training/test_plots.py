"""Plots: that they are drawn, hold what was given, and say what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: visavis[train] brings it")

from matplotlib.figure import Figure

from training.cli import main
from training.plots import curves, per_view


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved while a test runs."""
    figures: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def test_each_quantity_has_a_curve_of_each_log(tmp_path: Path, drawn: list[Figure]) -> None:
    first = [{"step": s, "seconds": 1.0, "color": 1 / s, "held_out_mean": 20 + s} for s in (1, 2)]
    second = [{"step": s, "color": 2 / s} for s in (1, 2, 3)]
    for name, log in (("a", first), ("b", second)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in log))
    logs = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    out = tmp_path / "curves.png"
    assert main(["plot", *logs, "--out", str(out)]) == 0
    assert out.stat().st_size > 5000
    axes = {axis.get_title(): axis for axis in drawn[0].axes}
    assert set(axes) == {"color", "held out mean"}
    assert [line.get_ydata().tolist() for line in axes["color"].lines] == [
        [1, 0.5],
        pytest.approx([2, 1, 2 / 3]),
    ]
    assert len(axes["held out mean"].lines) == 1


def test_measures_are_plotted_over_views(tmp_path: Path, drawn: list[Figure]) -> None:
    values = np.array([[40.0, 20, 24], [42, 22, 26]])
    scores = {"raw": dict.fromkeys(("psnr", "ssim", "sharpness", "iou"), values)}
    per_view(scores, ["input", "-30", "30"], tmp_path / "views.png")
    line = drawn[0].axes[0].lines[0]
    assert line.get_ydata().tolist() == [21, 25]


def test_a_file_that_is_no_log_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.txt"
    for text, reason in (("hello\n", "not a log"), ("", "is empty"), ("[1]\n", "not a log")):
        path.write_text(text)
        assert main(["plot", str(path), "--out", str(tmp_path / "x.png")]) == 2
        said = capsys.readouterr().err
        assert reason in said and said.count("\n") == 1


def test_curves_of_nothing_but_steps_are_an_empty_picture(tmp_path: Path) -> None:
    curves({"log": [{"step": 1}]}, tmp_path / "x.png")
    assert (tmp_path / "x.png").exists()
