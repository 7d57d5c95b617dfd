from pathlib import Path

import numpy as np
import pytest

from tests.training.balls import YAWS, ball


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished shard of two people, and an unfinished one."""
    folder = tmp_path_factory.mktemp("people")
    colors = np.random.default_rng(0).uniform(0.3, 1, (2, 3))
    _save(folder, [[ball(yaw, color) for yaw in YAWS] for color in colors])
    (folder / "shard_00001.part").mkdir()
    return folder


@pytest.fixture(scope="session")
def large_balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person in pictures of 512 pixels: the input, then two yaws at two pitches."""
    folder = tmp_path_factory.mktemp("large")
    color = np.array([0.8, 0.6, 0.5])
    views = [(3, 0), (-30, -15), (30, -15), (-30, 0), (30, 0)]
    _save(folder, [[ball(yaw, color, pitch, 512) for yaw, pitch in views]])
    return folder


def _save(folder: Path, views: list) -> None:
    shard = folder / "shard_00000"
    shard.mkdir()
    np.save(shard / "rgba.npy", np.array([[v[0] for v in row] for row in views]))
    np.save(shard / "depth.npy", np.array([[v[1] for v in row] for row in views]))
    cameras = [[np.append(v[2].ravel(), 0.75) for v in row] for row in views]
    np.save(shard / "camera.npy", np.array(cameras, np.float32))
