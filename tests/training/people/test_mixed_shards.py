"""Shards from before focal lengths were stored, beside newer ones."""

import numpy as np
import pytest

from training.dataset import FOCAL, People
from training.people.shards import Shard


@pytest.fixture
def mixed(tmp_path):
    for number, numbers in enumerate((17, 18, 17)):
        shard = Shard(tmp_path / f"shard_{number:05d}", range(number * 100, number * 100 + 2))
        shard.create()
        camera = np.zeros((2, 8, 18), np.float32)
        camera[..., :16], camera[..., 16], camera[..., 17] = np.eye(4).ravel(), 0.5, 1.5
        np.save(shard.draft / "camera.npy", camera[..., :numbers])
        shard.finish()
    return tmp_path


def test_people_of_both_are_read_in_one_batch(mixed):
    people = People(mixed)
    assert len(people) == 6
    views = people.views(np.array([0, 3, 4]), np.array([[0, 5], [1, 7], [2, 3]]), 64)
    assert np.allclose(views.focal, [[FOCAL] * 2, [1.5] * 2, [FOCAL] * 2])
    assert np.allclose(views.distance, 0.5) and views.world_to_camera.shape == (3, 2, 4, 4)
    assert np.allclose(views.nominal_distance[0], 0.5)
    assert np.allclose(views.nominal_distance[1], 0.5 * FOCAL / 1.5)
