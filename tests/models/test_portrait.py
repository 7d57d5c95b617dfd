"""The portrait end to end, on a real photograph and what can be done to it."""

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import coffee

from models.errors import PortraitError
from models.face_models import mapped
from models.frame_check import MEASURE_SIZE, FrameCheck, judge
from models.portrait import Portrait, PortraitFinder
from tests.models.faces import needs_face_models, on_canvas, portrait, turned, webcam

pytestmark = needs_face_models


@pytest.fixture(scope="module")
def finder() -> PortraitFinder:
    return PortraitFinder()


@pytest.fixture(scope="module")
def landmarks(finder: PortraitFinder) -> np.ndarray:
    """Of the astronaut. [468, 3]"""
    _, mesh, _ = finder._examine(portrait(), strict=True)
    assert mesh is not None
    return mesh.points


@pytest.fixture(scope="module")
def astronaut(finder: PortraitFinder) -> Portrait:
    return finder.portrait(portrait())


def eyes_in(result: Portrait, landmarks: np.ndarray) -> np.ndarray:
    """Middle of each eye in the portrait. [2, 2]"""
    points = mapped(result.crop.numpy(), landmarks[:, :2])
    return np.array([(points[33] + points[133]) / 2, (points[362] + points[263]) / 2])


def test_a_good_portrait_is_fit_and_frontal(finder: PortraitFinder) -> None:
    for picture in (portrait(), webcam(), webcam()[:, ::-1].copy()):
        check = finder.check(picture)
        assert (check.fit, check.code, check.reason) == (True, "ok", "")
        assert abs(check.yaw) < 3 and abs(check.pitch) < 12 and abs(check.roll) < 5


def test_the_crop_puts_the_eyes_where_the_lifter_expects_them(
    astronaut: Portrait, landmarks: np.ndarray
) -> None:
    left, right = eyes_in(astronaut, landmarks)
    middle = (left + right) / 2
    assert middle == pytest.approx([128, 96], abs=8)
    assert right[0] - left[0] == pytest.approx(57, abs=5)
    assert right[1] - left[1] == pytest.approx(0, abs=2)  # upright, though she tilts her head
    assert astronaut.distance == 0.75


def test_image_and_mask(astronaut: Portrait) -> None:
    assert astronaut.image.shape == (3, 256, 256) and astronaut.mask.shape == (1, 256, 256)
    assert 0 <= astronaut.image.min() and astronaut.image.max() <= 1
    mask = astronaut.mask[0].numpy()
    assert 0 <= mask.min() and mask.max() <= 1
    assert mask[90:170, 100:156].min() > 0.95  # the face
    assert mask[235:, 100:156].min() > 0.9  # the collar
    assert mask[20:120, :15].max() < 0.1 and mask[20:120, 240:].max() < 0.1  # the wall
    unsure = ((mask > 0.1) & (mask < 0.9)).mean()
    assert 0.4 < mask.mean() < 0.75 and unsure < 0.06


def test_the_crop_is_the_picture_under_its_homography(astronaut: Portrait) -> None:
    nose_tip = np.linalg.inv(astronaut.crop.numpy()) @ [128.5, 140.5, 1]
    x, y = nose_tip[:2] / nose_tip[2]
    there = astronaut.image[:, 140, 128].numpy() * 255
    np.testing.assert_allclose(there, portrait()[int(y), int(x)], atol=25)


def test_a_tilted_head_is_levelled_and_the_transform_tilts_it_back(
    finder: PortraitFinder, landmarks: np.ndarray
) -> None:
    tilt = cv2.getRotationMatrix2D((225, 150), -20, 1)  # clockwise
    picture = cv2.warpAffine(portrait(), tilt, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    result = finder.portrait(picture, strict=False)
    assert result.check.roll == pytest.approx(23, abs=4)
    moved = np.c_[landmarks[:, :2], np.ones(468)] @ tilt.T
    left, right = eyes_in(result, moved)
    assert right[1] - left[1] == pytest.approx(0, abs=3)
    # A point to the right of the camera's axis comes to the right and below in head space.
    transform = result.head_from_camera.numpy()
    x, y, z, _ = transform @ [1, 0, 0.75, 1]
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(result.check.roll, abs=1e-3)
    assert z == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("corner", [(0, 0), (980, 0), (980, 460), (0, 460)])
def test_the_place_in_the_frame_hardly_matters(
    finder: PortraitFinder, corner: tuple[int, int]
) -> None:
    """The virtual camera is turned to the face: the same crop wherever the caller sits."""
    picture = on_canvas((*corner, 300), width=1280, height=760)
    middle = on_canvas((490, 230, 300), width=1280, height=760)
    there, here = finder.portrait(picture, strict=False), finder.portrait(middle, strict=False)
    face = slice(60, 180), slice(80, 176)
    away = (there.image[:, *face] - here.image[:, *face]).abs().mean()
    assert away < 0.07
    assert (there.mask[0, 90:170, 100:156] > 0.9).all()


def test_beyond_the_edge_of_the_picture_the_mask_is_zero(finder: PortraitFinder) -> None:
    low = portrait()[55:, 60:400].copy()  # the hair is cut
    result = finder.portrait(low, strict=False)
    inside = mapped(result.crop.numpy(), np.array([[170.0, 0.0]]))[0, 1]
    assert inside > 8
    assert (result.mask[0, : int(inside) - 4, 100:156] == 0).all()
    assert (result.image[:, : int(inside) - 4] > 0).any()  # padded by the edge, not black


def test_no_one_else_gets_into_the_mask(finder: PortraitFinder) -> None:
    """A smaller person in the background is no second caller, and no part of the first."""
    picture = on_canvas((500, 30, 130), (90, 60, 400))
    assert finder.check(picture).code == "ok"
    result = finder.portrait(picture)
    x, y = mapped(result.crop.numpy(), np.array([[565.0, 80.0]]))[0]
    beyond = result.mask[0, :, int(min(x - 30, 250)) :]
    assert beyond[: int(min(max(y, 20), 120))].mean() < 0.05


CASES = {
    "nobody": (lambda: np.full((480, 640, 3), 128, np.uint8), "no_face", "no_face"),
    "noise": (
        lambda: np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8),
        "no_face",
        "no_face",
    ),
    "a tiny picture": (lambda: np.zeros((1, 1, 3), np.uint8) + 200, "no_face", "no_face"),
    "a thin picture": (lambda: np.zeros((3, 900, 3), np.uint8) + 200, "no_face", "no_face"),
    "lights out": (lambda: np.zeros((480, 640, 3), np.uint8), "dark", "dark"),
    "two": (lambda: on_canvas((0, 80, 310), (320, 100, 310)), "two_faces", "two_faces"),
    "two of unequal size": (
        lambda: on_canvas((20, 80, 380), (420, 100, 210)),
        "two_faces",
        "two_faces",
    ),
    "a face of 40 pixels": (lambda: on_canvas((200, 150, 145)), "too_small", "too_small"),
    "half a face": (lambda: webcam()[:, 305:].copy(), "off_frame", "off_frame"),
    "head cut off": (lambda: webcam()[138:].copy(), "off_frame", "ok"),
    "dark": (lambda: (webcam() * 0.12).astype(np.uint8), "dark", "ok"),
    "burnt out": (
        lambda: np.clip(webcam() * 2.2, 0, 255).astype(np.uint8),
        "bright",
        "bright",
    ),
    "fog": (lambda: (webcam() * 0.06 + 180).astype(np.uint8), "flat", "flat"),
    "black and white": (
        lambda: cv2.cvtColor(cv2.cvtColor(webcam(), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
        "grey",
        "ok",
    ),
    "out of focus": (lambda: cv2.GaussianBlur(webcam(), (0, 0), 2.2), "blurred", "ok"),
    "moving": (lambda: cv2.blur(webcam(), (9, 1)), "blurred", "ok"),
    "upside down": (lambda: np.rot90(webcam(), 2).copy(), "tilted", "turned"),
    "on its side": (lambda: np.rot90(webcam()).copy(), "tilted", "turned"),
}


@pytest.mark.parametrize("name", CASES)
def test_says_what_is_wrong(finder: PortraitFinder, name: str) -> None:
    make, live, still = CASES[name]
    picture = make()
    for strict, code in ((True, live), (False, still)):
        check = finder.check(picture, strict)
        assert check.code == code, check
        assert check.fit == (code == "ok")
        if code == "ok":
            continue
        assert check.reason and "\n" not in check.reason and check.reason.endswith(".")
        with pytest.raises(PortraitError) as caught:
            finder.portrait(picture, strict)
        assert (caught.value.code, str(caught.value)) == (code, check.reason)


def test_closed_eyes(finder: PortraitFinder, landmarks: np.ndarray) -> None:
    picture = portrait()
    for upper, lower in (
        ((33, 246, 161, 160, 159, 158, 157, 173, 133), (7, 163, 144, 145, 153, 154, 155)),
        ((263, 466, 388, 387, 386, 385, 384, 398, 362), (249, 390, 373, 374, 380, 381, 382)),
    ):
        above, below = landmarks[list(upper), :2], landmarks[list(lower), :2]
        lid = picture[int(above[4, 1]) - 3, int(above[4, 0])]
        opening = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillPoly(opening, [np.r_[above, below[::-1]].round().astype(np.int32)], 255)
        opening = cv2.GaussianBlur(cv2.dilate(opening, np.ones((3, 3))), (0, 0), 1)
        part = opening[..., None] / 255
        picture = (picture * (1 - part) + lid * part).astype(np.uint8)
        lashes = [below.round().astype(np.int32)]
        cv2.polylines(picture, lashes, False, (50, 30, 25), 1, cv2.LINE_AA)
    assert finder.check(picture).code == "eyes_closed"
    assert finder.check(picture, strict=False).fit


@pytest.mark.parametrize(
    ("degrees", "code", "words"),
    [
        (40, "turned_left", "Turn a little to the left."),
        (-40, "turned_right", "Turn a little to the right."),
    ],
)
def test_a_turned_face_is_told_the_way_back(
    finder: PortraitFinder, landmarks: np.ndarray, degrees: float, code: str, words: str
) -> None:
    """Turned to the left of the picture is turned to the caller's own right, and back is left."""
    picture = turned(landmarks, degrees)
    _, mesh, _ = finder._examine(picture, strict=True)
    assert mesh is not None
    nose = mesh.points[1, 0] - (mesh.points[234, 0] + mesh.points[454, 0]) / 2
    assert np.sign(nose) == -np.sign(degrees)
    check = finder.check(picture)
    assert (check.code, check.reason) == (code, words)
    mirrored = finder.check(picture[:, ::-1].copy())
    assert mirrored.code == {"turned_left": "turned_right"}.get(code, "turned_left")


@pytest.mark.parametrize("angle", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_face_turned_too_far_for_a_still_picture(
    finder: PortraitFinder, angle: str, sign: int
) -> None:
    picture = portrait()
    _, mesh, pose = finder._examine(picture, strict=False)
    assert mesh is not None and pose is not None
    crop = finder._crop(picture, pose, MEASURE_SIZE)
    far = replace(pose, **{angle: sign * 43.4})
    check = judge(picture, [], mesh, far, crop, strict=False)
    assert check.code == "turned"
    assert "turned by 43 degrees" in check.reason
    near = replace(pose, **{angle: sign * 20.0})
    assert judge(picture, [], mesh, near, crop, strict=False).fit


def test_a_small_face_in_a_large_picture_is_found(finder: PortraitFinder) -> None:
    result = finder.portrait(on_canvas((1500, 900, 330), width=2400, height=1600), strict=False)
    assert result.check.eye_distance == pytest.approx(41, abs=4)
    assert result.mask[0, 90:170, 100:156].min() > 0.9


@pytest.mark.parametrize(("pixels", "code"), [(40, "too_small"), (60, "ok")])
def test_a_small_face_is_not_called_absent(finder: PortraitFinder, pixels: int, code: str) -> None:
    """Nor where patterns that the detector takes for larger faces surround it."""
    size = round(340 * pixels / 107.5)  # the face is 107.5 pixels tall in the bust of 340
    bust = cv2.resize(portrait()[:340, 60:400], (size, size), interpolation=cv2.INTER_AREA)
    picture = cv2.resize(coffee(), (4000, 3000))
    picture[1000 : 1000 + size, 2000 : 2000 + size] = bust
    check = finder.check(picture, strict=False)
    assert check.code == code
    assert check.box is not None and check.box[3] == pytest.approx(pixels, rel=0.15)


def test_a_face_in_a_huge_picture_is_found_where_it_is(finder: PortraitFinder) -> None:
    """The search looks at a smaller picture; what is measured is measured in the whole one."""
    small = finder.check(on_canvas((100, 100, 200), width=800, height=600), strict=False)
    huge = cv2.resize(on_canvas((100, 100, 200), width=800, height=600), (8000, 6000))
    check = finder.check(huge, strict=False)
    assert check.fit and check.box is not None and small.box is not None
    assert np.array(check.box) / 10 == pytest.approx(np.array(small.box), abs=3)


def test_the_same_picture_gives_the_same_portrait_from_two_threads(
    finder: PortraitFinder, astronaut: Portrait
) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: finder.portrait(portrait()), range(2)))
    for result in results:
        assert (result.image == astronaut.image).all()
        assert (result.mask == astronaut.mask).all()


def test_pictures_of_the_wrong_kind_are_a_programming_error(finder: PortraitFinder) -> None:
    for wrong in (np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3)), np.zeros((4, 4, 4))):
        with pytest.raises(ValueError, match="expected RGB uint8"):
            finder.check(wrong)  # type: ignore[arg-type]


def test_the_demo_person_is_fit(finder: PortraitFinder) -> None:
    from models.picture import load_picture

    demo = Path(__file__).parents[2] / "models" / "assets" / "demo_portrait.png"
    if not demo.exists():
        pytest.skip("the demo portrait is not there")
    assert finder.check(load_picture(demo)).code == "ok"


def test_a_finder_that_is_let_go_is_gone() -> None:
    import weakref

    gone = weakref.ref(PortraitFinder())
    gc.collect()
    assert gone() is None


def test_a_check_holds_plain_numbers(finder: PortraitFinder) -> None:
    """It is sent as JSON and kept in logs."""
    check = finder.check(portrait())
    assert isinstance(check, FrameCheck)
    numbers = [check.yaw, check.pitch, check.roll, check.eye_distance, *(check.box or ())]
    assert all(type(number) is float for number in numbers)
