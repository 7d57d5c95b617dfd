"""The engine with the weights that ship, on the person that ships."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import Tensor

from models.cpu_engine import CpuEngine
from models.engine import Avatar, Engine, Picture, RenderRequest, load_engine
from models.errors import PortraitError, SetupError
from models.picture import load_picture
from models.portrait import PortraitFinder
from models.viewpoint import Viewpoint

DEMO = Path(__file__).parents[2] / "models" / "assets" / "demo_portrait.png"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        engine = load_engine(size=256, threads=1)
    except SetupError as error:
        pytest.skip(f"the engine cannot be loaded: {error}")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def avatar(engine: Engine) -> Iterator[Avatar]:
    avatar = engine.build_avatar(load_picture(DEMO))
    yield avatar
    avatar.close()


def rgb(frame: Picture) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420)


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    error = ((a.astype(float) - b.astype(float)) ** 2)[where].mean()
    return float(-10 * np.log10(error / 255**2))


def test_frames_are_i420(engine: Engine, avatar: Avatar) -> None:
    (frame,) = engine.render([RenderRequest(avatar, Viewpoint())])
    assert frame.shape == (384, 256)
    assert frame.dtype == np.uint8


@pytest.mark.parametrize(("refine", "floor"), [(False, 25.0), (True, 25.0)])
def test_front_view_gives_the_portrait_back(
    engine: Engine, avatar: Avatar, refine: bool, floor: float
) -> None:
    portrait = PortraitFinder().portrait(load_picture(DEMO), strict=False)
    truth = (portrait.image.permute(1, 2, 0).numpy() * 255).round()
    inside = cv2.erode(portrait.mask[0].numpy(), np.ones((9, 9))) > 0.95
    front, side = engine.render(
        [RenderRequest(avatar, Viewpoint(yaw=yaw), refine) for yaw in (0, 30)]
    )
    close = psnr(rgb(front), truth, inside)
    assert close > floor
    assert psnr(rgb(side), truth, inside) < close - 4


def test_what_the_lifter_leaves_out_of_the_person_is_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = CpuEngine(256, threads=1, eight_bits=False)
    portrait = engine.finder.portrait(load_picture(DEMO), strict=False)
    whole = engine.lift(portrait)
    lift = engine._lifter.forward

    def leaving_out(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        front, back = lift(*arguments)
        front[:, 5, 100:150, 100:150] = -5
        return front, back

    monkeypatch.setattr(engine._lifter, "forward", leaving_out)
    mended = engine.lift(portrait)
    assert whole.gaussians is not None and mended.gaussians is not None
    assert len(mended.gaussians) > len(whole.gaussians) - 100  # of 2,500 that were left out
    before, after = (
        rgb(engine.render([RenderRequest(avatar, Viewpoint(), False)])[0])
        for avatar in (whole, mended)
    )
    assert psnr(after, before, np.ones((256, 256), bool)) > 32
    engine.close()


def test_refining_changes_the_picture(engine: Engine, avatar: Avatar) -> None:
    raw, refined = engine.render(
        [RenderRequest(avatar, Viewpoint(yaw=30), refine) for refine in (False, True)]
    )
    assert np.abs(raw.astype(int) - refined.astype(int)).mean() > 0.2


def test_coarse_pictures_show_the_same_with_less_detail(engine: Engine, avatar: Avatar) -> None:
    view = Viewpoint(yaw=20)
    raw, coarse, either = engine.render(
        [
            RenderRequest(avatar, view, refine=False),
            RenderRequest(avatar, view, refine=False, coarse=True),
            RenderRequest(avatar, view, refine=True, coarse=True),
        ]
    )
    np.testing.assert_array_equal(coarse, either)
    assert 25 < psnr(rgb(coarse), rgb(raw), np.ones((256, 256), bool)) < 45
    detail = [
        cv2.Laplacian(frame[:256].astype(np.float32), cv2.CV_32F).std() for frame in (raw, coarse)
    ]
    assert detail[1] < 0.6 * detail[0]


def test_same_viewpoint_same_frame_from_two_threads(engine: Engine, avatar: Avatar) -> None:
    requests = [[RenderRequest(avatar, Viewpoint(yaw=yaw))] for yaw in (-20, -10, 0, 10, 20)]
    alone = [engine.render(request)[0] for request in requests]
    with ThreadPoolExecutor(2) as pool:
        together = [frames[0] for frames in pool.map(engine.render, requests)]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_stages_are_timed(engine: Engine, avatar: Avatar) -> None:
    engine.render([RenderRequest(avatar, Viewpoint(yaw=5))])
    times = engine.stage_times()
    assert set(times) == {"portrait", "lift", "rasterise", "refine", "i420"}
    assert all(value > 0 for value in times.values())


def test_closed_avatar_is_refused(engine: Engine) -> None:
    avatar = engine.build_avatar(load_picture(DEMO))
    avatar.close()
    avatar.close()
    with pytest.raises(ValueError, match="closed"):
        engine.render([RenderRequest(avatar, Viewpoint())])


def test_no_face_no_avatar(engine: Engine) -> None:
    with pytest.raises(PortraitError) as caught:
        engine.build_avatar(np.full((240, 320, 3), 90, np.uint8))
    assert "\n" not in str(caught.value)


def test_ply_holds_every_disc(engine: Engine, avatar: Avatar, tmp_path: Path) -> None:
    count = engine.save_ply(avatar, tmp_path / "avatar.ply")
    header = (tmp_path / "avatar.ply").read_bytes()[:400]
    assert f"element vertex {count}".encode() in header
    assert 10_000 < count <= 81_920


@pytest.mark.parametrize(("device", "size"), [("tpu", 256), ("cpu", 100), ("cpu", 4096)])
def test_what_cannot_be_run_is_said(device: str, size: int) -> None:
    with pytest.raises(SetupError):
        load_engine(device, size)


def test_weights_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from models.weights import load_lifter

    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    with pytest.raises(SetupError, match="VISAVIS_WEIGHTS"):
        load_lifter()
    (tmp_path / "lifter.safetensors").write_bytes(b"not weights")
    with pytest.raises(SetupError, match="does not hold weights"):
        load_lifter()


def detail(luma: np.ndarray, where: np.ndarray) -> np.ndarray:
    """What is finer than some pixels, in a region."""
    values = luma.astype(np.float32)
    fine: np.ndarray = (values - cv2.GaussianBlur(values, (0, 0), 1.5))[where]
    return fine


def test_the_skin_is_the_cameras_from_the_front_and_the_networks_from_aside(
    engine: Engine, avatar: Avatar
) -> None:
    portrait = PortraitFinder().portrait(load_picture(DEMO), strict=False)
    picture = (portrait.image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    face = np.zeros((256, 256), np.uint8)
    outline = cv2.convexHull(portrait.landmarks.astype(np.int32))
    cv2.fillConvexPoly(face, outline, 1)
    skin = cv2.erode(face, np.ones((15, 15), np.uint8)) > 0
    wanted = detail(luma, skin)
    for refine in (False, True):
        alike = []
        for yaw in (0.0, 4.0, 16.0):
            request = RenderRequest(avatar, Viewpoint(yaw=yaw), refine)
            seen = detail(engine.render([request])[0][:256], skin)
            alike.append(float(np.corrcoef(seen, wanted)[0, 1]))
        assert alike[0] > 0.95
        assert alike[2] < 0.6


def test_portraits_have_more_pixels_where_frames_do() -> None:
    found = PortraitFinder().portrait(load_picture(DEMO), strict=False, fine=512)
    assert found.fine.shape == (3, 512, 512)
    fine = found.fine.permute(1, 2, 0).numpy()
    small = cv2.resize(fine, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(small - found.image.permute(1, 2, 0).numpy()).mean() < 0.01
    assert PortraitFinder().portrait(load_picture(DEMO), strict=False).fine.shape[-1] == 256
