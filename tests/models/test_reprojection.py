"""What the portrait shows of a view's points: on a plane and a step whose pictures are known."""

import math

import pytest
import torch
from torch import Tensor

from models.camera import Camera, viewpoint_camera
from models.lifter import pixel_grid
from models.refiner import refiner_input
from models.reprojection import PortraitSurface, portrait_detail, readable
from models.viewpoint import Viewpoint

SIZE = 64
DISTANCE = 0.75


def wave(x: Tensor, y: Tensor) -> Tensor:
    """A smooth pattern on a plane, by metres. [3, ...]"""
    return 0.5 + 0.4 * torch.stack([torch.sin(60 * x), torch.cos(50 * y), torch.sin(40 * (x + y))])


def rays(size: int) -> tuple[Tensor, Tensor]:
    x, y = pixel_grid(size, torch.zeros(()))[0] * math.tan(math.radians(12))
    return x, y


def plane_seen(viewpoint: Viewpoint) -> tuple[Tensor, Tensor, Tensor]:
    """A view of the plane z = 0 of head space without colours: what was splatted [6, H, W], and the
    points [H, W] of the plane that it sees."""
    camera = viewpoint_camera(viewpoint, DISTANCE, SIZE)
    pixel = torch.arange(SIZE) + 0.5
    x, y = torch.meshgrid(pixel, pixel, indexing="xy")
    direction = torch.linalg.inv(camera.K) @ torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    rotation, shift = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    eye, turned = -rotation.T @ shift, rotation.T @ direction
    far = -eye[2] / turned[2]
    points = eye[:, None] + turned * far
    splatted = torch.zeros(6, SIZE, SIZE)
    splatted[4], splatted[5] = far.view(SIZE, SIZE), 1
    return splatted, points[0].view(SIZE, SIZE), points[1].view(SIZE, SIZE)


def surface_of_plane(size: int = 256) -> PortraitSurface:
    x, y = rays(size)
    picture = torch.cat([wave(x * DISTANCE, y * DISTANCE), torch.ones(1, size, size)])
    forward = torch.eye(4)
    forward[2, 3] = DISTANCE
    return PortraitSurface(picture[None], torch.full((1, 1, size, size), DISTANCE), forward)


def detail_of(surface: PortraitSurface, splatted: Tensor, camera: Camera) -> Tensor:
    """Of one view. [6, H, W] -> [4, H, W]"""
    move = surface.camera_from_head @ torch.linalg.inv(camera.world_to_camera)
    return portrait_detail(
        splatted[None, None], camera.K[None, None], move[None, None], surface.picture, surface.depth
    )[0, 0]


@pytest.mark.parametrize(
    "viewpoint",
    [
        Viewpoint(),
        Viewpoint(yaw=25, pitch=-10, roll=8),
        Viewpoint(yaw=-20, zoom=1.5),
        Viewpoint(eye=(0.1, -0.05, -0.6)),
    ],
)
def test_a_plane_is_read_where_the_view_sees_it(viewpoint: Viewpoint) -> None:
    splatted, x, y = plane_seen(viewpoint)
    camera = viewpoint_camera(viewpoint, DISTANCE, SIZE)
    detail = detail_of(surface_of_plane(), splatted, camera)
    inside = (torch.maximum(x.abs(), y.abs()) / DISTANCE) < math.tan(math.radians(11.5))
    assert inside.float().mean() > 0.3
    assert (detail[3][inside] > 0.999).all()
    error = (detail[:3] - wave(x, y))[:, inside].abs()
    assert error.max() < 0.01  # bilinear reading of a smooth wave


def test_it_is_the_difference_from_what_was_splatted() -> None:
    splatted, x, y = plane_seen(Viewpoint(yaw=10))
    splatted[:3], splatted[5] = 0.25, 0.5
    splatted[4] *= 0.5
    camera = viewpoint_camera(Viewpoint(yaw=10), DISTANCE, SIZE)
    detail = detail_of(surface_of_plane(), splatted, camera)
    middle = slice(20, 44)
    wanted = 0.5 * (0.5 * wave(x, y) - 0.25)  # premultiplied, times half a certainty
    torch.testing.assert_close(
        detail[:3, middle, middle], wanted[:, middle, middle], atol=0.01, rtol=0
    )


def test_what_is_behind_or_before_the_portraits_surface_is_not_read() -> None:
    splatted, _, _ = plane_seen(Viewpoint())
    camera = viewpoint_camera(Viewpoint(), DISTANCE, SIZE)
    surface = surface_of_plane()
    for offset, sure in ((0.005, 1.0), (0.015, 0.5), (0.03, 0.0), (-0.03, 0.0)):
        moved = splatted.clone()
        moved[4] += offset
        detail = detail_of(surface, moved, camera)
        torch.testing.assert_close(detail[3, 20:44, 20:44], torch.full((24, 24), sure))
        if not sure:
            assert detail[:3].abs().max() == 0


def test_nothing_is_read_off_the_mask_or_where_nothing_was_splatted() -> None:
    splatted, _, _ = plane_seen(Viewpoint())
    camera = viewpoint_camera(Viewpoint(), DISTANCE, SIZE)
    surface = surface_of_plane()
    surface.picture[:, :, :, 128:] = 0
    splatted[:, :8] = 0
    detail = detail_of(surface, splatted, camera)
    assert detail[:, :8].abs().max() == 0
    assert detail[3, 8:, 33:].abs().max() == 0
    assert (detail[3, 8:, :31] > 0.999).all()
    assert torch.isfinite(detail).all()


def test_views_of_a_batch_are_as_each_alone() -> None:
    viewpoints = [Viewpoint(yaw=5), Viewpoint(yaw=-30), Viewpoint(pitch=12), Viewpoint(zoom=2)]
    cameras = [viewpoint_camera(v, DISTANCE, SIZE) for v in viewpoints]
    surfaces = [surface_of_plane(), surface_of_plane()]
    surfaces[1].picture[:, :3].mul_(0.5)
    surfaces[1].depth.add_(0.004)
    splats = torch.stack([plane_seen(v)[0] for v in viewpoints])
    K = torch.stack([c.K for c in cameras])
    moves = torch.stack(
        [surfaces[0].camera_from_head @ torch.linalg.inv(c.world_to_camera) for c in cameras]
    )
    together = portrait_detail(
        splats.view(2, 2, 6, SIZE, SIZE),
        K.view(2, 2, 3, 3),
        moves.view(2, 2, 4, 4),
        torch.cat([s.picture for s in surfaces]),
        torch.cat([s.depth for s in surfaces]),
    ).flatten(0, 1)
    for index, camera in enumerate(cameras):
        alone = detail_of(surfaces[index // 2], splats[index], camera)
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-5)


def test_coarser_depth_does() -> None:
    splatted, _, _ = plane_seen(Viewpoint(yaw=15))
    camera = viewpoint_camera(Viewpoint(yaw=15), DISTANCE, SIZE)
    surface = surface_of_plane()
    coarse = PortraitSurface(
        surface.picture, torch.full((1, 1, 128, 128), DISTANCE), surface.camera_from_head
    )
    details = [detail_of(s, splatted, camera) for s in (surface, coarse)]
    torch.testing.assert_close(details[0][..., 8:-8, 8:-8], details[1][..., 8:-8, 8:-8])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_view_of_the_engine_is_what_training_sees(dtype: torch.dtype) -> None:
    splatted, _, _ = plane_seen(Viewpoint(yaw=15))
    splatted[:5] *= 0.8
    splatted[5] = 0.8
    camera = viewpoint_camera(Viewpoint(yaw=15), DISTANCE, SIZE)
    surface = surface_of_plane()
    detail = detail_of(surface, splatted, camera)
    wanted = refiner_input(splatted, camera.world_to_camera[2, 3], detail)
    out = torch.full((1, 10, SIZE, SIZE), torch.nan, dtype=dtype)
    found = surface.refiner_input(splatted, camera.K, camera.world_to_camera, out, 1)
    assert found is out
    tolerance = 1e-4 if dtype is torch.float32 else 5e-3
    torch.testing.assert_close(found[0].float(), wanted, atol=tolerance, rtol=tolerance)


def test_a_reading_that_fades_is_no_darker() -> None:
    depth = torch.full((1, 1, 256, 256), DISTANCE)
    depth[..., 128:] += 0.03
    portrait = torch.full((1, 4, 256, 256), 0.6)
    portrait[:, 3] = 1
    splatted = torch.cat([torch.full((3, 256, 256), 0.6), torch.zeros(1, 256, 256), depth[0],
                          torch.ones(1, 256, 256)])  # fmt: skip
    camera = viewpoint_camera(Viewpoint(), DISTANCE, 256)
    detail = portrait_detail(
        splatted[None, None], camera.K[None, None], torch.eye(4)[None, None],
        readable(portrait, depth), depth,
    )[0, 0]  # fmt: skip
    beside = detail[3, 128, 110:146]
    assert ((beside > 0.05) & (beside < 0.95)).sum() > 6  # it fades,
    assert detail[:3, :, 110:146].abs().max() < 1e-3  # and shows what was splatted


def test_steps_of_the_portraits_depth_are_left_out() -> None:
    portrait = torch.rand(1, 4, 64, 64)
    portrait[:, 3] = 1
    depth = torch.full((1, 1, 64, 64), DISTANCE)
    depth += torch.arange(64) * 0.002  # a slope of two millimetres in a pixel is no step
    assert torch.allclose(readable(portrait, depth), portrait)
    depth[..., 32:] += 0.03
    kept = readable(portrait, depth)
    assert kept[..., 31:33].abs().max() == 0
    share = (kept / portrait)[0, 3, 0]
    assert (share[:33].diff() <= 0).all() and (share[31:].diff() >= 0).all()
    assert share.diff().abs().max() < 0.2  # a reading that began at once would draw a line
    assert torch.allclose(kept[..., :24], portrait[..., :24])
    assert torch.allclose(kept[..., 40:], portrait[..., 40:])
    coarse = readable(portrait, depth[..., ::2, ::2])
    assert coarse.shape == portrait.shape and coarse[..., 31:33].max() < 0.6
