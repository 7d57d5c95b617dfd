import numpy as np
import pytest

from training.people.views import (
    FOV_DEGREES,
    GRID_PITCHES,
    TEST_YAWS,
    VIEWS,
    intrinsics,
    orbit,
    sample_views,
)


def test_nominal_camera_stands_before_the_face():
    view = orbit(0, 0, 0.75)
    assert np.allclose(
        view.world_to_camera, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.75], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize(
    ("yaw", "pitch", "axis", "sign"), [(30, 0, 0, 1), (0, 15, 1, -1), (-30, 0, 0, -1)]
)
def test_positive_yaw_is_right_and_positive_pitch_is_up(yaw, pitch, axis, sign):
    eye = np.linalg.inv(orbit(yaw, pitch, 0.75).world_to_camera)[:3, 3]
    assert np.sign(eye[axis]) == sign
    assert np.isclose(np.linalg.norm(eye), 0.75)


def test_offset_shifts_the_head_in_the_picture_and_not_in_depth():
    plain, shifted = (
        orbit(20, 5, 0.7, 3, offset).world_to_camera @ [0, 0, 0, 1]
        for offset in ((0, 0), (0.01, -0.02))
    )
    assert np.allclose(shifted - plain, [0.01, -0.02, 0, 0])


def test_rotations_are_proper():
    for view in sample_views("train", np.random.default_rng(3)):
        rotation = view.world_to_camera[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.isclose(np.linalg.det(rotation), 1)


def test_training_views_begin_with_two_inputs_near_the_front():
    for seed in range(20):
        views = sample_views("train", np.random.default_rng(seed))
        eyes = np.array([np.linalg.inv(v.world_to_camera)[:3, 3] for v in views])
        # The offset moves the camera by centimetres: directions are compared with room for it.
        yaw = np.degrees(np.arctan2(eyes[:, 0], -eyes[:, 2]))
        assert len(views) == VIEWS["train"]
        assert np.all(np.abs(yaw[:2]) < 13 + 5)
        assert np.all(np.abs(yaw) < 52 + 5)
        assert np.sum(np.abs(yaw[2:]) > 15) >= 4
        assert all(0.66 <= v.distance <= 0.86 for v in views)


def test_test_views_are_fixed_but_for_the_input():
    first, second = (sample_views("test", np.random.default_rng(s)) for s in (1, 2))
    assert len(first) == VIEWS["test"]
    assert not np.allclose(first[0].row(), second[0].row())
    for one, other, yaw in zip(first[1:], second[1:], TEST_YAWS, strict=True):
        assert np.array_equal(one.row(), other.row())
        assert np.allclose(one.row(), orbit(yaw, 0, 0.75).row())


def test_grid_views_have_the_input_of_the_test_and_every_pitch():
    test, grid = (sample_views(layout, np.random.default_rng(1)) for layout in ("test", "grid"))
    assert len(grid) == VIEWS["grid"] == 1 + len(TEST_YAWS) * len(GRID_PITCHES)
    assert np.array_equal(grid[0].row(), test[0].row())
    assert np.allclose(grid[1].row(), orbit(-45, -15, 0.75).row())
    assert np.allclose(grid[-1].row(), orbit(45, 15, 0.75).row())


def test_row_holds_the_matrix_and_the_distance():
    view = orbit(10, 5, 0.7, 2, (0.01, 0.0))
    row = view.row()
    assert row.dtype == np.float32
    assert np.allclose(row[:16].reshape(4, 4), view.world_to_camera, atol=1e-6)
    assert np.isclose(row[16], 0.7)


def test_focal_length_gives_the_field_of_view():
    k = intrinsics(256)
    assert np.isclose(2 * np.degrees(np.arctan(128 / k[0, 0])), FOV_DEGREES)
