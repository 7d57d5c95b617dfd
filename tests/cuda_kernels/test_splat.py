"""Splatting against its reference: pictures and gradients, in double precision unless said."""

import threading

import pytest
import torch

from cuda_kernels.buffers import Buffers, View
from cuda_kernels.splat import run_forward, splat
from tests.cuda_kernels.scenes import Scene, compare, scattered


def larger_than_the_picture() -> Scene:
    scene = scattered(B=1, N=3)
    axes = scene.axes.clone()
    axes[:, 0] = torch.tensor([[0.5, 0.1, 0.0], [-0.1, 0.6, 0.1]])
    return scene.edited(axes=axes)


def behind_the_camera() -> Scene:
    scene = scattered(N=20)
    means = scene.means.clone()
    means[:, ::2, 2] -= 1.5  # behind
    means[:, 1, 2] = -0.72  # nearer than `near`
    return scene.edited(means=means)


def opacity_0_and_1() -> Scene:
    scene = scattered(N=24)
    opacities = torch.ones_like(scene.opacities)
    opacities[:, ::3] = 0
    return scene.edited(opacities=opacities)


def equal_depths() -> Scene:
    """The cameras look straight ahead at discs whose depths are equal to the last bit."""
    scene = scattered(N=40)
    means = scene.means.clone()
    means[..., 2] = torch.tensor([0.0, 0.0625]).repeat(20)
    straight = scene.world_to_camera.clone()
    straight[:, 1] = straight[:, 0]
    straight[:, 1, 0, 3] = 0.03125
    return scene.edited(means=means, world_to_camera=straight)


def a_needle() -> Scene:
    scene = scattered(B=1, N=4)
    axes = scene.axes.clone()
    axes[:, 0] = torch.tensor([[0.3, 0.21, 0.0], [0.0, 1e-6, 0.0]])
    return scene.edited(axes=axes)


SCENES = {
    "scattered": scattered(),
    "larger than the picture": larger_than_the_picture(),
    "behind the camera": behind_the_camera(),
    "opacity 0 and 1": opacity_0_and_1(),
    "equal depths": equal_depths(),
    "a needle": a_needle(),
    "one channel": scattered(C=1),
    "eight channels": scattered(C=8, N=30),
    "many in one tile": scattered(B=1, V=1, N=400, width=16, height=16),
    "33 x 17": scattered(width=33, height=17),
    "15 x 50": scattered(width=15, height=50),
    "1 x 1": scattered(width=1, height=1),
    "no more room": scattered(N=80).edited(capacity=60),
    "hardly any room": scattered(N=80).edited(capacity=15),
    "three threads over sets": scattered(B=4, V=2, N=20).edited(threads=3),
    "three threads over views": scattered(B=1, V=4, N=20).edited(threads=3),
    "three threads over tiles": scattered(B=1, V=1, N=50).edited(threads=3),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_picture_and_gradients(scene: Scene) -> None:
    result = compare(scene)
    assert result.expected[:, :, -1].max() > 0.01  # there is something to see
    assert max(result.worst().values()) < 1e-9, result.worst()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_single_precision(scene: Scene) -> None:
    result = compare(scene, torch.float32)
    difference = (result.picture - result.expected).abs().flatten()
    # A pixel at the edge of a disc may fall to either side of 1/255: a few pixels, a small step.
    assert difference.quantile(0.995) < 5e-5
    assert difference.max() < 1e-2
    for name, (ours, expected) in result.gradients.items():
        assert (ours - expected).norm() < 2e-3 * expected.norm() + 1e-6, name


def test_single_precision_with_depth_ties() -> None:
    """Discs on a plane seen at a slant: their depths differ by less than single precision tells."""
    scene = scattered(B=1, N=400, width=64, height=64)
    means = scene.means.clone()
    means[..., 2] = 1e-9 * means[..., 0]
    result = compare(scene.edited(means=means), torch.float32)
    difference = (result.picture[:, 1] - result.expected[:, 1]).abs().flatten()
    assert difference.quantile(0.99) < 5e-5


def test_nothing_in_view() -> None:
    scene = scattered(N=10)
    tensors = scene.tensors(torch.float32)
    with torch.no_grad():
        tensors[0][..., 2] -= 2
    picture = splat(*tensors, 40, 32)
    picture.sum().backward()
    assert not picture.any()
    assert all(t.grad is not None and not t.grad.any() for t in tensors[:4])


@pytest.mark.parametrize("sizes", [(1, 0, 2), (0, 5, 2), (1, 5, 0)])
def test_nothing_at_all(sizes: tuple[int, int, int]) -> None:
    B, N, V = sizes
    one = scattered(B=1, N=5, V=2).tensors(torch.float32)
    gaussians = [t.detach()[:B, :N] for t in one[:4]]
    picture = splat(*gaussians, *(t[:B, :V] for t in one[4:]), 40, 32)
    assert picture.shape == (B, V, 6, 32, 40)
    assert not picture.any()


def test_not_a_number_is_not_seen() -> None:
    scene = scattered(N=30)
    clean = scene.tensors(torch.float32)
    spoilt = [t.detach().clone() for t in clean]
    with torch.no_grad():
        clean[2][:, :4] = 0
    spoilt[0][:, 0, 1] = torch.nan
    spoilt[1][:, 1, 0, 2] = torch.nan
    spoilt[2][:, 2] = torch.nan
    spoilt[0][:, 3, 0] = torch.inf
    assert torch.equal(splat(*spoilt, 40, 32), splat(*clean, 40, 32))


def test_overflow_is_counted() -> None:
    tensors = scattered(N=80).tensors(torch.float32)
    overflow = torch.full((2, 2), -1)
    splat(*tensors, 40, 32, overflow=overflow)
    assert not overflow.any()
    splat(*tensors, 40, 32, capacity=10, overflow=overflow)
    few = overflow.clone()
    splat(*tensors, 40, 32, capacity=50, overflow=overflow)
    # Both have kept at most what they may, and the same pairs are there to be kept.
    assert (few > overflow).all() and (overflow > 0).all()
    assert ((few - overflow) <= 50).all()


def test_a_full_buffer_is_never_written_past() -> None:
    scene = scattered(B=1, V=1, N=200)
    inputs = tuple(t.detach() for t in scene.tensors(torch.float32))
    view = View(40, 32)
    for capacity in (1, 7, 100):
        buffers = Buffers.allocate(1, 200, 4, view, capacity, torch.float32)
        guarded = torch.full((capacity + 64,), -7, dtype=torch.int32)
        buffers.lists = guarded[:capacity].view(1, capacity)
        run_forward(inputs, view, buffers, torch.empty(1, 1, 6, 32, 40))
        assert (guarded[capacity:] == -7).all()
        assert int(buffers.pairs[0]) > capacity
        assert buffers.starts[0, -1] <= capacity


def test_more_pairs_than_the_first_guess() -> None:
    """Without `capacity` nothing is left out, however large the discs are."""
    scene = scattered(B=1, V=1, N=300, width=512, height=512)
    axes = torch.tensor([[0.3, 0, 0], [0, 0.3, 0]]).expand(1, 300, 2, 3)
    tensors = scene.edited(axes=axes).tensors(torch.float32)
    overflow = torch.full((1, 1), -1)
    splat(*tensors, 512, 512, overflow=overflow)
    assert not overflow.any()


def test_two_python_threads() -> None:
    scenes = [scattered(N=200, width=64, height=64, seed=k) for k in range(2)]
    tensors = [[t.detach() for t in s.tensors(torch.float32)] for s in scenes]
    expected = [splat(*t, 64, 64) for t in tensors]
    wrong = []

    def run(k: int) -> None:
        wrong.extend(
            k for _ in range(20) if not torch.equal(splat(*tensors[k], 64, 64), expected[k])
        )

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_do_not_change_the_result() -> None:
    scene = scattered(B=2, V=3)
    one, three = compare(scene), compare(scene.edited(threads=3))
    assert torch.equal(one.picture, three.picture)
    for name in one.gradients:
        torch.testing.assert_close(one.gradients[name][0], three.gradients[name][0])


def test_strided_inputs() -> None:
    tensors = [t.detach() for t in scattered().tensors(torch.float32)]
    strided = [torch.stack([t, t + 1], -1)[..., 0] for t in tensors]
    assert not any(t.is_contiguous() for t in strided)
    assert torch.equal(splat(*strided, 40, 32), splat(*tensors, 40, 32))


@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        (1, lambda t: t[..., 0], "axes has shape"),
        (2, lambda t: t[:, :-1], "opacities has shape"),
        (3, lambda t: t.repeat(1, 1, 3), "12 colour channels"),
        (3, lambda t: t.double(), "colors is torch.float64"),
        (4, lambda t: t[:, :, :3], "world_to_camera has shape"),
        (0, lambda t: t[0], "means is [B, N, 3]"),
    ],
)
def test_wrong_input(which: int, change, words: str) -> None:  # type: ignore[no-untyped-def]
    tensors = [t.detach() for t in scattered().tensors(torch.float32)]
    tensors[which] = change(tensors[which])
    with pytest.raises(ValueError) as error:
        splat(*tensors, 40, 32)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options", [{"eps2d": 0.0}, {"near": 0.0}, {"threads": 0}, {"capacity": 0}]
)
def test_wrong_option(options: dict[str, float]) -> None:
    tensors = [t.detach() for t in scattered().tensors(torch.float32)]
    with pytest.raises(ValueError, match=next(iter(options))):
        splat(*tensors, 40, 32, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pixels"):
        splat(*tensors, 0, 32)
