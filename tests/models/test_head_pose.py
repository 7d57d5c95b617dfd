import numpy as np
import pytest

from models.head_pose import _DEPTH_SCALE, REFERENCE, RIGID, fit_head_pose, look_at

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Head to camera as the viewpoint's camera sees it, [3, 3]."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def mesh_of(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Landmarks as the face mesh would give them for the reference head. [468, 3]"""
    seen = REFERENCE @ rotation.T + position
    flat = seen @ K.T
    points = np.zeros((468, 3), np.float32)
    points[RIGID, :2] = flat[:, :2] / flat[:, 2:]
    scale = 600 / position[2]
    # The mesh sees the face in a crop of its own, so its depth is along the line of sight.
    sight = position / np.linalg.norm(position)
    points[RIGID, 2] = (seen - position) @ sight * scale / _DEPTH_SCALE
    return points


@pytest.mark.parametrize("yaw", [-30, -10, 0, 20, 30])
@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (10, -8), (-12, 15)])
def test_finds_the_pose_of_the_reference(yaw: float, pitch: float, roll: float) -> None:
    # From far away, where the mesh's weak perspective is exact.
    position = np.array([0.0, 0.0, 8.0])
    pose = fit_head_pose(mesh_of(turn(yaw, pitch, roll), position), K)
    assert (pose.yaw, pose.roll) == pytest.approx((yaw, roll), abs=1.0)
    assert pose.pitch == pytest.approx(pitch, abs=2.5)  # the mesh's lean is taken off
    np.testing.assert_allclose(pose.position[:2], position[:2], atol=0.006)
    assert pose.position[2] == pytest.approx(position[2], rel=0.02)


def test_the_place_in_the_picture_does_not_change_the_pose() -> None:
    """Someone at the edge of the picture who faces the camera is seen from the front."""
    away = np.array([2.0, 0.5, 6.0])
    facing = look_at(away).T @ turn(8, 0, 0)
    pose = fit_head_pose(mesh_of(facing, away), K)
    assert pose.yaw == pytest.approx(8, abs=1.5)
    assert pose.roll == pytest.approx(0, abs=1.5)


def test_signs_a_nose_towards_the_left_of_the_picture_is_positive_yaw() -> None:
    points = mesh_of(turn(20, 0, 0), np.array([0, 0, 8.0]))
    assert points[1, 0] < (points[234, 0] + points[454, 0]) / 2
    assert fit_head_pose(points, K).yaw > 15


def test_look_at_brings_a_direction_to_the_axis() -> None:
    for direction in ([0.3, -0.2, 1.0], [0, 0, 2.0], [-0.8, 0.1, 0.5]):
        rotation = look_at(np.array(direction))
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        length = np.linalg.norm(direction)
        np.testing.assert_allclose(rotation @ direction, [0, 0, length], atol=1e-12)
