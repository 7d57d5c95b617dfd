"""Whether a frame is fit to make an avatar from, and in words what to do when it is not.

Left and right in the words are the caller's own: in the picture of a camera, which does not mirror,
a caller who turns to their own left turns towards the right of the picture. A mirrored preview
changes nothing: there too the caller's own left is the side to turn to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.face_models import Affine, Face, Floats, Mesh, Picture, mapped, sample
from models.head_pose import HeadPose

MEASURE_SIZE = 128
"""Side of the portrait in which light and sharpness are measured, pixels."""
FACE_OUTSIDE = 0.05
"""Part of the face's landmarks that may be beyond the picture's edge."""
DARK_PICTURE = 0.25
"""Luminance 0..1 of the brightest parts under which darkness is why no face was found."""
EYE_DISTANCE = 57.0
"""Pixels between the eyes in a portrait of 256."""


@dataclass(frozen=True)
class Limits:
    """What a frame must keep to. Luminance is 0..1; the measures are those of `_Face`."""

    yaw: float  # degrees to either side
    pitch: float
    roll: float
    eye_distance: float  # pixels between the eyes at least; a portrait shows 57
    outside: float  # part of the head that may be beyond the picture's edge
    light: float  # luminance that the brighter parts of the face must reach
    burnt: float  # part of the face that may be white
    contrast: float  # luminance between the darker and the brighter parts at least
    colour: float  # mean spread between red, green and blue at least
    detail: float
    eyes: float  # opening of the eyes over their width below which they may be closed
    iris: float  # part of the eyes that is dark below which they may be closed


LIVE = Limits(12, 18, 15, 32, 0.08, 0.22, 0.25, 0.10, 0.015, 0.30, 0.26, 0.12)
"""For a camera's frame: a better one can be had by asking."""
STILL = Limits(25, 28, 40, 24, 0.30, 0.08, 0.60, 0.04, 0.0, 0.12, 0.0, 0.0)
"""For a given picture: only what makes an avatar impossible. A black-and-white portrait of a person
is taken, and so is one with closed eyes: the zeros leave these checks out, so that `grey` and
`eyes_closed` are said of frames only. A plain grey picture shows nobody: that is `no_face`."""

FOLLOWED = Limits(35, 25, 40, 20, 0.35, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""For a caller who moves and speaks: beyond these the last good avatar is held. Light and blur are
the picture's own matter then."""
BACK = 0.88
"""Part of the limits of `FOLLOWED` that a held face must come back to, so that one at the limit
does not switch from frame to frame."""


@dataclass(frozen=True)
class FrameCheck:
    """What is to say of a frame.

    Args:
        fit: an avatar can be made from it.
        code: "ok", or the first thing that is wrong: no_face, two_faces, too_small, off_frame,
            turned_left, turned_right (the way to turn), chin_up, chin_down (the way to move it),
            tilted, dark, bright, flat, grey, blurred, eyes_closed; for a given picture turned
            stands for all that is about the pose, and grey and eyes_closed are no faults.
        reason: one or two sentences that say what is wrong and what to do; empty when fit.
        yaw: degrees, > 0 when the caller has turned to their own right; see `HeadPose`. 0 without
            a face, as all that follows.
        pitch: degrees, > 0 when the face points down.
        roll: degrees, > 0 when the head is tilted clockwise in the picture.
        box: left, top, width, height of the largest face, pixels; None without a face.
        eye_distance: pixels between the eyes, as it would be from the front.
    """

    fit: bool
    code: str
    reason: str
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    box: tuple[float, float, float, float] | None = None
    eye_distance: float = 0.0


_LIVE_WORDS = {
    "no_face": "I can't see your face. Sit in front of the camera, with light on your face.",
    "two_faces": "I can see {count} faces. Please be alone in the picture.",
    "too_small": "Come closer to the camera.",
    "off_frame": "Part of your head is outside the picture. Move to its middle, or further back.",
    "turned_left": "Turn a little to the left.",
    "turned_right": "Turn a little to the right.",
    "chin_up": "Lift your chin a little, or lower the camera.",
    "chin_down": "Lower your chin a little, or raise the camera.",
    "tilted": "Hold your head upright.",
    "dark": "Your face is too dark. More light from the front, please.",
    "bright": "Your face is too bright. Less light on it, please.",
    "flat": "The picture has too little contrast. Wipe the lens, or change the light.",
    "grey": "The picture has no colour. More light, or the camera's colour mode, please.",
    "blurred": "The picture is blurred. Hold still, or wipe the lens.",
    "eyes_closed": "Open your eyes and look at the camera.",
}
_STILL_WORDS = {
    "no_face": "There is no face in the picture. Choose a portrait in which the face is seen.",
    "two_faces": "There are {count} faces in the picture. "
    "Choose one with a single face, or cut the others off.",
    "too_small": "The face is too small: {eyes:.0f} pixels between the eyes, needs {needed:.0f}. "
    "Choose a picture taken from nearer, or a larger one.",
    "off_frame": "Part of the head is cut off by the edge of the picture. "
    "Choose one with the whole head.",
    "turned": "The face is turned by {angle:.0f} degrees {way}, at most {needed:.0f} will do. "
    "Choose a picture in which it looks at the camera.",
    "dark": "The picture is too dark. Choose one with light on the face.",
    "bright": "The face is burnt out to white. Choose a picture with less light on it.",
    "flat": "The face has too little contrast. Choose a clearer picture.",
    "blurred": "The face is blurred. Choose a sharper picture.",
}


def judge(
    picture: Picture,
    faces: Sequence[Face],
    mesh: Mesh | None,
    pose: HeadPose | None,
    crop: Affine | None,
    strict: bool,
) -> FrameCheck:
    """Say whether a frame is fit.

    Args:
        picture: [H, W, 3]
        faces: those that count, largest first.
        mesh: landmarks of the largest; None without a face, as the next two.
        pose: of the largest.
        crop: picture pixels to pixels of a portrait of side `MEASURE_SIZE`. [3, 3]
        strict: see `PortraitFinder.check`.
    """
    words = _LIVE_WORDS if strict else _STILL_WORDS
    if mesh is None or pose is None or crop is None:
        code = absent(picture)
        return FrameCheck(False, code, words[code])
    flat = mesh.points[:, :2]
    (left, top), (right, bottom) = flat.min(0).tolist(), flat.max(0).tolist()
    eye_distance = EYE_DISTANCE * MEASURE_SIZE / 256 / _scale(crop, flat.mean(0))
    problems = _problems(picture, faces, mesh, pose, crop, eye_distance, strict)
    code, values = next(problems, ("ok", {}))
    return FrameCheck(
        fit=code == "ok",
        code=code,
        reason=words[code].format(**values) if code != "ok" else "",
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=pose.roll,
        box=(left, top, right - left, bottom - top),
        eye_distance=eye_distance,
    )


def absent(picture: Picture) -> str:
    """Why there may be no face in a picture: the code."""
    grey = cv2.cvtColor(picture[::4, ::4], cv2.COLOR_RGB2GRAY)
    return "dark" if np.percentile(grey, 98) < 255 * DARK_PICTURE else "no_face"


def live_words(code: str) -> str:
    """What to say to a caller, who knows what to do then; empty for "ok"."""
    return "" if code == "ok" else _LIVE_WORDS[code]


def followed(picture: Picture, mesh: Mesh, pose: HeadPose, crop: Affine, held: bool) -> str:
    """Whether a face that is followed can be lifted: "ok", or the code of what is wrong.

    Args:
        picture: [H, W, 3]
        mesh: landmarks.
        pose: of the head.
        crop: picture pixels to pixels of a portrait of side `MEASURE_SIZE`. [3, 3]
        held: the frame before was not fit, so that this one must be better; see `BACK`.
    """
    flat, limits = mesh.points[:, :2], FOLLOWED
    part = BACK if held else 1.0
    if EYE_DISTANCE * MEASURE_SIZE / 256 / _scale(crop, flat.mean(0)) < limits.eye_distance / part:
        return "too_small"
    if (
        _outside(picture, _head_outline(crop)) > limits.outside * part
        or _outside(picture, flat) > 2 * FACE_OUTSIDE * part
    ):
        return "off_frame"
    for angle, limit, more, less in (
        (pose.yaw, limits.yaw, "turned_left", "turned_right"),
        (pose.pitch, limits.pitch, "chin_up", "chin_down"),
        (pose.roll, limits.roll, "tilted", "tilted"),
    ):
        if abs(angle) > limit * part:
            return more if angle > 0 else less
    return "ok"


def _problems(
    picture: Picture,
    faces: Sequence[Face],
    mesh: Mesh,
    pose: HeadPose,
    crop: Affine,
    eye_distance: float,
    strict: bool,
) -> Iterator[tuple[str, dict[str, float | str]]]:
    """What is wrong, most important first, as code and values for the words."""
    limits = LIVE if strict else STILL
    if len(faces) > 1:
        yield "two_faces", {"count": len(faces)}
    if eye_distance < limits.eye_distance:
        yield "too_small", {"eyes": eye_distance, "needed": limits.eye_distance}
    head, face = _head_outline(crop), mesh.points[:, :2]
    if _outside(picture, head) > limits.outside or _outside(picture, face) > FACE_OUTSIDE:
        yield "off_frame", {}
    for angle, limit, more, less, way in (
        (pose.yaw, limits.yaw, "turned_left", "turned_right", "to the side"),
        (pose.pitch, limits.pitch, "chin_up", "chin_down", "up or down"),
        (pose.roll, limits.roll, "tilted", "tilted", "in the picture"),
    ):
        if abs(angle) > limit:
            code = (more if angle > 0 else less) if strict else "turned"
            yield code, {"angle": abs(angle), "way": way, "needed": limit}

    seen = _measure(picture, mesh, crop)
    if seen.light < limits.light:
        yield "dark", {}
    if seen.burnt > limits.burnt:
        yield "bright", {}
    if seen.contrast < limits.contrast:
        yield "flat", {}
    if seen.colour < limits.colour:
        yield "grey", {}
    if seen.detail < limits.detail:
        yield "blurred", {}
    # The lids of the mesh hardly close, and pale eyes hold little that is dark: both must say so.
    if seen.eyes < limits.eyes and seen.iris < limits.iris:
        yield "eyes_closed", {}


@dataclass(frozen=True)
class _Face:
    """Measures of a face in the portrait; luminance is 0..1."""

    light: float  # of the brighter parts
    burnt: float  # part that is white
    contrast: float  # between the darker and the brighter parts
    colour: float  # mean spread between red, green and blue
    detail: float  # of the finest structure, over the spread of the luminance
    eyes: float  # opening of the wider eye over its width
    iris: float  # part of the eyes' middle that is dark, as pupil, iris and lashes are


def _measure(picture: Picture, mesh: Mesh, crop: Affine) -> _Face:
    portrait = sample(picture, crop, MEASURE_SIZE)
    points = mapped(crop, mesh.points[:, :2])
    face = np.zeros(portrait.shape[:2], np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(points - 0.5).astype(np.int32)), 1)
    inside = cv2.erode(face, np.ones((5, 5), np.uint8)) > 0
    if not inside.any():  # a face of landmarks that are all over the place
        return _Face(0, 0, 0, 0, 0, 0, 0)
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    skin = grey[inside]
    darker, brighter = np.percentile(skin, [5, 95])
    colours = portrait[inside].astype(np.float32) / 255
    # Second differences, across and down apart: a moving face is blurred in one direction only.
    finest = [
        np.percentile(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel))[inside], 95)
        for kernel in (_ACROSS, _ACROSS.T)
    ]
    return _Face(
        light=float(brighter),
        burnt=float((skin > 0.97).mean()),
        contrast=float(brighter - darker),
        colour=float((colours.max(1) - colours.min(1)).mean()),
        detail=float(min(finest) / max(float(skin.std()), 1e-3)),
        eyes=max(_opening(mesh.points, eye) for eye in _EYES),
        iris=max(_dark_part(picture, mesh.points, corners) for corners, _ in _EYES),
    )


_ACROSS = np.array([[1.0, -2.0, 1.0]])
# Corners, then upper and lower lid at three places.
_EYES = (
    ((33, 133), ((160, 144), (159, 145), (158, 153))),
    ((263, 362), ((387, 373), (386, 374), (385, 380))),
)


def _opening(points: Floats, eye: tuple[tuple[int, int], tuple[tuple[int, int], ...]]) -> float:
    """Mean distance of the lids over the width of the eye, in 3D so that a turn does not matter."""
    (outer, inner), lids = eye
    heights = [np.linalg.norm(points[a] - points[b]) for a, b in lids]
    return float(np.mean(heights) / np.linalg.norm(points[outer] - points[inner]))


def _dark_part(picture: Picture, points: Floats, corners: tuple[int, int]) -> float:
    """Part of the middle of an eye that is darker than half the skin around it."""
    outer, inner = points[corners[0], :2], points[corners[1], :2]
    along = (inner - outer).astype(np.float64)
    scale = 64 / max(float(np.hypot(*along)), 1e-3)  # corner to corner in 64 pixels
    c, s = scale * along / max(float(np.hypot(*along)), 1e-3)
    turn = np.array([[c, s], [-s, c]])
    to_crop = np.c_[turn, 32 - turn @ ((outer + inner) / 2)]
    eye = cv2.cvtColor(sample(picture, to_crop, 64), cv2.COLOR_RGB2GRAY)[16:48, 8:56]
    return float((eye[:, 14:34] < 0.45 * np.percentile(eye, 90)).mean())


def _head_outline(crop: Affine) -> Floats:
    """Points all over the head, an ellipse in the portrait, in pixels of the picture. [N, 2]"""
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    rings = [r * np.c_[np.cos(angles), np.sin(angles)] for r in (0.5, 0.75, 1.0)]
    unit = MEASURE_SIZE / 256
    head = np.concatenate(rings) * [62 * unit, 92 * unit] + [128 * unit, 118 * unit]
    return mapped(np.asarray(np.linalg.inv(crop), np.float64), head)


def _outside(picture: Picture, points: Floats) -> float:
    """Part of the points that lies beyond the picture's edge. [N, 2]"""
    x, y = points.T
    height, width = picture.shape[:2]
    return float(np.mean((x < 0) | (y < 0) | (x > width) | (y > height)))


def _scale(crop: Affine, at: Floats) -> float:
    """Portrait pixels per picture pixel at a point of the picture."""
    step = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]], np.float32)
    right, left, down, up = mapped(crop, at + step).astype(np.float64)
    (a, b), (c, d) = right - left, down - up
    return float(np.sqrt(abs(a * d - b * c)))
