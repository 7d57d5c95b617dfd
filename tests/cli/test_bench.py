from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.viewpoint import Viewpoint
from stream import bench, cli
from stream.avatar_lease import AvatarLease
from stream.bench import Sink, Times, moving_viewpoint
from stream.settings import Settings


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("loaded")
def test_every_stage_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "REPEATS", 5)
    monkeypatch.setattr(bench, "WARM_UP", 2)
    monkeypatch.setattr(bench, "PORTRAITS", 2)
    assert cli.main(["bench", "--json", "--seconds", "1", "--receivers", "2"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    result = json.loads(out)
    stages = result["stages_ms"]
    assert list(stages) == ["portrait", "lift", "rasterise", "refine", "i420", "render", "encode"]
    for times in stages.values():
        assert 0 < times["median"] <= times["p95"] and times["runs"] >= 2
    # The stages of a picture are parts of its time.
    parts = sum(stages[name]["median"] for name in ("rasterise", "refine", "i420"))
    assert parts < 2 * stages["render"]["p95"]
    assert result["receivers"] == 2 and result["size"] == 256
    for rate in result["fps"].values():
        assert rate["total"] >= rate["per_receiver"] >= 0
    assert result["yardstick"]["before_ms"]["median"] > 0
    assert set(result["load_average"]) == {"before", "after"}
    assert result["machine"]["instruction_sets"].keys() >= {"AVX2", "AMX bf16"}


def test_words_for_people() -> None:
    times = Times(1.5, 2.5, 10)
    measured = bench.Bench(
        engine="cpu",
        size=256,
        receivers=1,
        stages={"refine": times},
        rendering=bench.Rate(60.0, 60.0),
        end_to_end=bench.Rate(55.0, 55.0),
        yardstick=(times, times),
        load=(0.1, 1.1),
    )
    words = measured.in_words()
    assert "refine                1.50      2.50     10" in words
    assert "end to end        55.0 frames per second" in words


def test_times_are_percentiles() -> None:
    assert Times.of(float(value) for value in range(1, 102)) == Times(51.0, 96.0, 101)


def test_the_view_moves_without_a_jump() -> None:
    yaws = [moving_viewpoint(index).yaw for index in range(121)]
    assert max(yaws) > 25 and min(yaws) < -25
    assert np.abs(np.diff(yaws)).max() < 2
    assert moving_viewpoint(0) != moving_viewpoint(1)
    assert isinstance(moving_viewpoint(7), Viewpoint)


def test_a_sink_encodes_the_newest_picture_and_drops_the_others() -> None:
    class Nobody:
        id = "nobody"

        def close(self) -> None:
            pass

    with ThreadPoolExecutor(1) as pool:
        sink = Sink(AvatarLease(Nobody()), Settings(), pool)
        with sink._busy:  # the encoder is at work, and pictures come meanwhile
            for index in range(3):
                sink._deliver(np.full((384, 256), 100, np.uint8), None, True, index / 30)
            pool.submit(lambda: None).result()
            assert (sink.rendered, sink.encoded) == (3, 0)
        sink._deliver(np.full((384, 256), 100, np.uint8), None, True, 1.0)
    assert (sink.rendered, sink.encoded) == (4, 1)
