"""Networks in eight bits compute what they do in floating point, as far as codes can tell."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import weights
from models.compiled_refiner import compile_refiner
from models.cpu_engine import CpuEngine
from models.engine import RenderRequest
from models.int8 import Codes, Range, activated, available, quantise
from models.lifter import Lifter
from models.live_lift import LiveLifter
from models.picture import load_picture
from models.portrait import Portrait, PortraitFinder
from models.quantised import measured, observing, quantised
from models.refiner import NOISE_LEVEL, RENDER, Refiner, refine
from models.viewpoint import Viewpoint
from models.weights import (
    LIFTER,
    REFINER,
    load_calibration,
    load_lifter,
    load_refiner,
    weights_folder,
)

DEMO = weights.FOLDER / "demo_portrait.png"

vnni = pytest.mark.skipif(
    not available(), reason="this CPU has no VNNI: engines do not compute in eight bits on it"
)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return PortraitFinder().portrait(load_picture(DEMO))


def off_by(found: Tensor, wanted: Tensor) -> float:
    """Root mean square error as a part of the root mean square."""
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


@pytest.mark.parametrize("ends", [(0.0, 3.0), (-1.0, 3.0), (-0.2, 0.1), (0.5, 2.0), (-3.0, -1.0)])
def test_a_range_has_its_ends_and_an_exact_zero(ends: tuple[float, float]) -> None:
    one = Range.between(*ends)
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    values = torch.cat([torch.linspace(low, high, 999), torch.zeros(1)])
    codes = quantise(values, one)
    assert codes.codes.dtype == torch.uint8 and codes.values()[-1] == 0
    assert (codes.values() - values).abs().max() <= 0.51 * one.scale + 1e-6


def test_a_leaky_relu_of_codes() -> None:
    one, slope = Range.between(-2.0, 1.0), 0.1
    every = Codes(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16), one)
    wanted = F.leaky_relu(every.values(), slope)
    found = activated(Codes(every.codes.clone(), one), slope).values()
    assert ((found - wanted).abs() <= 1.6 * one.scale).all()
    assert ((found - wanted)[every.values() < 0].mean()).abs() < 0.75 * one.scale
    assert (found[every.values() >= 0] == wanted[every.values() >= 0]).all()


def small_lifter() -> Callable[[Lifter], list[Tensor]]:
    x = torch.rand(1, 3, 256, 256), torch.rand(1, 1, 256, 256), torch.ones(1)
    return lambda network: list(network(*x))


def small_refiner() -> Callable[[Refiner], list[Tensor]]:
    render, noise = torch.rand(1, RENDER, 128, 128), torch.randn(1, 4, 128, 128)
    portrait = torch.rand(1, 4, 256, 256)
    return lambda n: [refine(n, render, noise, 0.05, n.encode_portrait(portrait))]


@vnni
@pytest.mark.parametrize(
    ("network", "run"),
    [(Lifter, small_lifter), (Refiner, small_refiner)],
    ids=["lifter", "refiner"],
)
@torch.no_grad()
def test_fresh_networks_in_eight_bits(
    network: type[Lifter] | type[Refiner], run: Callable[[], Callable[..., list[Tensor]]]
) -> None:
    torch.manual_seed(0)
    plain = network().eval()
    for name, weight in plain.named_parameters():
        if "head" in name:
            weight.mul_(20)  # as varied as after training
    compute = run()
    wanted = compute(plain)
    seen = observing(plain)
    for a, b in zip(compute(seen), wanted, strict=True):
        torch.testing.assert_close(a, b)
    eight = quantised(plain, measured(seen), torch.float32)
    for a, b in zip(compute(eight), wanted, strict=True):
        assert off_by(a, b) < 0.06, "codes tell 1 in 255 of the largest value"
    again = compute(eight)
    for a, b in zip(compute(eight), again, strict=True):
        assert torch.equal(a, b), "sums in place leave nothing behind"


def test_the_calibrations_that_ship_belong_to_the_weights_that_ship() -> None:
    for name, network in ((LIFTER, Lifter()), (REFINER, Refiner())):
        found = load_calibration(weights_folder() / name)
        assert found is not None, f"run visavis-train calibrate: {name} has changed"
        assert set(found.pictures) == set(network.STEMS)
        assert not set(found.ranges) & set(network.HEADS)


def test_a_calibration_of_other_weights_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (weights.FOLDER / "lifter_int8.json").read_text()
    (tmp_path / "lifter_int8.json").write_text(told)
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    assert load_calibration(weights_folder() / LIFTER) is None, "no weights at all"
    weights.save_weights(Lifter(), tmp_path / LIFTER)
    assert load_calibration(weights_folder() / LIFTER) is None
    for bad in ("", "[]", "{}", '{"of": 3}', "\x00"):
        (tmp_path / "lifter_int8.json").write_text(bad)
        assert load_calibration(weights_folder() / LIFTER) is None


@vnni
@torch.no_grad()
def test_the_lifter_that_ships_in_eight_bits(portrait: Portrait) -> None:
    x = torch.cat([portrait.image, portrait.mask])[None]
    lifter = load_lifter()
    plain, eight = (
        LiveLifter(copy.deepcopy(lifter), torch.float32, calibration).maps(x)
        for calibration in (None, load_calibration(weights_folder() / LIFTER))
    )
    person = plain.front[:, 5] > 0
    depth = 80 * (eight.front - plain.front)[person, 0].abs()
    assert depth.median() < 1.0 and depth.quantile(0.99) < 5.0, "millimetres"
    assert off_by(eight.front[person, 6:9], plain.front[person, 6:9]) < 0.2


@vnni
@torch.no_grad()
def test_the_refiner_that_ships_in_eight_bits(portrait: Portrait) -> None:
    refiner, calibration = load_refiner(), load_calibration(weights_folder() / REFINER)
    assert calibration is not None
    eight = quantised(refiner, calibration, torch.float32)
    source = torch.cat([portrait.image * portrait.mask, portrait.mask])[None]
    # A splat of the portrait's own view: blurred, and sure of itself.
    blurred = F.avg_pool2d(source, 5, 1, 2)
    render = torch.zeros(1, RENDER, 256, 256)
    render[:, :3], render[:, 3], render[:, 5] = blurred[:, :3], 0.2, blurred[:, 3]
    render[:, 6:9], render[:, 9] = source[:, :3] - blurred[:, :3], 1
    noise = torch.randn(1, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    seen = [
        refine(one, render, noise, 0.05, one.encode_portrait(source)) for one in (refiner, eight)
    ]
    assert (seen[0] - seen[1])[:, :3].abs().mean() < 1.5 / 255
    change = off_by(seen[1], seen[0]) / off_by(render[:, [0, 1, 2, 5]], seen[0])
    assert change < 0.25, "what it changes is changed in eight bits as well"


@vnni
@torch.no_grad()
def test_the_compiled_step_is_the_step() -> None:
    calibration = load_calibration(weights_folder() / REFINER)
    assert calibration is not None
    eight = quantised(load_refiner(), calibration, torch.float32)
    step, (render, noise, tokens) = compile_refiner(eight, torch.float32, 64)
    wanted = refine(eight, render, noise, NOISE_LEVEL, tokens)
    apart = (step(render, noise, tokens) - wanted).abs()
    assert apart.mean() < 1e-3, "codes of a few pixels are rounded the other way"


@pytest.mark.parametrize("eight_bits", [False, pytest.param(True, marks=vnni)])
def test_engines_follow_with_and_without_eight_bits(eight_bits: bool) -> None:
    picture = load_picture(DEMO)
    engine = CpuEngine(64, 1, eight_bits=eight_bits)
    if not eight_bits:
        assert "int8" not in engine.name
    elif "int8" not in engine.name:
        pytest.skip("eight bits are not faster here")
    follower = engine.follow(engine.build_avatar(picture))
    followed = follower.update(picture, 0.0)
    assert followed.avatar is not None, followed.reason
    (frame,) = engine.render([RenderRequest(followed.avatar, Viewpoint(yaw=10))])
    assert frame.std() > 20
