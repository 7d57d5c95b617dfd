from pathlib import Path

import numpy as np
import pytest

from tests.training.balls import YAWS, ball


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished shard of two people, and an unfinished one."""
    folder = tmp_path_factory.mktemp("people")
    shard = folder / "shard_00000"
    shard.mkdir()
    rng = np.random.default_rng(0)
    views = [[ball(yaw, color) for yaw in YAWS] for color in rng.uniform(0.3, 1, (2, 3))]
    np.save(shard / "rgba.npy", np.array([[v[0] for v in row] for row in views]))
    np.save(shard / "depth.npy", np.array([[v[1] for v in row] for row in views]))
    cameras = [[np.append(v[2].ravel(), 0.75) for v in row] for row in views]
    np.save(shard / "camera.npy", np.array(cameras, np.float32))
    (folder / "shard_00001.part").mkdir()
    return folder
