import math

import pytest
import torch
from torch import Tensor

from models.camera import Camera, focal_pixels, portrait_camera, viewpoint_camera
from models.viewpoint import Viewpoint


def project(camera: Camera, *point: float) -> tuple[float, float]:
    at = camera.world_to_camera @ torch.tensor([*point, 1.0])
    x, y, w = (camera.K @ at[:3]).tolist()
    return x / w, y / w


def eye_of(camera: Camera) -> Tensor:
    rotation, shift = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    return -rotation.T @ shift


def test_portrait_camera_sees_the_mean_eyes_where_the_crop_puts_them() -> None:
    camera = portrait_camera()
    left, right = project(camera, -0.032, -0.036, -0.075), project(camera, 0.032, -0.036, -0.075)
    assert (left[0] + right[0]) / 2 == pytest.approx(128)
    assert left[1] == pytest.approx(96, abs=0.5)
    assert right[0] - left[0] == pytest.approx(57, abs=0.5)
    assert focal_pixels(256) == pytest.approx(602.2, abs=0.05)


def test_a_larger_picture_is_the_same_picture() -> None:
    small, large = portrait_camera(size=256), portrait_camera(size=512)
    for point in ((0, 0, 0), (0.05, -0.1, 0.02)):
        assert project(large, *point) == pytest.approx([2 * v for v in project(small, *point)])


@pytest.mark.parametrize("yaw", [-60, -25, 0, 25, 60])
@pytest.mark.parametrize("pitch", [-30, 0, 15])
@pytest.mark.parametrize("roll", [0, 40])
def test_the_eye_stands_on_its_sphere_and_looks_at_the_head(
    yaw: float, pitch: float, roll: float
) -> None:
    camera = viewpoint_camera(Viewpoint(yaw, pitch, 1.3, roll), distance=0.8)
    rotation = camera.world_to_camera[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)
    assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=1e-6)
    y, p = math.radians(yaw), math.radians(pitch)
    expected = 0.8 * torch.tensor(
        [math.sin(y) * math.cos(p), -math.sin(p), -math.cos(y) * math.cos(p)]
    )
    torch.testing.assert_close(eye_of(camera), expected, atol=1e-6, rtol=0)
    assert project(camera, 0, 0, 0) == pytest.approx((128, 128), abs=1e-3)


def test_moving_the_eye_to_the_right_brings_the_nose_to_the_left_of_the_ears() -> None:
    nose, middle_of_ears = (0, 0, -0.11), (0, 0, 0.01)
    right, up = viewpoint_camera(Viewpoint(yaw=25)), viewpoint_camera(Viewpoint(pitch=20))
    assert project(right, *nose)[0] < project(right, *middle_of_ears)[0] - 10
    assert project(up, *nose)[1] > project(up, *middle_of_ears)[1] + 10


def test_zoom_enlarges_about_the_middle() -> None:
    x, y = project(viewpoint_camera(Viewpoint(zoom=2)), 0.03, 0.02, 0)
    x1, y1 = project(portrait_camera(), 0.03, 0.02, 0)
    assert (x - 128, y - 128) == pytest.approx((2 * (x1 - 128), 2 * (y1 - 128)), abs=1e-3)


@pytest.mark.parametrize("eye", [None, (0.2, 0.1, -0.6)])
def test_roll_turns_the_picture_clockwise(eye: tuple[float, float, float] | None) -> None:
    upright = project(viewpoint_camera(Viewpoint(eye=eye)), 0.04, -0.02, 0.01)
    rolled = project(viewpoint_camera(Viewpoint(eye=eye, roll=90)), 0.04, -0.02, 0.01)
    right, down = upright[0] - 128, upright[1] - 128
    assert (rolled[0] - 128, rolled[1] - 128) == pytest.approx((-down, right), abs=1e-3)


def test_an_eye_before_the_middle_of_the_screen_is_the_portrait_camera() -> None:
    window = viewpoint_camera(Viewpoint(eye=(0, 0, -0.75)))
    torch.testing.assert_close(window.K, portrait_camera().K)
    torch.testing.assert_close(window.world_to_camera, portrait_camera().world_to_camera)


@pytest.mark.parametrize("eye", [(0, 0, -0.75), (0.3, -0.1, -0.5), (-0.4, 0.2, -1.2)])
def test_the_screen_is_a_window_that_stands_still(eye: tuple[float, float, float]) -> None:
    camera = viewpoint_camera(Viewpoint(eye=eye))
    torch.testing.assert_close(eye_of(camera), torch.tensor(eye), atol=1e-6, rtol=0)
    for x, y in ((0, 0), (0.1, -0.05)):  # in the window's plane nothing moves with the eye
        moved = project(camera, x, y, 0)
        assert moved == pytest.approx(project(portrait_camera(), x, y, 0), abs=1e-3)


def test_refuses_a_camera_inside_the_head() -> None:
    with pytest.raises(ValueError, match="positive"):
        portrait_camera(distance=0)
