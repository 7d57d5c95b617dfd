"""The parts of following: filters, the quick lifter, head motion, and what is kept."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from models.gaussians import Gaussians
from models.head_motion import HeadMotion
from models.kept_sides import KeptSides, PortraitView, in_head_space, share_of
from models.lifter import FAINT, Layers, Lifter, LifterConfig, filled, to_gaussians
from models.live_lift import (
    LiveLifter,
    MapFilter,
    Maps,
    eroded,
    fading,
    fill,
    map_weight,
    smoothness,
)
from models.one_euro import OneEuro
from models.portrait_blend import eroded as eroded_in_torch
from models.reprojection import fading as fading_in_torch
from models.reprojection import smoothness as smoothness_in_torch
from models.still_filter import FLOOR, StillFilter


def test_one_euro_is_slow_at_rest_and_fast_in_motion() -> None:
    random, rest = np.random.default_rng(0), OneEuro(0.5, 0.06)
    out = np.array([rest(random.normal(0, 0.3, 2), i / 15) for i in range(150)])
    assert out[50:].std() < 0.4 * 0.3
    moving = OneEuro(0.5, 0.06)
    for i in range(60):
        value = moving(np.array([20.0 * i / 15, 0.0]), i / 15)  # 20 pixels a second
    slow = OneEuro(0.5, 0.0)
    for i in range(60):
        late = slow(np.array([20.0 * i / 15, 0.0]), i / 15)
    assert 20.0 * 59 / 15 - value[0] < 0.5 * (20.0 * 59 / 15 - late[0])


def test_one_euro_keeps_its_value_when_time_stands() -> None:
    f = OneEuro(1.0, 0.0)
    f(np.zeros(1), 1.0)
    assert f(np.ones(1), 1.0) == 0 and f(np.ones(1), 0.5) == 0
    f.reset()
    assert f(np.full(1, 7.0), 0.1) == 7


def portraits(count: int, sigma: float, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    base = random.uniform(60, 200, (16, 16, 3)).repeat(8, 0).repeat(8, 1)
    return [
        np.clip(base + random.normal(0, sigma, base.shape), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def test_what_rests_is_averaged() -> None:
    still = StillFilter()
    seen = portraits(40, 5.0)
    out = np.array([still(p)[0] for p in seen])[15:]
    assert out.std(0).mean() < 0.4 * np.array(seen[15:], float).std(0).mean()


def test_what_moves_is_taken_as_it_is() -> None:
    still = StillFilter()
    for portrait in portraits(20, 3.0):
        still(portrait)
    changed = portraits(1, 3.0)[0]
    changed[60:80, 50:90] = 30
    out, change = still(changed)
    assert np.abs(out[62:78, 52:88] - 30).max() < 1
    assert change[60:80, 50:90].min() > 0.95 and change[:20].mean() < 0.1


def test_a_slow_change_is_not_lost() -> None:
    """Light that fades by less than the noise from frame to frame arrives all the same."""
    still = StillFilter()
    seen = portraits(60, 3.0)
    for i, portrait in enumerate(seen):
        out, _ = still(np.clip(portrait.astype(float) - 0.5 * i, 0, 255).astype(np.uint8))
    truth = np.mean(seen, 0) - 0.5 * 59
    assert abs((out - truth).mean()) < 0.5 / FLOOR + 1


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    torch.manual_seed(0)
    network = Lifter(LifterConfig(size=64, stem=8, channels=(8, 8), blocks=(1, 1)))
    with torch.no_grad():
        for head in (network.front_head, network.back_head):
            head.weight.mul_(40)  # as varied as after training
    return network.eval()


@pytest.mark.parametrize("opacity", [0.0, -8.0])
def test_the_quick_lifter_makes_the_same_discs(lifter: Lifter, opacity: float) -> None:
    lifter = copy.deepcopy(lifter)
    with torch.no_grad():
        lifter.front_head.bias[20:24] += opacity
    torch.manual_seed(1)
    portrait = torch.rand(1, 4, 64, 64)
    portrait[:, 3, 20:44, 10:50] = 1
    head_from_camera = torch.eye(4)
    head_from_camera[:2, :2] = torch.tensor([[0.96, -0.28], [0.28, 0.96]])
    head_from_camera[2, 3] = -0.75
    quick = LiveLifter(lifter, torch.float32)
    with torch.no_grad():
        ours, depth = quick.gaussians(quick.maps(portrait), portrait[0, :3], 0.75, head_from_camera)
        maps = lifter(portrait[:, :3], portrait[:, 3:], torch.ones(1))
        layers = filled(Layers(*maps), portrait[:, 3:])
    assert torch.equal(layers.front, maps[0]) == (opacity == 0)
    with torch.no_grad():
        lifted = to_gaussians(layers, portrait[:, :3], torch.tensor([0.75]))
    cells = [by_cells(torch.arange(n * n).view(n, n)) for n in (64, 32)]
    order = torch.cat([cells[0], 64 * 64 + cells[1]])
    order = order[lifted.opacities[0, order] >= FAINT]
    theirs = Gaussians(
        *(t[0, order] for t in (lifted.means, lifted.axes, lifted.opacities, lifted.colors))
    ).moved(head_from_camera)
    assert 500 < len(ours) < 5120 and len(ours) == len(theirs)
    for name in ("means", "axes", "opacities", "colors"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(depth, lifted.depth)
    smooth = smoothness(depth)
    torch.testing.assert_close(smooth, smoothness_in_torch(depth)[0, 0])
    torch.testing.assert_close(eroded(portrait[0, 3:]), eroded_in_torch(portrait[:, 3:])[0, 0])


def test_reading_fades_as_in_torch() -> None:
    torch.manual_seed(3)
    smooth = torch.rand(64, 64).sqrt()
    ours = fading(smooth)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, fading_in_torch(smooth[None, None])[0, 0])


def test_gaps_are_filled_as_in_torch() -> None:
    torch.manual_seed(2)
    blobs = torch.nn.functional.interpolate(torch.randn(1, 2, 9, 9), size=(64, 64), mode="bicubic")
    layers = Layers(torch.randn(1, 10, 64, 64), torch.randn(1, 10, 32, 32))
    layers.front[:, 5] = 4 * blobs[:, 0]
    mask = (2 * blobs[0, 1] + 0.8).clamp(0, 1)
    theirs = filled(layers, mask[None, None]).front
    assert 20 < (theirs != layers.front).any(1).sum() < 2000
    ours = by_cells(layers.front[0].permute(1, 2, 0))
    fill(ours, mask)
    torch.testing.assert_close(ours, by_cells(theirs[0].permute(1, 2, 0)))


def by_cells(grid: Tensor) -> Tensor:
    """Pixels of a grid, cell of 2 x 2 after cell. [H, W, ...] -> [H * W, ...]"""
    height, width, *rest = grid.shape
    cells = grid.reshape(height // 2, 2, width // 2, 2, *rest).transpose(1, 2)
    return cells.reshape(height * width, *rest)


def by_rows(pixels: Tensor, size: int) -> Tensor:
    """The inverse of `by_cells`. [size * size] -> [size, size]"""
    return pixels.view(size // 2, size // 2, 2, 2).transpose(1, 2).reshape(size, size)


def mixed(old: Maps, new: Maps, change: Tensor) -> Maps:
    """What `MapFilter` computes by a kernel."""
    weight = map_weight(
        old.front[:, 0], new.front[:, 0], old.front[:, 5], new.front[:, 5], by_cells(change)
    )
    # A pixel of layer 2 is a cell of layer 1.
    back = by_cells(weight.view(-1, 4).amax(1).view(*(n // 2 for n in change.shape)))
    return Maps(
        torch.lerp(old.front, new.front, weight[:, None]),
        torch.lerp(old.back, new.back, back[:, None]),
    )


def random_maps(size: int, spread: float = 1.0) -> Maps:
    return Maps(spread * torch.randn(size * size, 10), spread * torch.randn(size * size // 4, 10))


def test_maps_are_averaged_as_in_torch() -> None:
    torch.manual_seed(5)
    size = 16
    state, filter_ = random_maps(size), MapFilter()
    first = Maps(state.front.clone(), state.back.clone())
    assert filter_(first, torch.ones(size, size)) is first
    for spread in (0.01, 0.1, 1.0):
        noise = random_maps(size, spread)
        new = Maps(state.front + noise.front, state.back + noise.back)
        change = torch.rand(size, size) * (torch.rand(size, size) > 0.5)
        state = mixed(state, new, change)
        found = filter_(new, change)
        torch.testing.assert_close(found.front, state.front)
        torch.testing.assert_close(found.back, state.back)


def test_what_is_not_a_number_does_not_stay() -> None:
    filter_, still = MapFilter(), torch.zeros(8, 8)
    bad = random_maps(8)
    bad.front[3, 0] = torch.nan
    filter_(bad, still)
    good = random_maps(8)
    found = filter_(good, still)
    assert found.front.isfinite().all() and torch.equal(found.front[3], good.front[3])


def test_maps_are_averaged_where_nothing_changed() -> None:
    torch.manual_seed(2)
    filter_, size = MapFilter(), 16
    base = Maps(torch.randn(size * size, 10), torch.randn(size * size // 4, 10))
    filter_(Maps(base.front.clone(), base.back.clone()), torch.zeros(size, size))
    new = Maps(base.front + 0.01, base.back + 0.01)
    change = torch.zeros(size, size)
    change[:, 8:] = 1
    new.front[by_cells(torch.arange(256).view(16, 16)) == 0, 0] += 1  # 8 cm nearer
    out = filter_(new, change)
    moved = by_rows(out.front[:, 3] - base.front[:, 3], size)
    torch.testing.assert_close(moved[:, 8:], torch.full((16, 8), 0.01), atol=1e-5, rtol=0)
    assert moved[8, 3] < 0.004
    assert abs(moved[0, 0] - 0.01) < 1e-5, "a pixel whose depth jumps is new"
    assert (out.back[:, 3] - base.back[:, 3]).min() > 0.002


def ball(noses: torch.Tensor) -> Gaussians:
    """Discs on a sphere of 8 cm, with normals outwards; `noses` are unit vectors [N, 3]."""
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(noses)
    first = torch.nn.functional.normalize(torch.linalg.cross(noses, up), dim=1)
    second = torch.linalg.cross(noses, first)
    count = len(noses)
    return Gaussians(
        0.08 * noses,
        0.002 * torch.stack([first, second], 1),
        torch.full((count,), 0.9),
        torch.cat([torch.full((count, 3), 0.5), torch.zeros(count, 1)], 1),
    )


def camera() -> torch.Tensor:
    matrix = torch.eye(4)
    matrix[2, 3] = 0.75
    return matrix


def sphere_view() -> PortraitView:
    """What the portrait's camera sees of the sphere."""
    size, tan = 256, float(np.tan(np.radians(12)))
    x = (torch.arange(size) + 0.5) / size * 2 - 1
    rays = torch.stack([x[None].expand(size, -1), x[:, None].expand(-1, size)]) * tan
    a, b, c = (rays**2).sum(0) + 1, -1.5, 0.75**2 - 0.08**2
    inside = b * b - 4 * a * c
    depth = torch.where(inside > 0, (-b - inside.clamp(min=0).sqrt()) / (2 * a), 0.75)
    return PortraitView(camera(), depth[None, None], (inside > 0).float()[None, None])


def test_hidden_sides_are_shown_and_seen_ones_are_not() -> None:
    angles = torch.arange(-80, 81, 10)
    noses = torch.stack(
        [torch.sin(torch.deg2rad(angles)), 0 * angles, -torch.cos(torch.deg2rad(angles))], 1
    )
    kept = KeptSides.of(ball(noses), sphere_view()).compact()
    assert len(kept.discs) == len(angles)
    turn = torch.deg2rad(torch.tensor(40.0))
    moved = torch.eye(4)
    moved[0, 0] = moved[2, 2] = torch.cos(turn)
    moved[0, 2], moved[2, 0] = -torch.sin(turn), torch.sin(turn)
    now = ball(noses)
    now.colors[-1, 3] = 1.0  # invented
    present, old = kept.merged(now, sphere_view(), moved, torch.linalg.inv(moved), 1.0)
    where = torch.rad2deg(torch.atan2(old.means[:, 0], -old.means[:, 2]))
    torch.testing.assert_close(old.opacities > 0, where.abs() > 65)
    assert (old.opacities > 0).sum() >= 4
    assert (present.opacities[:-1] == 0.9).all() and present.opacities[-1] in (0.0, 0.9)
    nothing = kept.merged(now, sphere_view(), moved, torch.linalg.inv(moved), 0.0)
    assert (nothing[1].opacities == 0).all() and (nothing[0].opacities == 0.9).all()


def test_what_was_invented_or_is_torso_is_not_kept() -> None:
    discs = ball(torch.nn.functional.normalize(torch.tensor([[0, 0, -1.0], [0.1, 0, -1]]), dim=1))
    discs.colors[0, 3] = 0.9
    discs.means[1, 1] = 0.12
    assert len(KeptSides.of(discs, sphere_view()).compact().discs) == 0


def test_what_was_kept_fades_in() -> None:
    def turned(degrees: float) -> torch.Tensor:
        angle = np.radians(degrees)
        matrix = torch.eye(4)
        matrix[0, 0] = matrix[2, 2] = float(np.cos(angle))
        matrix[0, 2], matrix[2, 0] = float(np.sin(angle)), -float(np.sin(angle))
        return matrix

    shares = [share_of(turned(d)) for d in (0, 7, 11, 15, -40)]
    assert shares[0] == shares[1] == 0 and 0.4 < shares[2] < 0.6
    assert shares[3] == shares[4] == 1


def test_head_motion_is_found() -> None:
    """A head of landmarks that turns, as its portraits show it."""
    random = np.random.default_rng(3)
    solid = np.c_[random.uniform(-0.05, 0.05, (468, 2)), random.uniform(-0.1, -0.06, 468)]
    focal = 128 / np.tan(np.radians(12))

    def seen(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = solid @ rotation.T + [0, 0, 0.75]
        return (there[:, :2] / there[:, 2:] * focal + 128).astype(np.float32), there[:, 2]

    def turned(degrees: float) -> np.ndarray:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    flat, far = seen(np.eye(3))
    depth = np.zeros((256, 256), np.float32)
    for (x, y), z in zip(flat, far, strict=True):
        depth[min(255, round(float(y))), min(255, round(float(x)))] = z
    motion = HeadMotion(flat, depth, np.eye(3))
    for degrees in (0, 10, 20, 20, 20, 20, 20, 20):
        # The pose falls short of the turn a little, as it does.
        moved = motion.update(seen(turned(degrees))[0], turned(0.9 * degrees), degrees / 20)
    for i in range(30):
        moved = motion.update(seen(turned(20))[0], turned(18), 2 + i / 15)
    angle = np.degrees(np.arctan2(moved[0, 2], moved[2, 2]))
    assert 18 <= angle <= 20.5
    head = torch.linalg.inv(camera())
    middle = in_head_space(moved, head, head) @ torch.tensor([0.0, 0, 0, 1])
    assert middle[:3].norm() < 0.006


def test_a_larger_portrait_is_filtered_by_the_changes_of_the_smaller_one() -> None:
    still = StillFilter()
    seen = portraits(40, 5.0)
    out = []
    for portrait in seen:
        _, change = still(portrait)
        out.append(still.larger(portrait.repeat(2, 0).repeat(2, 1), change))
    shaking = np.array(out)[15:].std(0).mean()
    assert out[0].shape == (256, 256, 3)
    assert shaking < 0.4 * np.array(seen[15:], float).std(0).mean()
    changed = seen[0].copy()
    changed[60:80, 50:90] = 30
    _, change = still(changed)
    moved = still.larger(changed.repeat(2, 0).repeat(2, 1), change)
    assert np.abs(moved[124:156, 104:176] - 30).max() < 1
