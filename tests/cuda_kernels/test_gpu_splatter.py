"""The frame loop's splatter on a GPU: on one where there is one, and by emulation anywhere.

What is binned must be to the last number what `bin_gaussians` makes of the same projected discs,
and with that (test_binning.py) what the CPU's driver makes.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_kernels.binning import bin_gaussians
from cuda_kernels.gpu_splatter import GpuSplatter, Workspace
from cuda_kernels.layout import boxes_and_depths
from cuda_kernels.library import KernelLibraryError
from cuda_kernels.splat import splat
from tests.cuda_kernels.emulation import ONE_ORDER, PLACES, at, device_of, emulated, needs_gpu
from tests.cuda_kernels.scenes import Scene, scattered
from tests.cuda_kernels.test_binning import ALL, many
from tests.cuda_kernels.test_gpu_sort import POISON, SIZES, assert_sorts, poisoned

ROOT = Path(__file__).parents[2]

TOOLS = ["memcheck", "racecheck"]


@dataclass
class Loop:
    """What a frame loop gives to `GpuSplatter.render`, and the sizes it is made for."""

    inputs: list[Tensor]  # means to K, as `render` takes them
    out: Tensor
    capacity: int | None = None
    channels: int = 4

    def splatter(self, workspace: Workspace | None = None) -> GpuSplatter:
        counts, slot_of_view = self.inputs[4:6]
        height, width = self.out.shape[2:]
        return GpuSplatter(
            *(len(slot_of_view), len(counts), self.inputs[0].shape[1], width, height),
            channels=self.channels,
            capacity=self.capacity,
            device=self.out.device,
            workspace=workspace,
        )

    def expected(self, capacity: int) -> Tensor:
        """The pictures of the CPU's splatting, view by view."""
        means, axes, opacities, colors, counts, slots, E, K = (t.cpu() for t in self.inputs)
        out = torch.zeros(self.out.shape)
        for view, slot in enumerate(slots.tolist()):
            n = int(counts[slot]) if 0 <= slot < len(counts) else 0
            if n <= 0:
                continue
            gaussians = [t[None, slot, :n] for t in (means, axes, opacities, colors)]
            cameras = [t[None, None, view] for t in (E, K)]
            size = (out.shape[3], out.shape[2])
            out[view] = splat(*gaussians, *cameras, *size, capacity=capacity)[0, 0]
        return out


def loop_of(scene: Scene, device: str, spare: int = 3) -> Loop:
    """A scene in slots, each with some rows of rubbish behind its Gaussians."""
    gaussians, (E, K) = scene.tensors(torch.float32)[:4], scene.tensors(torch.float32)[4:]
    B, N = gaussians[0].shape[:2]
    V = E.shape[1]
    padded = []
    for t in gaussians:
        rubbish = torch.rand(B, spare, *t.shape[2:])
        padded.append(torch.cat([t.detach(), rubbish], 1).contiguous())
    counts = torch.full((B,), N, dtype=torch.int32)
    slot_of_view = torch.arange(B, dtype=torch.int32).repeat_interleave(V)
    cameras = [t.detach().flatten(0, 1).contiguous() for t in (E, K)]
    C = gaussians[3].shape[2]
    out = torch.empty(B * V, C + 2, scene.height, scene.width)
    inputs = [*padded, counts, slot_of_view, *cameras]
    return Loop([t.to(device) for t in inputs], out.to(device), scene.capacity, C)


def poison(splatter: GpuSplatter) -> None:
    """Leave nothing of the last frame in the buffers that a frame could take for its own."""
    tensors = [t for t in vars(splatter).values() if isinstance(t, Tensor)]
    for t in [*tensors, *(t for t in vars(splatter._sorter).values() if isinstance(t, Tensor))]:
        t.view(torch.uint8).fill_(POISON)


def assert_binned(loop: Loop, splatter: GpuSplatter) -> None:
    """Starts, lists and what was left out are right, and nothing else was written."""
    counts, slots = loop.inputs[4].tolist(), loop.inputs[5].tolist()
    boxes, depths = boxes_and_depths(splatter._splats.cpu(), torch.float32)
    used = [min(max(counts[s], 0), boxes.shape[1]) if 0 <= s < len(counts) else 0 for s in slots]
    for view, n in enumerate(used):
        boxes[view, n:] = 0
    height, width = loop.out.shape[2:]
    starts, lists, pairs = bin_gaussians(boxes, depths, width, height, splatter._capacity)
    assert torch.equal(splatter._starts.cpu(), starts)
    assert torch.equal(splatter.left_out.cpu(), pairs - starts[:, -1])
    for view, length in enumerate(starts[:, -1].tolist()):
        assert torch.equal(splatter._lists[view, :length].cpu(), lists[view, :length])
        assert poisoned(splatter._lists[view, length:])
        assert poisoned(splatter._sorter.buffers[:, view, max(length, used[view]) :])
        assert poisoned(splatter._splats[view, used[view] :])


def assert_like_the_cpu(loop: Loop, splatter: GpuSplatter) -> None:
    """exp2 and log2 differ in the last bits, and so may a pixel at the edge of a disc."""
    difference = (loop.out.cpu() - loop.expected(splatter._capacity)).abs().flatten()
    assert difference.quantile(0.995) < 5e-5
    assert difference.max() < 1e-2


def check(loop: Loop, blocks: int | None = 3) -> GpuSplatter:
    """`blocks` share a view's work: few have many rounds each, and are sooner emulated."""
    splatter = loop.splatter()
    splatter._sorter.blocks = blocks or splatter._sorter.blocks
    poison(splatter)
    loop.out.fill_(torch.nan)
    assert splatter.render(*loop.inputs, loop.out) is loop.out
    assert_binned(loop, splatter)
    assert_like_the_cpu(loop, splatter)
    return splatter


def one_before_all() -> Scene:
    """A disc that covers each of 17 x 13 tiles, among others behind and before it."""
    scene = scattered(B=1, N=300, width=270, height=200)
    axes, means = scene.axes.clone(), scene.means.clone()
    axes[:, 7] = torch.tensor([[3.0, 0, 0], [0, 3.0, 0]])
    means[:, 7] = 0
    return scene.edited(axes=axes, means=means)


def more_than_1024_tiles() -> Scene:
    return scattered(B=1, V=2, N=400, width=530, height=515)


def nearly_equal_depths() -> Scene:
    """Depths one bit apart, the nearest last."""
    scene = scattered(B=1, V=1, N=40)
    means = scene.means.clone()
    means[..., 2] = -torch.arange(40, dtype=torch.float64) * 2**-24
    return scene.edited(means=means)


SCENES = ALL | {
    "nearly equal depths": nearly_equal_depths(),
    "one before all": one_before_all(),
    "one before all, no room for it": one_before_all().edited(capacity=300),
    "more than 1024 tiles": more_than_1024_tiles(),
    "one tile": scattered(width=16, height=9),
    "two tiles": scattered(width=17, height=16),
    "room for one pair": scattered().edited(capacity=1),
    "exactly enough room": scattered(B=1, V=1),
}


@pytest.mark.parametrize("place", ONE_ORDER)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_like_the_cpu(scene: Scene, place: str) -> None:
    if scene is SCENES["exactly enough room"]:
        with at(place):
            needed = int(check(loop_of(scene, device_of(place)))._starts[0, -1])
            assert not check(loop_of(scene.edited(capacity=needed), device_of(place))).left_out
            assert check(loop_of(scene.edited(capacity=needed - 1), device_of(place))).left_out
        return
    with at(place):
        check(loop_of(scene, device_of(place)))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("blocks", [None, 1, 2])
def test_the_order_of_threads_and_blocks_does_not_matter(blocks: int | None, place: str) -> None:
    scene = many()
    scene = scene.edited(
        **{k: getattr(scene, k)[:1, :1500] for k in ("means", "axes", "opacities", "colors")},
        **{k: getattr(scene, k)[:1, :2] for k in ("world_to_camera", "K")},
        capacity=1600,
    )
    with at(place):
        splatter = check(loop_of(scene, device_of(place)), blocks)
    assert (splatter.left_out > 0).all()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("capacity", [4, 5])
def test_full_to_the_last_pair(capacity: int, place: str) -> None:
    """Every disc has one pair, so that the room ends between two discs."""
    scene = scattered(B=1, V=1, N=300, width=16, height=9).edited(capacity=capacity)
    with at(place):
        splatter = check(loop_of(scene, device_of(place)))
    assert splatter._starts.tolist() == [[0, capacity]]


@pytest.mark.parametrize("place", ONE_ORDER)
def test_slots_and_counts(place: str) -> None:
    """Views in any order of slots, some of them empty, not there or said to be too full."""
    scene = scattered(B=3, V=2)
    loop = loop_of(scene, device_of(place))
    loop.inputs[4].copy_(torch.tensor([60, 0, 7]))
    loop.inputs[5].copy_(torch.tensor([2, 1, 0, 2, -1, 3]))
    with at(place):
        splatter = check(loop)
        assert not loop.out[[1, 4, 5]].any() and loop.out[[0, 2, 3]].flatten(1).any(1).all()
        loop.inputs[4].copy_(torch.tensor([1000, -5, 63]))
        poison(splatter)
        splatter.render(*loop.inputs, loop.out)
        assert_binned(loop, splatter)
        assert not loop.out[1].any()


@pytest.mark.parametrize("place", ONE_ORDER)
def test_frame_after_frame(place: str) -> None:
    """What a full frame leaves behind does not show in an emptier one."""
    with at(place):
        loop = loop_of(scattered(N=80, seed=1).edited(capacity=60), device_of(place))
        splatter = loop.splatter()
        for count in (80, 3, 0, 80):
            loop.inputs[4].fill_(count)
            splatter.render(*loop.inputs, loop.out)
            assert_like_the_cpu(loop, splatter)
            assert bool((splatter.left_out > 0).all()) == (count == 80)


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_many_views_on_a_gpu(place: str) -> None:
    check(loop_of(scattered(B=4, V=8, N=20_000, width=256, height=256), place), blocks=None)


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_graph(place: str) -> None:
    """Replayed with other inputs, on poisoned buffers, it gives what eager calls give; and it
    allocates nothing."""
    loop = loop_of(many().edited(capacity=3000), place)
    splatter = loop.splatter()
    splatter.render(*loop.inputs, loop.out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        splatter.render(*loop.inputs, loop.out)
    for count, turn in ((5000, 0.0), (100, 0.1), (0, 0.0), (4000, 0.3)):
        loop.inputs[4].fill_(count)
        loop.inputs[6][:, 0, 3] = turn
        eager = replace(loop, out=torch.full_like(loop.out, torch.nan))
        other = eager.splatter()
        other.render(*eager.inputs, eager.out)
        poison(splatter)
        loop.out.fill_(torch.nan)
        torch.cuda.synchronize()
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        graph.replay()
        torch.cuda.synchronize()
        assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
        assert torch.equal(loop.out, eager.out)
        assert torch.equal(splatter.left_out, other.left_out)
        assert_binned(loop, splatter)


@pytest.mark.parametrize("place", [pytest.param("cuda", marks=needs_gpu)])
def test_nothing_waits_and_nothing_is_allocated(place: str) -> None:
    loop = loop_of(scattered(), place)
    splatter = loop.splatter()
    splatter.render(*loop.inputs, loop.out)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    try:
        torch.cuda.set_sync_debug_mode("error")
        splatter.render(*loop.inputs, loop.out)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def run_small_scenes() -> None:
    """For the sanitizer: it slows kernels down by a factor of up to a thousand."""
    for scene in (scattered(), one_before_all(), many().edited(capacity=3000)):
        check(loop_of(scene, "cuda"))
    assert_sorts(30, SIZES, "random", "cuda")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tool", [pytest.param(t, marks=needs_gpu) for t in TOOLS])
def test_sanitizer(tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(sanitizer).exists():
        pytest.skip("compute-sanitizer is not installed")
    run = "from tests.cuda_kernels.test_gpu_splatter import run_small_scenes as r; r()"
    result = subprocess.run(
        [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", run],
        cwd=ROOT,
        # One allocation for each tensor, so that what lies beside it is nobody's.
        env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]


@pytest.mark.parametrize("place", ONE_ORDER)
def test_batches_of_all_sizes_share_a_workspace(place: str) -> None:
    device = device_of(place)
    with at(place):
        large, small = (
            loop_of(scattered(B=1, V=views, N=200, width=width, height=40), device)
            for views, width in ((3, 64), (1, 32))
        )
        most = large.inputs[0].shape[1]
        workspace = Workspace(3, most, device=device)
        splatters = [loop.splatter(workspace) for loop in (large, small)]
        for loop, splatter in [*zip((large, small), splatters, strict=True)] * 2:
            loop.out.fill_(torch.nan)
            splatter.render(*loop.inputs, loop.out)
            assert_like_the_cpu(loop, splatter)
        for wrong in (Workspace(2, most, device=device), Workspace(3, most + 1, device=device)):
            with pytest.raises(ValueError, match="a workspace for"):
                large.splatter(wrong)
        with pytest.raises(ValueError, match="99 pairs"):
            large.splatter(Workspace(3, most, capacity=99, device=device))


def test_what_does_not_fit() -> None:
    with emulated("first to last"):
        loop = loop_of(scattered(), "cpu")
        splatter = loop.splatter()
        wrong: list[tuple[int, Any, str]] = [
            (0, lambda t: t[:, :-1], "means is torch.float32"),
            (3, lambda t: t.double(), "colors is torch.float64"),
            (4, lambda t: t.long(), r"counts is torch.int64 \[2\] on cpu; needs torch.int32"),
            (6, lambda t: t.mT, "world_to_camera is not contiguous"),
            (7, lambda t: t.to("meta"), "K is .* on meta"),
        ]
        for which, change, words in wrong:
            inputs = list(loop.inputs)
            inputs[which] = change(inputs[which])
            with pytest.raises(ValueError, match=words):
                splatter.render(*inputs, loop.out)
        with pytest.raises(ValueError, match="out is torch.float32"):
            splatter.render(*loop.inputs, loop.out[:, :3])


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ((0, 1, 1, 8, 8), {}, "0 views"),
        ((1, 1, 0, 8, 8), {}, "0 Gaussians"),
        ((1, 1, 1, 8, 8), {"capacity": 0}, "capacity 0"),
        ((1, 1, 1, 0, 8), {}, "0 x 8 pixels"),
        ((1, 1, 1, 8, 8), {"channels": 9}, "9 channels"),
        ((1, 1, 1, 8, 8), {"near": 0.0}, "near must be positive"),
    ],
)
def test_sizes_out_of_bounds(sizes: tuple[int, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GpuSplatter(*sizes, **options, device="cpu")


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(KernelLibraryError, match="pip install 'visavis"):
        GpuSplatter(1, 1, 1, 8, 8, device="cpu")
