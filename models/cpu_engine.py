"""The engine on a CPU: one core rasterises while another refines."""

from __future__ import annotations

import copy
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike

import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_kernels.i420 import rgb_to_i420
from cuda_kernels.splatter import Splatter
from models.backdrop import backdrop
from models.caller_portraits import LivePortrait
from models.camera import Camera, viewpoint_camera
from models.compiled_refiner import Step, compile_refiner
from models.cpu_follower import CpuFollower
from models.engine import Avatar, Picture, RenderRequest
from models.frame_check import FrameCheck
from models.gaussians import Gaussians
from models.int8 import available
from models.lifter import FAINT, MOST, Layers, Lifter, filled, to_gaussians
from models.live_lift import LiveLifter, eroded, fading, smoothness
from models.portrait import Portrait, PortraitFinder
from models.portrait_blend import ShownPortrait, countable, fine_size
from models.portrait_reading import PortraitReading, Reading
from models.quantised import Calibration, quantised
from models.refiner import RENDER, Refiner
from models.reprojection import PortraitSurface
from models.viewpoint import Viewpoint
from models.weights import (
    LIFTER,
    REFINER,
    load_calibration,
    load_lifter,
    load_refiner,
    weights_folder,
)

INT8 = "int8"


@dataclass(eq=False)
class CpuAvatar:
    """Gaussians in head space, and what views and the refiner need of the portrait."""

    id: str
    gaussians: Gaussians | None
    shown: ShownPortrait | None
    reading: PortraitReading | None
    noise: Tensor | None  # [1, 4, S, S], the engine's, the same in every frame
    distance: float
    enrolment: Portrait | None  # what following begins with; None for an avatar of a follower

    def close(self) -> None:
        self.gaussians = self.shown = self.reading = self.noise = self.enrolment = None


class CpuEngine:
    """See `models.engine.Engine`.

    Args:
        size: of the frames, pixels.
        threads: for each kernel; None measures one against half of the cores.
        eight_bits: whether networks may compute in eight bits, where that is faster.
    """

    batch = 1

    def __init__(
        self, size: int = 256, threads: int | None = None, eight_bits: bool = True
    ) -> None:
        self.size = size
        self.finder = PortraitFinder()
        self._lifter = load_lifter()
        self._refiner = load_refiner()
        self._backdrop = backdrop(size)
        self._times: dict[str, float] = {}
        self._left_out = 0
        self.lifting, self._rasterising, self._refining = (threading.Lock() for _ in range(3))
        self._live_lifter: LiveLifter | None = None
        self._lifter_calibration: Calibration | None = None
        self._plain_lifter: Lifter | None = None
        self._choose(threads, eight_bits)
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.randn(1, 4, size, size, generator=generator)
        self._splatter, self._coarse_splatter = (
            Splatter(MOST, edge, edge, threads=self.threads) for edge in (size, size // 2)
        )

    @property
    def name(self) -> str:
        return f"cpu, {self._kind}, {self.threads} + {self.threads} threads"

    def check_frame(self, picture: Picture) -> FrameCheck:
        return self.finder.check(picture)

    def build_avatar(self, picture: Picture) -> Avatar:
        with self._timed("portrait"):
            portrait = self.finder.portrait(picture, strict=False, fine=fine_size(self.size))
        with self.lifting, self._timed("lift"):
            return self.lift(portrait)

    @torch.no_grad()
    def lift(self, portrait: Portrait) -> CpuAvatar:
        """Build the avatar of a portrait that has been cut out already."""
        torch.set_num_threads(self.threads)
        image, mask = portrait.image[None], portrait.mask[None]
        image, mask = (x.to(memory_format=torch.channels_last) for x in (image, mask))
        dtype = self._dtype
        front, back = self._lifter(image.to(dtype), mask.to(dtype), torch.ones(1, dtype=dtype))
        distance = torch.tensor([portrait.distance])
        layers = filled(Layers(front.float(), back.float()), mask)
        lifted = to_gaussians(layers, image, distance)
        keep = lifted.opacities[0] >= FAINT
        gaussians = Gaussians(
            lifted.means[0, keep],
            lifted.axes[0, keep],
            lifted.opacities[0, keep],
            lifted.colors[0, keep],
        ).moved(portrait.head_from_camera)
        return CpuAvatar(
            uuid.uuid4().hex,
            gaussians,
            *self.seen_again(portrait, lifted.depth),
            self.noise,
            portrait.distance,
            portrait,
        )

    def follow(self, avatar: Avatar, smooth: bool = True, keep: bool = True) -> CpuFollower:
        """See `models.engine.Engine`; for the others see `CpuFollower`."""
        if not isinstance(avatar, CpuAvatar):
            raise TypeError(f"{type(avatar).__name__} is not an avatar of this engine")
        with self.lifting:  # half a second, and not in the first frame that is followed
            self.live_lifter()
        if avatar.reading is not None:
            with self._refining, torch.no_grad():
                torch.set_num_threads(self.threads)
                avatar.reading()  # which the follower asks for
        return CpuFollower(self, avatar, smooth, keep)

    def live_lifter(self) -> LiveLifter:
        """The lifter of followers, compiled for the first one, within `lifting`."""
        if self._live_lifter is None:
            torch.set_num_threads(self.threads)
            lifter = self._plain_lifter or self._lifter
            self._live_lifter = LiveLifter(lifter, self._dtype, self._lifter_calibration)
            self._plain_lifter = None
        return self._live_lifter

    def seen_again(
        self, portrait: Portrait | LivePortrait, depth: Tensor, tokens: Tensor | None = None
    ) -> tuple[ShownPortrait, PortraitReading]:
        """What views near a portrait show of it, and what the refiner reads of it.

        Args:
            portrait: whose.
            depth: of its pixels, metres. [1, 1, 256, 256]
            tokens: from `Refiner.encode_portrait`; None: of this portrait.
        """
        smooth = smoothness(depth)
        camera_from_head = torch.linalg.inv(portrait.head_from_camera)

        def read() -> Reading:
            source = torch.cat([portrait.image * portrait.mask, portrait.mask])[None]
            surface = PortraitSurface(source * fading(smooth), depth, camera_from_head)
            if tokens is not None:
                return tokens, surface
            encoded = self._refiner.encode_portrait(
                source.to(self._dtype, memory_format=torch.channels_last)
            )
            return encoded, surface

        inner = eroded(portrait.mask)
        picture = countable(portrait.fine[None], inner[None, None], smooth[None, None])
        return ShownPortrait(picture, camera_from_head), PortraitReading(read)

    def note(self, **seconds: float) -> None:
        """Keep for `stage_times` what stages took."""
        self._times.update({stage: 1e3 * value for stage, value in seconds.items()})

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        return [self._render(request) for request in requests]

    @torch.no_grad()
    def _render(self, request: RenderRequest) -> Picture:
        avatar = request.avatar
        if not isinstance(avatar, CpuAvatar):
            raise TypeError(f"{type(avatar).__name__} is not an avatar of this engine")
        gaussians, shown = avatar.gaussians, avatar.shown
        reading, noise = avatar.reading, avatar.noise
        if gaussians is None or shown is None or reading is None or noise is None:
            raise ValueError(f"avatar {avatar.id} is closed")
        read = None
        if request.refine and not request.coarse:
            with self._refining:
                torch.set_num_threads(self.threads)
                read = reading()
        size = self.size // 2 if request.coarse else self.size
        camera = viewpoint_camera(request.viewpoint, avatar.distance, size)
        with self._rasterising, self._timed("rasterise"):
            raw = self._splat(gaussians, camera)
            if read is not None:
                inputs = self._refiner_input(raw, camera, read[1])
        if read is not None:
            with self._refining, self._timed("refine"):
                torch.set_num_threads(self.threads)
                picture = self._refine(inputs, noise, read[0])
        else:
            picture = torch.cat([raw[:, :3], raw[:, 5:]], 1)
        with self._timed("i420"):
            if request.coarse:
                picture = F.interpolate(picture, scale_factor=2.0, mode="bilinear")
            else:
                shown.blend(picture, raw[0], camera, self.threads)
            return self._to_i420(picture.float())

    def rasterise(self, gaussians: Gaussians, viewpoint: Viewpoint, distance: float) -> Tensor:
        """Splat one view of someone who is `distance` metres from the portrait's camera, channels
        as `splat`'s. [1, 6, S, S]"""
        return self._splat(gaussians, viewpoint_camera(viewpoint, distance, self.size))

    def _splat(self, gaussians: Gaussians, camera: Camera) -> Tensor:
        splatter = self._splatter if camera.size == self.size else self._coarse_splatter
        raw = splatter.render(
            gaussians.means,
            gaussians.axes,
            gaussians.opacities,
            gaussians.colors,
            camera.world_to_camera,
            camera.K,
        )
        self._left_out += splatter.left_out
        return raw[None].clone()  # the next picture goes into the same buffer

    def _refiner_input(self, raw: Tensor, camera: Camera, surface: PortraitSurface) -> Tensor:
        """[1, 6, S, S] -> [1, 10, S, S], in the refiner's type"""
        out = torch.empty(1, RENDER, *raw.shape[2:], dtype=self._dtype)
        return surface.refiner_input(raw[0], camera.K, camera.world_to_camera, out, self.threads)

    def _to_i420(self, picture: Tensor) -> Picture:
        """Compose [1, 4, S, S] on the backdrop and convert."""
        alpha = picture[:, 3:].clamp(0, 1)
        rgb = picture[:, :3] + (1 - alpha) * self._backdrop
        frame: Picture = rgb_to_i420(rgb.contiguous())[0].numpy()
        return frame

    def save_ply(self, avatar: Avatar, path: str | PathLike[str]) -> int:
        if not isinstance(avatar, CpuAvatar) or avatar.gaussians is None:
            raise ValueError("the avatar is closed or of another engine")
        avatar.gaussians.save_ply(path)
        return len(avatar.gaussians)

    def stage_times(self) -> Mapping[str, float]:
        return dict(self._times)

    def left_out(self) -> int:
        return self._left_out

    def close(self) -> None:
        pass

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._times[stage] = (time.perf_counter() - start) * 1e3

    def _choose(self, threads: int | None, eight_bits: bool) -> None:
        """Time one evaluation of the refiner in each way, and keep the fastest.

        bfloat16 is two to three times as fast as float32 where the CPU has instructions for it, and
        slower where it has not; eight bits need two thirds of its time where there is VNNI but no
        AMX. More threads than half of the cores would fight with the rasteriser's.
        """
        cores = len(os.sched_getaffinity(0))
        counts = [threads] if threads else sorted({1, max(1, cores // 2)})
        brief = torch.cpu._is_avx512_bf16_supported()
        calibration = None
        if eight_bits and available():
            calibration = load_calibration(weights_folder() / REFINER)

        def network(kind: str) -> tuple[Refiner, torch.dtype]:
            if kind != INT8:
                dtype = getattr(torch, kind)
                return copy.deepcopy(self._refiner).to(dtype), dtype
            assert calibration is not None
            dtype = torch.bfloat16 if brief else torch.float32
            return quantised(self._refiner, calibration, dtype), dtype

        kinds = ["float32", "bfloat16"]
        if calibration:  # then one of the two is known to be the slower
            kinds = ["bfloat16" if brief else "float32", INT8]
        ways: dict[tuple[str, int], tuple[Refiner, torch.dtype]] = {}
        steps: dict[tuple[str, int], tuple[Step, tuple[Tensor, Tensor, Tensor]]] = {}
        for kind in kinds:
            for count in counts:
                # Weights in eight bits are packed for so many threads, and slow on others.
                torch.set_num_threads(count)
                ways[kind, count] = made = network(kind)
                steps[kind, count] = compile_refiner(*made, self.size, count)
        best = dict.fromkeys(ways, float("inf"))
        # Rounds over all ways, and the best of each: another program's burst hits all alike.
        for _ in range(5):
            for way, (step, examples) in steps.items():
                torch.set_num_threads(way[1])
                start = time.perf_counter()
                step(*examples)
                best[way] = min(best[way], time.perf_counter() - start)
        chosen = min(best, key=lambda way: best[way])
        self._kind, self.threads = chosen
        self._refiner, self._dtype = ways[chosen]
        self._refine = steps[chosen][0]
        if self._kind == INT8:  # read now: the files may be replaced while calls go on
            self._lifter_calibration = load_calibration(weights_folder() / LIFTER)
            if self._lifter_calibration:
                self._plain_lifter = copy.deepcopy(self._lifter)
        self._lifter.to(self._dtype)
