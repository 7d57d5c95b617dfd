"""The GPU's engine: its whole way of working on the CPU, and what only a GPU can show."""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cuda_kernels.gpu_splatter import GpuSplatter, Workspace
from models import gpu_graphs
from models.engine import Avatar, Engine, Picture, RenderRequest, load_engine
from models.errors import CapacityError, PortraitError, SetupError
from models.gpu_batches import Quality
from models.gpu_engine import GpuEngine
from models.gpu_graphs import stage_shares
from models.gpu_setup import gpu_problem
from models.picture import load_picture
from models.viewpoint import Viewpoint
from tests.cuda_kernels.emulation import emulated
from tests.models.callers import turned_to

cpu_engine = pytest.importorskip("models.cpu_engine")
DEMO = Path(__file__).parents[2] / "models" / "assets" / "demo_portrait.png"
VIEWS = [
    Viewpoint(),
    Viewpoint(yaw=30, pitch=5),
    Viewpoint(yaw=-20, roll=15, zoom=1.5),
    Viewpoint(eye=(0.15, -0.05, -0.6)),
    Viewpoint(yaw=8),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two would wait for each other where other programs have the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference() -> Any:
    try:
        return cpu_engine.CpuEngine(256, 1)
    except SetupError as error:
        pytest.skip(f"the engine cannot be loaded: {error}")


@pytest.fixture(scope="module")
def engine(reference: Any) -> Iterator[GpuEngine]:
    said: list[str] = []
    engine = GpuEngine(
        256,
        slots=3,
        followers=1,
        batches=(1, 2, 4),
        device="cpu",
        dtype=reference._dtype,
        progress=said.append,
        finder=reference.finder,
    )
    assert said == [f"capturing graph {n} of 11" for n in range(1, 12)]
    yield engine
    engine.close()


def test_stages_are_timed_with_somebody_in_view(
    engine: GpuEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU at the start, before anybody is there: an empty picture is rasterised in no time."""
    graphs, seen = engine._graphs[2], []
    engine.look.slots.counts.zero_()
    graphs.stagings[0].write([])
    graphs.stagings[0].send(graphs.chain.views.block)
    graphs.replays[Quality.RAW]()
    empty = graphs.chain.frames.clone()

    def timed(queue: object, work: Callable[[], None]) -> float:
        work()
        changed = (graphs.chain.frames[:, :256].float() - empty[:, :256].float()).abs()
        seen.append([float(changed.mean()), float(changed[:, 96:160, 96:160].mean())])
        return 1.0 + len(seen)

    monkeypatch.setattr(gpu_graphs, "milliseconds", timed)
    shares = stage_shares(
        engine._queue, engine.look, graphs.chain, graphs.replays, graphs.stagings[0]
    )
    assert len(seen) == 1 + len(Quality)
    _, refined, raw, coarse = seen
    assert raw[1] > 10 and raw[1] > 2 * raw[0]  # the ball is in the middle of the picture
    assert refined[1] > 5 and coarse == pytest.approx(raw, rel=0.1)
    assert all(sum(parts.values()) == pytest.approx(1) for parts in shares.values())
    graphs.replays[Quality.RAW]()
    assert torch.equal(graphs.chain.frames, empty)


@pytest.fixture
def avatar(engine: GpuEngine) -> Iterator[Avatar]:
    avatar = engine.build_avatar(load_picture(DEMO))
    yield avatar
    avatar.close()


@pytest.fixture(scope="module")
def same(reference: Any) -> Iterator[Avatar]:
    avatar = reference.build_avatar(load_picture(DEMO))
    yield avatar
    avatar.close()


def psnr(a: Picture, b: Picture) -> float:
    error = ((a.astype(float) - b.astype(float)) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def asked(avatar: Avatar, **how: bool) -> list[RenderRequest]:
    return [RenderRequest(avatar, view, **how) for view in VIEWS]


def test_it_is_an_engine(engine: GpuEngine) -> None:
    behind: Engine = engine
    assert (behind.size, behind.batch) == (256, 4)
    assert "bfloat16" in behind.name or "float32" in behind.name


def test_the_same_discs_are_lifted(engine: GpuEngine, avatar: Avatar, same: Any) -> None:
    ours, theirs = engine.gaussians(avatar), same.gaussians
    assert len(ours) == len(theirs)
    for name in ("means", "axes", "opacities", "colors"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("refine", [False, True])
def test_the_same_pictures_are_made(
    engine: GpuEngine, avatar: Avatar, reference: Any, same: Avatar, refine: bool
) -> None:
    ours = engine.render(asked(avatar, refine=refine))
    theirs = reference.render(asked(same, refine=refine))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape == (384, 256) and a.dtype == np.uint8
        assert psnr(a, b) > 50


def test_a_coarse_picture_has_the_size_of_a_fine_one(engine: GpuEngine, avatar: Avatar) -> None:
    coarse = engine.render(asked(avatar, coarse=True))
    for a, b in zip(coarse, engine.render(asked(avatar, refine=False)), strict=True):
        assert a.shape == b.shape
        assert 25 < psnr(a, b) < 60


def test_a_batch_holds_what_each_asked_for(engine: GpuEngine, avatar: Avatar) -> None:
    """Five requests of three qualities and two people, in one call and one by one."""
    other = engine.build_avatar(np.ascontiguousarray(load_picture(DEMO)[:, ::-1]))
    requests = [
        RenderRequest(avatar if i % 2 else other, view, refine=i != 2, coarse=i == 3)
        for i, view in enumerate(VIEWS)
    ]
    together = engine.render(requests)
    alone = [engine.render([request])[0] for request in requests]
    for a, b in zip(together, alone, strict=True):
        assert psnr(a, b) > 50  # a convolution of another batch may round in another way
    assert psnr(together[0], engine.render([RenderRequest(avatar, VIEWS[0])])[0]) < 40
    other.close()


def test_nothing_to_render_is_no_picture(engine: GpuEngine) -> None:
    assert engine.render([]) == []


def test_two_threads_get_their_own_pictures(engine: GpuEngine, avatar: Avatar) -> None:
    requests = [[request] for request in asked(avatar, refine=False)]
    alone = [engine.render(request)[0].copy() for request in requests]
    with ThreadPoolExecutor(2) as pool:
        together = [frames[0] for frames in pool.map(engine.render, requests * 3)]
    for a, b in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pictures_stay_while_they_are_held_and_no_longer(engine: GpuEngine, avatar: Avatar) -> None:
    request = [RenderRequest(avatar, Viewpoint(yaw=3), refine=False)]
    pool = engine._graphs[1].pool
    held = engine.render(request)
    before = held[0].copy()
    for yaw in range(3):
        engine.render([RenderRequest(avatar, Viewpoint(yaw=10 * yaw), refine=False)])
    np.testing.assert_array_equal(held[0], before)
    del held
    gc.collect()
    made = pool.made
    for _ in range(5):
        engine.render(request)
    assert pool.made == made, "memory must not grow"


def test_slots_come_back(engine: GpuEngine, avatar: Avatar) -> None:
    picture = load_picture(DEMO)
    engine.render(asked(avatar, refine=False))
    taken = engine.slots.taken
    others = [engine.build_avatar(picture) for _ in range(engine.slots.count - taken)]
    with pytest.raises(CapacityError):
        engine.build_avatar(picture)
    for other in others:
        other.close()
        other.close()
    assert engine.slots.taken == taken


def test_a_closed_avatar_is_refused(engine: GpuEngine) -> None:
    avatar = engine.build_avatar(load_picture(DEMO))
    avatar.close()
    with pytest.raises(ValueError, match="closed"):
        engine.render([RenderRequest(avatar, Viewpoint())])
    with pytest.raises(ValueError, match="closed"):
        engine.gaussians(avatar)


def test_another_engines_avatar_is_refused(engine: GpuEngine, same: Avatar) -> None:
    with pytest.raises(TypeError, match="not an avatar of this engine"):
        engine.render([RenderRequest(same, Viewpoint())])


def test_a_lift_that_fails_takes_no_slot(
    engine: GpuEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = engine.slots.taken

    def fail() -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(engine, "_lift_replay", fail)
    with pytest.raises(RuntimeError, match="out of order"):
        engine.build_avatar(load_picture(DEMO))
    with pytest.raises(PortraitError):
        engine.build_avatar(np.full((240, 320, 3), 90, np.uint8))
    assert engine.slots.taken == taken


def test_a_ply_holds_every_disc(engine: GpuEngine, avatar: Avatar, tmp_path: Path) -> None:
    count = engine.save_ply(avatar, tmp_path / "avatar.ply")
    assert f"element vertex {count}".encode() in (tmp_path / "avatar.ply").read_bytes()[:400]


def test_no_room_is_left_out(engine: GpuEngine, avatar: Avatar) -> None:
    engine.render(asked(avatar, refine=False))
    assert engine.left_out() == 0


def test_the_gpus_kernels_make_the_same_frames(
    reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine launches them as on a GPU, by emulation: nothing but graphs is missing."""

    def frames() -> list[Picture]:
        engine = GpuEngine(64, slots=2, batches=(1, 2), device="cpu", dtype=torch.float32)
        engine._finder = reference.finder
        avatar = engine.build_avatar(load_picture(DEMO))
        requests = [
            *(RenderRequest(avatar, view) for view in VIEWS[:2]),
            RenderRequest(avatar, VIEWS[2], refine=False),
            RenderRequest(avatar, VIEWS[3], coarse=True),
        ]
        pictures = [picture.copy() for picture in engine.render(requests)]
        avatar.close()
        engine.close()
        return pictures

    def splatter(views: int, slots: int, most: int, size: int, *rest: Any) -> GpuSplatter:
        device, workspace = rest
        return GpuSplatter(views, slots, most, size, size, device=device, workspace=workspace)

    plain = frames()
    monkeypatch.setattr("models.gpu_rasteriser.batch_splatter", splatter)
    monkeypatch.setattr(
        "models.gpu_engine.shared_workspace",
        lambda views, slots: Workspace(views, slots.most, device="cpu"),
    )
    with emulated("shuffled"):
        for ours, theirs in zip(frames(), plain, strict=True):
            assert psnr(ours, theirs) > 60


def test_a_closed_engine_says_so(reference: Any) -> None:
    engine = GpuEngine(64, slots=1, batches=(1,), device="cpu", dtype=torch.float32)
    engine._finder = reference.finder
    avatar = engine.build_avatar(load_picture(DEMO))
    engine.close()
    with pytest.raises(ValueError, match="engine is closed"):
        engine.render([RenderRequest(avatar, Viewpoint())])
    avatar.close()


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(SetupError, match="multiple of 32"):
        GpuEngine(80, device="cpu")


# What a machine without a GPU says.


def test_no_gpu_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.gpu_setup.gpu_problem", lambda: "it is elsewhere")
    with pytest.raises(SetupError, match="it is elsewhere. Use --device cpu") as caught:
        load_engine("cuda")
    assert caught.value.code == "no_gpu" and "\n" not in str(caught.value)


def test_auto_takes_the_cpu_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, reference: Any
) -> None:
    monkeypatch.setattr("models.gpu_setup.gpu_problem", lambda: "there is none")
    monkeypatch.setattr("models.cpu_engine.CpuEngine", lambda size, threads: reference)
    assert load_engine("auto") is reference


@pytest.mark.parametrize(
    ("there", "cupy", "said"),
    [
        ({"cuda": None}, None, "PyTorch is one without CUDA"),
        ({"cuda": "13.0", "available": False}, None, "no NVIDIA GPU and driver"),
        ({"cuda": "13.0", "available": True}, None, "cupy is not installed"),
        ({"cuda": "13.0", "available": True}, RuntimeError("old\ndriver"), "RuntimeError: old"),
    ],
)
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, Any], cupy: Exception | None, said: str
) -> None:
    def count() -> int:
        assert cupy is not None
        raise cupy

    module = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count)))
    monkeypatch.setattr(torch.version, "cuda", there["cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there.get("available", False))
    monkeypatch.setitem(__import__("sys").modules, "cupy", module if cupy is not None else None)
    problem = gpu_problem()
    assert problem is not None and said in problem and "\n" not in problem


# What only a GPU can show.

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(gpu_problem() is not None, reason=f"no GPU: {gpu_problem()}"),
]


class OnGpu:
    """One engine with graphs for all tests below."""

    pytestmark = needs_gpu


@pytest.fixture(scope="module")
def fast(reference: Any) -> Iterator[GpuEngine]:
    engine = GpuEngine(256, slots=4, finder=reference.finder)
    yield engine
    engine.close()


@pytest.fixture
def someone(fast: GpuEngine) -> Iterator[Avatar]:
    avatar = fast.build_avatar(load_picture(DEMO))
    yield avatar
    avatar.close()


class TestOnGpu(OnGpu):
    @pytest.mark.parametrize("refine", [False, True])
    def test_pictures_are_the_cpus(
        self, fast: GpuEngine, someone: Avatar, reference: Any, same: Avatar, refine: bool
    ) -> None:
        theirs = reference.render(asked(same, refine=refine))
        for a, b in zip(fast.render(asked(someone, refine=refine)), theirs, strict=True):
            assert psnr(a, b) > 38

    def test_a_graph_does_what_it_was_made_of(self, fast: GpuEngine, someone: Avatar) -> None:
        for quality, replay in fast._graphs[4].replays.items():
            chain = fast._graphs[4].chain
            fast.render(asked(someone)[:4])  # leaves its views in the chain
            with fast._queue.working():
                chain.frames.fill_(77)
                getattr(chain, quality.value)()
                eager = chain.frames.clone()
                chain.frames.fill_(99)
                replay()
            torch.cuda.synchronize()
            apart = (eager.int() - chain.frames.int()).abs()
            assert apart.max() <= 2 and (apart > 0).float().mean() < 0.01, quality

    def test_32_receivers_see_what_each_would_see_alone(
        self, fast: GpuEngine, someone: Avatar
    ) -> None:
        requests = [RenderRequest(someone, Viewpoint(yaw=2 * i - 32)) for i in range(32)]
        together = fast.render(requests)
        for request, picture in zip(requests, together, strict=True):
            assert psnr(fast.render([request])[0], picture) > 45

    def test_nothing_is_allocated_and_nothing_waits(self, fast: GpuEngine, someone: Avatar) -> None:
        requests = [RenderRequest(someone, Viewpoint(yaw=i)) for i in range(20)]
        for _ in range(3):
            fast.render(requests)
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(10):
                fast.render(requests)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.cuda.memory_stats()["allocation.all.allocated"] == before

    def test_people_come_and_go_under_the_same_graphs(
        self, fast: GpuEngine, someone: Avatar
    ) -> None:
        (before,) = fast.render([RenderRequest(someone, Viewpoint())])
        graphs = dict(fast._graphs[1].replays)
        for _ in range(10):
            fast.build_avatar(load_picture(DEMO)).close()
        (after,) = fast.render([RenderRequest(someone, Viewpoint())])
        assert fast._graphs[1].replays == graphs
        assert psnr(before, after) > 45


def test_a_caller_is_followed(engine: GpuEngine, reference: Any) -> None:
    """As the CPU's engine follows: the same pictures, through slots that come and go."""
    picture = load_picture(DEMO)
    ours, theirs = engine.build_avatar(picture), reference.build_avatar(picture)
    taken = engine.slots.taken
    mine, other = engine.follow(ours), reference.follow(theirs)
    ours.close()
    with pytest.raises(CapacityError, match="follow"):
        extra = engine.build_avatar(picture)
        try:
            engine.follow(extra)
        finally:
            extra.close()
    frames = [turned_to(reference, theirs, yaw) for yaw in (0, 0, 8, 16, 24)]
    for index, frame in enumerate(frames):
        a, b = (follower.update(frame, index / 15) for follower in (mine, other))
        assert (a.code, a.reason) == (b.code, b.reason) == ("ok", "")
        assert a.avatar is not None and b.avatar is not None
        for yaw in (0, -30):
            asked_for = [Viewpoint(yaw=yaw)]
            pictures = [
                e.render([RenderRequest(avatar, v) for v in asked_for])[0]
                for e, avatar in ((engine, a.avatar), (reference, b.avatar))
            ]
            assert psnr(*pictures) > 38, (index, yaw)
        a.avatar.close()
    assert engine.slots.taken == taken - 1
    held = mine.update(np.full((480, 640, 3), 120, np.uint8), 1.0)
    assert held.avatar is None and held.code == "no_face"
    assert {"track", "relift"} <= set(engine.stage_times())
    mine.close()
    mine.close()
    assert engine.places.numbers.taken == 0
    with pytest.raises(ValueError, match="closed"):
        mine.update(frames[0], 2.0)


def test_only_an_enrolled_avatar_is_followed(engine: GpuEngine, avatar: Avatar) -> None:
    follower = engine.follow(avatar)
    followed = follower.update(load_picture(DEMO), 0.0)
    assert followed.avatar is not None
    with pytest.raises(ValueError, match="follower"):
        engine.follow(followed.avatar)
    followed.avatar.close()
    follower.close()
    with pytest.raises(TypeError):
        engine.follow(object())  # type: ignore[arg-type]
