"""The lifter's geometry: what its maps mean, whatever the weights are."""

import math

import torch

from models.lifter import (
    CHANNELS,
    HALF_FOV,
    Layers,
    Lifter,
    LifterConfig,
    filled,
    pixel_grid,
    surface_tangents,
    to_gaussians,
)

SIZE = 32
DISTANCE = torch.tensor([0.75])


def flat(size: int = SIZE) -> Layers:
    return Layers(
        torch.zeros(1, CHANNELS, size, size), torch.zeros(1, CHANNELS, size // 2, size // 2)
    )


def test_network_keeps_its_promised_shapes() -> None:
    network = Lifter(LifterConfig(size=64, stem=8, channels=(8, 16, 16), blocks=(1, 1, 1)))
    image = torch.rand(2, 3, 64, 64)
    front, back = network(image, image[:, :1], torch.ones(2))
    assert front.shape == (2, CHANNELS, 64, 64)
    assert back.shape == (2, CHANNELS, 32, 32)


def test_front_layer_projects_onto_its_own_pixels() -> None:
    image = torch.rand(1, 3, SIZE, SIZE)
    lifted = to_gaussians(flat(), image, DISTANCE)
    means = lifted.means[0, : SIZE * SIZE]
    focal = 0.5 * SIZE / math.tan(HALF_FOV)
    pixels = means[:, :2] / means[:, 2:] * focal + SIZE / 2
    axis = torch.arange(SIZE) + 0.5
    wanted = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    torch.testing.assert_close(pixels, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(means[:, 2], torch.full((SIZE * SIZE,), 0.75))
    colors = lifted.colors[0, : SIZE * SIZE, :3]
    torch.testing.assert_close(colors, image[0].flatten(1).T)


def test_back_layer_lies_behind_the_front() -> None:
    layers = flat()
    layers.front[:, :1] = torch.linspace(-1, 1, SIZE).view(1, 1, 1, SIZE)
    layers.back[:, :1] = -20  # as near as it can get
    lifted = to_gaussians(layers, torch.rand(1, 3, SIZE, SIZE), DISTANCE)
    behind = lifted.means[0, SIZE * SIZE :, 2].view(SIZE // 2, SIZE // 2)
    front = lifted.depth[0, 0].view(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    assert (behind > front + 0.009).all()


def test_a_gap_in_the_person_is_filled_and_a_narrow_one_left_open() -> None:
    layers = flat(64)
    front, mask = layers.front[0], torch.zeros(1, 1, 64, 64)
    front[1:5], front[6:] = 0.7, 0.3
    opacity = front[5]
    opacity[:], mask[..., 6:58, 6:58] = 3.0, 1.0
    opacity[:6] = opacity[58:] = opacity[:, :6] = opacity[:, 58:] = -4
    opacity[16:26, 6:50] = -2.0  # a plait, up to the mask's edge
    opacity[42:50, 12:50] = -2.0  # where layer 1 is open for layer 2
    front[0] = torch.where(torch.arange(64) < 24, 0.5, -0.5)  # a step of depth down the middle
    front[0, 16:26, 6:50] = 9.0  # of which nobody knows anything
    before = layers.front.clone()
    result = filled(layers, mask)
    patch = result.front[0, :, 16:26, 7:50]
    assert (patch[5] == 2).all() and (patch[1:3] == 0).all() and (patch[6:9] == 0).all()
    assert (patch[9] == 0.3).all()
    assert -0.5 < patch[0, 0, -1] < patch[0, 0, 0] <= 0.5
    assert patch[0].mean() > -0.1  # nearer to the farther side: that is 17 of these 43 columns
    untouched = torch.ones(64, 64, dtype=torch.bool)
    untouched[13:29, 7:53] = False  # three pixels around it are its rim
    assert torch.equal(result.front[0, :, untouched], before[0, :, untouched])
    assert (result.front[0, 5, 16:26, 6] == -2).all()
    assert torch.equal(layers.front, before)
    for believed in (torch.zeros_like(mask), 0.8 * mask):
        assert torch.equal(filled(layers, believed).front, before)


def test_a_person_without_anything_solid_is_filled_at_the_heads_middle() -> None:
    layers = flat()
    layers.front[:, 5], layers.front[:, 0] = -3.0, 4.0
    front = filled(layers, torch.ones(1, 1, SIZE, SIZE)).front[0]
    assert (front[5] == 2).all() and (front[0] == 0).all()


def test_half_resolution_stands_for_two_by_two_pixels() -> None:
    layers = flat()
    layers.front[:, :1] = torch.randn(1, 1, SIZE, SIZE)
    image = torch.rand(1, 3, SIZE, SIZE)
    half = to_gaussians(layers, image, DISTANCE, 2)
    count = SIZE * SIZE // 4
    focal = 0.5 * SIZE / math.tan(HALF_FOV)
    means = half.means[0, :count]
    pixels = means[:, :2] / means[:, 2:] * focal + SIZE / 2
    axis = 2 * torch.arange(SIZE // 2) + 1.0
    wanted = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    torch.testing.assert_close(pixels, wanted, atol=1e-4, rtol=0)

    def blocks(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (SIZE // 2, 2)).unflatten(-3, (SIZE // 2, 2)).mean((-1, -3))

    depth = blocks(to_gaussians(layers, image, DISTANCE).depth[0, 0])
    torch.testing.assert_close(means[:, 2], depth.flatten())
    torch.testing.assert_close(half.colors[0, :count, :3], blocks(image[0]).flatten(1).T)


def test_half_resolution_discs_are_twice_as_wide() -> None:
    image = torch.rand(1, 3, SIZE, SIZE)
    wide = to_gaussians(flat(), image, DISTANCE, 2).axes[0, 0].norm(dim=-1)
    narrow = to_gaussians(flat(), image, DISTANCE).axes[0, 0].norm(dim=-1)
    torch.testing.assert_close(wide, 2 * narrow)


def test_tangents_of_a_plane_are_its_own() -> None:
    step = 2 * math.tan(HALF_FOV) / SIZE
    rays = pixel_grid(SIZE, torch.zeros(1)) * math.tan(HALF_FOV)
    normal, offset = torch.tensor([0.4, -0.2, 1.0]), 0.75
    depth = offset / (normal[0] * rays[:, :1] + normal[1] * rays[:, 1:] + normal[2])
    for tangent in surface_tangents(depth, rays, step):
        inner = (tangent * normal.view(1, 3, 1, 1)).sum(1)[..., 3:-3, 3:-3]
        assert inner.abs().max() < 0.03 * tangent.norm(dim=1).max()


def test_discs_do_not_span_a_depth_step() -> None:
    depth = torch.full((1, 1, SIZE, SIZE), 0.6)
    depth[..., SIZE // 2 :] = 0.9
    step = 2 * math.tan(HALF_FOV) / SIZE
    rays = pixel_grid(SIZE, depth) * math.tan(HALF_FOV)
    along_x, _ = surface_tangents(depth, rays, step)
    assert along_x[:, 2].abs().max() == 0
