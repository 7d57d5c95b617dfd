"""How fast, how still and how true are avatars that follow a caller?

    python -m benchmarks.live_avatar [--people DIR] [--json FILE] [--sheet PNG] [--seconds 6]

Prints tables, and writes them as JSON. Rates: re-lifts per second alone, and beside a thread that
renders one receiver at full speed, with `build_avatar` in the same run as the yardstick. Flicker: a
still person before a noisy camera (see `benchmarks.live_camera`), standard deviation over time and
mean change from frame to frame of a pixel of the person, grey levels. Step: how much of a mouth
that opens has arrived in each frame. With `--people`, a folder that `visavis-train evaluate` takes:
enrolled from the front, followed to a turned view, and seen from the side that is hidden there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.live_camera import BITRATE, NOISE, before_wall, filmed, mouth_opened
from models.backdrop import backdrop
from models.camera import focal_pixels
from models.cpu_engine import CpuAvatar, CpuEngine
from models.engine import Avatar, Followed, Follower, Picture, RenderRequest
from models.errors import PortraitError
from models.face_tracker import FaceTracker, Track
from models.picture import load_picture
from models.portrait import SIZE
from models.viewpoint import Viewpoint

DEMO = Path(__file__).parents[1] / "models" / "assets" / "demo_portrait.png"
VIEWS = {"front": Viewpoint(), "yaw 30": Viewpoint(yaw=30)}
RATE = 15.0
"""Camera frames per second that a follower sees, of the 30 that are encoded."""
SETTLED = 10
"""Frames after which flicker is counted."""
TURNED = 24
"""Frames for which a turned view is shown: what is smoothed has come to rest then."""
SIDE = 440
"""Pixels of the camera's frame that a person of --people takes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, help="rendered people, in the test layout")
    parser.add_argument("--limit", type=int, default=12, help="people at most")
    parser.add_argument("--json", type=Path, default=Path("live_avatar.json"))
    parser.add_argument("--sheet", type=Path, help="picture of what was rendered to write")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each rate")
    parser.add_argument("--frames", type=int, default=60, help="of each flicker")
    options = parser.parse_args()
    torch.set_num_threads(1)
    engine = CpuEngine(256, 1)
    portrait = engine.finder.portrait(load_picture(DEMO), strict=False)
    rgba = torch.cat([portrait.image * portrait.mask, portrait.mask]).permute(1, 2, 0).numpy()
    person = before_wall(rgba)
    shots = list(filmed([person] * (2 * options.frames)))[::2]
    enrolled = engine.build_avatar(shots[-1])
    assert isinstance(enrolled, CpuAvatar)
    result: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start",
        "engine": engine.name,
        "camera": f"640 x 480, noise {NOISE}, H.264 at {BITRATE} bit/s",
    }
    result["rates"] = rates(engine, enrolled, shots, options.seconds)
    show("rates", result["rates"])
    result["flicker"] = flicker(engine, enrolled, shots)
    show("flicker", result["flicker"])
    result["step"] = step(engine, enrolled, person, options.sheet)
    show("step", result["step"])
    if options.people:
        result["sides"] = sides(engine, options.people, options.limit, options.sheet)
        show("sides, PSNR in dB", result["sides"])
    result["load at the end"] = os.getloadavg()[0]
    options.json.write_text(json.dumps(result, indent=1) + "\n")


def show(title: str, rows: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, row in rows.items():
        cells = row if isinstance(row, dict) else {"": row}
        print(f"  {name:34}", "  ".join(f"{k} {v}" for k, v in cells.items()), flush=True)


def rates(
    engine: CpuEngine, enrolled: Avatar, shots: list[Picture], seconds: float
) -> dict[str, dict[str, float]]:
    """Per second, and the milliseconds of a core that each takes."""

    def followed(follower: Follower, index: int) -> Avatar:
        avatar = follower.update(shots[index % len(shots)], index / RATE).avatar
        assert avatar is not None
        return avatar

    out: dict[str, dict[str, float]] = {}
    out["build_avatar, the yardstick"] = pace(lambda i: engine.build_avatar(shots[i]), seconds / 2)
    follower = engine.follow(enrolled)
    out["re-lifts alone"] = pace(lambda i: followed(follower, i), seconds)
    stages = engine.stage_times()
    out["re-lifts alone"] |= {f"{k}_ms": round(stages[k], 1) for k in ("track", "relift")}

    shown = enrolled
    stop = threading.Event()
    rendered: list[float] = []

    def render() -> None:
        torch.set_num_threads(1)
        while not stop.is_set():
            engine.render([RenderRequest(shown, Viewpoint(yaw=15 * math.sin(len(rendered) / 9)))])
            rendered.append(time.perf_counter())

    receiver = threading.Thread(target=render)
    receiver.start()

    def shown_at_once(index: int) -> Avatar:
        nonlocal shown
        shown = followed(follower, index)
        return shown

    begun = time.perf_counter()
    out["re-lifts beside one receiver"] = pace(shown_at_once, seconds)
    span = time.perf_counter() - begun
    stop.set()
    receiver.join()
    count = sum(begun <= moment <= begun + span for moment in rendered)
    out["frames of that receiver, refined"] = {"per_second": round(count / span, 1)}
    return out


def pace(work: Callable[[int], Any], seconds: float) -> dict[str, float]:
    """How often a thread does something; the first three are not counted."""
    for index in range(3):
        work(index)
    times, cores = [], []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start, core = time.perf_counter(), time.thread_time()
        work(3 + len(times))
        times.append(1e3 * (time.perf_counter() - start))
        cores.append(1e3 * (time.thread_time() - core))
    return {
        "per_second": round(len(times) / (time.perf_counter() - begun), 1),
        "p50_ms": round(float(np.median(times)), 1),
        "p95_ms": round(float(np.quantile(times, 0.95)), 1),
        "core_ms": round(float(np.median(cores)), 1),
    }


def luma(engine: CpuEngine, avatar: Avatar) -> NDArray[np.float32]:
    """Of a frame from each of `VIEWS`. [2, 256, 256]"""
    frames = engine.render([RenderRequest(avatar, view) for view in VIEWS.values()])
    return np.stack([frame[:256] for frame in frames]).astype(np.float32)


def flicker(
    engine: CpuEngine, enrolled: CpuAvatar, shots: list[Picture]
) -> dict[str, dict[str, float]]:
    """What varies of a person who does not move."""
    assert enrolled.gaussians is not None
    persons = [
        (engine.rasterise(enrolled.gaussians, view, enrolled.distance)[0, 5] > 0.5).numpy()
        for view in VIEWS.values()
    ]

    def measured(make: Callable[[int], Avatar]) -> dict[str, float]:
        seen = np.stack([luma(engine, make(index)) for index in range(len(shots))])[SETTLED:]
        change = np.abs(np.diff(seen, axis=0)).mean(0)
        row = {}
        for index, name in enumerate(VIEWS):
            person = persons[index]
            row[f"{name}: std"] = round(float(seen[:, index].std(0)[person].mean()), 3)
            row["frame to frame" if index == 0 else "frame to frame "] = round(
                float(change[index][person].mean()), 3
            )
        return row

    def following(smooth: bool) -> Callable[[int], Avatar]:
        follower = engine.follow(enrolled, smooth=smooth)

        def make(index: int) -> Avatar:
            avatar = follower.update(shots[index], index / RATE).avatar
            assert avatar is not None
            return avatar

        return make

    return {
        "(a) build_avatar of each frame": measured(lambda index: engine.build_avatar(shots[index])),
        "(b) followed, without filters": measured(following(False)),
        "(c) followed, with filters": measured(following(True)),
    }


def step(
    engine: CpuEngine, enrolled: Avatar, person: NDArray[np.float32], sheet: Path | None
) -> dict[str, dict[str, float]]:
    """Part of an opening mouth that frames 1, 2, 3 after the step show; its middle, front view."""
    (mesh, *_) = engine.finder.faces(person.astype(np.uint8))
    shots = list(filmed([person] * 60 + [mouth_opened(person, mesh)] * 20))[::2]
    out = {}
    for name, smooth in (("without filters", False), ("with filters", True)):
        follower = engine.follow(enrolled, smooth=smooth)
        seen = []
        for index, shot in enumerate(shots):
            avatar = follower.update(shot, index / RATE).avatar
            assert avatar is not None
            seen.append(luma(engine, avatar))
        before, after = np.mean(seen[25:30], 0), np.mean(seen[-3:], 0)
        rise = (after - before)[0]
        mouth = cv2.erode((np.abs(rise) > 25).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        reached = [
            float(((frame[0] - before[0])[mouth] * rise[mouth]).sum() / (rise[mouth] ** 2).sum())
            for frame in seen[29:33]
        ]
        out[name] = {f"frame {i}": round(value, 3) for i, value in enumerate(reached)}
        out[name]["pixels"] = int(mouth.sum())
    if sheet:
        rows = [np.hstack([seen[i][view] for i in (29, 30, 31, 39)]) for view in (0, 1)]
        _write(sheet.with_stem(sheet.stem + "_step"), np.vstack(rows))
    return out


def sides(
    engine: CpuEngine, folder: Path, limit: int, sheet: Path | None
) -> dict[str, dict[str, float]]:
    """Views of people who have turned, from the side that they have turned away."""
    from training.dataset import People

    people = People(folder)
    everyone = np.arange(min(limit, len(people)))
    views = people.views(everyone, np.tile(np.arange(people.views_per_person), (len(everyone), 1)))
    right = views.world_to_camera[..., :3, :3]
    centre = -(right.transpose(-1, -2) @ views.world_to_camera[..., :3, 3:])[..., 0]
    yaw = torch.rad2deg(torch.atan2(centre[..., 0], -centre[..., 2]))
    pitch = torch.rad2deg(torch.asin(-centre[..., 1] / centre.norm(dim=-1)))
    scores: dict[str, dict[str, list[float]]] = {}
    rows: list[NDArray[np.float32]] = []
    lost = 0
    for who in everyone:
        level = [v for v in range(yaw.shape[1]) if abs(pitch[who, v]) < 1]
        front = min(level, key=lambda v: abs(float(yaw[who, v])))
        shots = {
            v: before_wall(views.rgba[who, v].permute(1, 2, 0).numpy(), SIDE).astype(np.uint8)
            for v in level
        }
        for now in level:
            turned = float(yaw[who, now])
            if not 12 <= abs(turned) <= 33:
                continue
            seen: dict[str, tuple[Avatar, NDArray[np.float64]] | None] = {}
            for name, keep in (("without keeping", False), ("with keeping", True)):
                seen[name] = _turned(engine, shots[front], shots[now], keep)
            if any(entry is None for entry in seen.values()):
                lost += 1
                continue
            for there in level:
                apart = float(yaw[who, there]) - turned
                if not 28 <= -apart * math.copysign(1, turned) <= 62:
                    continue
                pictures = []
                for name, entry in seen.items():
                    assert entry is not None
                    avatar, crop = entry
                    (frame,) = engine.render([RenderRequest(avatar, Viewpoint(yaw=apart))])
                    rgb = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420).astype(np.float32)
                    truth, alpha = _truth(
                        views.rgba[who, there].permute(1, 2, 0).numpy(), crop, apart
                    )
                    person = (
                        cv2.dilate((alpha > 0.02).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
                    )
                    far = person.copy()
                    far[190:] = False
                    columns = np.arange(256)
                    far[:, columns < 150 if apart > 0 else columns > 106] = False
                    key = f"turned {abs(turned):.0f}, seen {abs(apart):.0f} away"
                    for part, where in (("person", person), ("far side", far)):
                        error = ((rgb - truth) ** 2).mean(-1)[where].mean()
                        row = scores.setdefault(key, {})
                        row.setdefault(f"{part}, {name}", []).append(
                            float(10 * np.log10(255**2 / error))
                        )
                    pictures.append(rgb)
                if len(rows) < 8 and abs(turned) > 28 and 40 < abs(apart) < 50:
                    camera = cv2.resize(shots[now][40:, 100:540], (256, 256)).astype(np.float32)
                    rows.append(np.hstack([camera, truth, *pictures]))
    if sheet and rows:
        _write(sheet, np.vstack(rows)[..., ::-1])
    out: dict[str, dict[str, float]] = {
        key: {name: round(float(np.mean(values)), 2) for name, values in row.items()}
        | {"count": len(next(iter(row.values())))}
        for key, row in sorted(scores.items())
    }
    out["not followed"] = {"count": lost}
    return out


def _turned(
    engine: CpuEngine, front: Picture, now: Picture, keep: bool
) -> tuple[Avatar, NDArray[np.float64]] | None:
    """Someone enrolled in one frame and followed to another; and the last crop."""
    try:
        enrolled = engine.build_avatar(front)
    except PortraitError:
        return None
    follower = engine.follow(enrolled, smooth=False, keep=keep)
    tracker = FaceTracker(engine.finder, SIZE, smooth=False)  # the crop that the follower takes
    for index in range(TURNED):
        followed, track = (one.update(now, index / RATE) for one in (follower, tracker))
    assert isinstance(followed, Followed)
    if followed.avatar is None or not isinstance(track, Track):
        return None
    return followed.avatar, track.crop


def _truth(
    rgba: NDArray[np.float32], crop: NDArray[np.float64], apart: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A true view, placed as the avatar is: in the camera's frame the head's origin was at the
    middle of the pasted picture. RGB 0..255 [256, 256, 3] on the engine's backdrop, alpha."""
    middle = np.array([320.0, 480 - SIDE / 2, 1.0])
    ends = [crop @ (middle + [shift, 0, 0]) for shift in (0.0, 1.0)]
    at, beside = (end[:2] / end[2] for end in ends)
    zoom = float(np.hypot(*(beside - at))) * SIDE / len(rgba)
    focal, angle = focal_pixels(256), math.radians(apart)
    x, y = (at - 128) / focal * 0.75
    across, depth = x * math.cos(angle), 0.75 - x * math.sin(angle)
    place = 128 + focal * np.array([across / depth, y / depth])
    half = len(rgba) / 2
    move = np.array([[zoom, 0, place[0] - zoom * half], [0, zoom, place[1] - zoom * half]])
    move[:, 2] -= 0.5 - 0.5 * zoom
    placed = cv2.warpAffine(rgba, move, (256, 256), flags=cv2.INTER_LINEAR)
    ground = backdrop(256)[0].permute(1, 2, 0).numpy()
    return 255 * (placed[..., :3] + (1 - placed[..., 3:]) * ground), placed[..., 3]


def _write(path: Path, picture: NDArray[np.float32]) -> None:
    if not cv2.imwrite(str(path), np.clip(picture, 0, 255).round().astype(np.uint8)):
        raise SystemExit(f"cannot write {path}: use a .png or .jpg in a folder that exists")


if __name__ == "__main__":
    main()
