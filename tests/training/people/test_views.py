import numpy as np
import pytest

from models.camera import focal_pixels
from training.people.views import (
    FOCAL,
    FOV_DEGREES,
    GRID_PITCHES,
    TEST_YAWS,
    VIEWS,
    intrinsics,
    orbit,
    sample_views,
)

VARIED = ("distance", "focal")


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


def aim(view):
    """Yaw and pitch in degrees from which a view looks at the head, whatever shift it has."""
    away = -view.world_to_camera[2, :3]  # from the head to the camera, before the shift
    return np.degrees([np.arctan2(away[0], -away[2]), np.arcsin(-away[1])])


def test_training_views_are_two_inputs_and_six_targets_over_the_whole_range():
    people = [sample_views("train", np.random.default_rng(seed)) for seed in range(300)]
    angles = np.abs([[aim(v) for v in views] for views in people])  # [300, 8, 2]
    assert angles.shape[1] == VIEWS["train"]
    inputs, targets = angles[:, :2], angles[:, 2:]
    assert np.all(inputs.max((0, 1)) <= [15, 10]) and np.all(inputs.max((0, 1)) > [13, 8])
    assert np.all(targets.max((0, 1)) <= [60, 30]) and np.all(targets.max((0, 1)) > [57, 27])
    assert 0.5 < (targets[..., 1] < 15).mean() < 0.9
    signed = np.array([[aim(v)[0] for v in views[2:]] for views in people])
    assert np.all((signed < -20).sum(1) >= 2) and np.all((signed > 20).sum(1) >= 2)


def test_targets_from_near_and_far_show_the_head_in_the_same_size():
    views = [v for seed in range(200) for v in sample_views("train", np.random.default_rng(seed))]
    distance, focal = (np.array([getattr(v, name) for v in views]) for name in VARIED)
    nominal = distance * FOCAL / focal
    assert 0.66 <= nominal.min() and nominal.max() <= 0.86
    assert 0.4 <= distance.min() < 0.43 and 1.15 < distance.max() <= 1.2
    assert 0.3 < (focal == FOCAL).reshape(-1, 8)[:, 2:].mean() < 0.7


def test_inputs_are_seen_by_the_portrait_camera():
    for seed in range(20):
        assert {v.focal for v in sample_views("train", np.random.default_rng(seed))[:2]} == {FOCAL}


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


def test_row_holds_the_matrix_the_distance_and_the_focal_length():
    view = orbit(10, 5, 0.7, 2, (0.01, 0.0), focal=1.5)
    row = view.row()
    assert row.dtype == np.float32
    assert np.allclose(row[:16].reshape(4, 4), view.world_to_camera, atol=1e-6)
    assert np.allclose(row[16:], [0.7, 1.5])


def test_the_portrait_camera_is_that_of_the_models():
    assert np.isclose(FOCAL, focal_pixels(1))


def test_focal_length_gives_the_field_of_view():
    k = intrinsics(256)
    assert np.isclose(2 * np.degrees(np.arctan(128 / k[0, 0])), FOV_DEGREES)
