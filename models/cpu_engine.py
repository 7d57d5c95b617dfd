"""The engine on a CPU: one core rasterises while another refines."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor

from cuda_kernels.i420 import rgb_to_i420
from cuda_kernels.splat import splat
from models.backdrop import backdrop
from models.camera import viewpoint_camera
from models.engine import Avatar, Picture, RenderRequest
from models.frame_check import FrameCheck
from models.gaussians import Gaussians
from models.lifter import Layers, to_gaussians
from models.portrait import Portrait, PortraitFinder
from models.refiner import refine
from models.viewpoint import Viewpoint
from models.weights import load_lifter, load_refiner

NOISE_LEVEL = 0.3
"""The largest sigma of the diffusion step."""
FAINT = 0.05
"""Discs of less opacity are dropped: half of all, and no measure changes."""


@dataclass(eq=False)
class CpuAvatar:
    """Gaussians in head space, and what the refiner needs of the portrait."""

    id: str
    gaussians: Gaussians | None
    portrait: Tensor | None  # the refiner's keys and values
    noise: Tensor | None  # [1, 4, S, S], the same in every frame
    distance: float

    def close(self) -> None:
        self.gaussians = self.portrait = self.noise = None


class CpuEngine:
    """See `models.engine.Engine`.

    Args:
        size: of the frames, pixels.
        threads: for each kernel; None measures one against half of the cores.
    """

    def __init__(self, size: int = 256, threads: int | None = None) -> None:
        self.size = size
        self._finder = PortraitFinder()
        self._lifter = load_lifter()
        self._refiner = load_refiner()
        self._backdrop = backdrop(size)
        self._times: dict[str, float] = {}
        self._lifting, self._rasterising, self._refining = (threading.Lock() for _ in range(3))
        self._choose(threads)

    @property
    def name(self) -> str:
        kind = str(self._dtype).removeprefix("torch.")
        return f"cpu, {kind}, {self._threads} + {self._threads} threads"

    def check_frame(self, picture: Picture) -> FrameCheck:
        return self._finder.check(picture)

    def build_avatar(self, picture: Picture) -> Avatar:
        with self._timed("portrait"):
            portrait = self._finder.portrait(picture, strict=False)
        with self._lifting, self._timed("lift"):
            return self.lift(portrait)

    @torch.inference_mode()
    def lift(self, portrait: Portrait) -> CpuAvatar:
        """Build the avatar of a portrait that has been cut out already."""
        torch.set_num_threads(self._threads)
        image, mask = portrait.image[None], portrait.mask[None]
        image, mask = (x.to(memory_format=torch.channels_last) for x in (image, mask))
        dtype = self._dtype
        front, back = self._lifter(image.to(dtype), mask.to(dtype), torch.ones(1, dtype=dtype))
        distance = torch.tensor([portrait.distance])
        lifted = to_gaussians(Layers(front.float(), back.float()), image, distance)
        keep = lifted.opacities[0] >= FAINT
        gaussians = Gaussians(
            lifted.means[0, keep],
            lifted.axes[0, keep],
            lifted.opacities[0, keep],
            lifted.colors[0, keep],
        ).moved(portrait.head_from_camera)
        source = torch.cat([image * mask, mask], 1).to(dtype, memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 4, self.size, self.size, generator=generator)
        return CpuAvatar(
            uuid.uuid4().hex,
            gaussians,
            self._refiner.encode_portrait(source),
            noise.to(dtype, memory_format=torch.channels_last),
            portrait.distance,
        )

    def render(self, requests: Sequence[RenderRequest]) -> list[Picture]:
        return [self._render(request) for request in requests]

    @torch.inference_mode()
    def _render(self, request: RenderRequest) -> Picture:
        avatar = request.avatar
        if not isinstance(avatar, CpuAvatar):
            raise TypeError(f"{type(avatar).__name__} is not an avatar of this engine")
        gaussians, portrait, noise = avatar.gaussians, avatar.portrait, avatar.noise
        if gaussians is None or portrait is None or noise is None:
            raise ValueError(f"avatar {avatar.id} is closed")
        with self._rasterising, self._timed("rasterise"):
            raw = self.rasterise(gaussians, request.viewpoint, avatar.distance)
        with self._refining:
            torch.set_num_threads(self._threads)
            picture = torch.cat([raw[:, :3], raw[:, 5:]], 1)
            if request.refine:
                with self._timed("refine"):
                    picture = refine(
                        self._refiner, raw.to(self._dtype), noise, NOISE_LEVEL, portrait
                    ).float()
            with self._timed("i420"):
                return self._to_i420(picture)

    def rasterise(self, gaussians: Gaussians, viewpoint: Viewpoint, distance: float) -> Tensor:
        """Splat into the refiner's input: colours, uncertainty, depth from the head's middle, alpha. [1, 6, S, S]"""
        camera = viewpoint_camera(viewpoint, distance, self.size)
        raw = splat(
            gaussians.means[None],
            gaussians.axes[None],
            gaussians.opacities[None],
            gaussians.colors[None],
            camera.world_to_camera[None, None],
            camera.K[None, None],
            self.size,
            self.size,
            threads=self._threads,
        )[0]
        raw[:, 4] = (raw[:, 4] - camera.world_to_camera[2, 3] * raw[:, 5]) * 10
        return raw

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

    def close(self) -> None:
        pass

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._times[stage] = (time.perf_counter() - start) * 1e3

    def _choose(self, threads: int | None) -> None:
        """Time one evaluation of the refiner in each way, and keep the fastest.

        bfloat16 is 3 times as fast as float32 where the CPU has AMX, and slower where it has not. More threads
        than half of the cores would fight with the rasteriser's.
        """
        cores = len(os.sched_getaffinity(0))
        counts = [threads] if threads else sorted({1, max(1, cores // 2)})
        raw = torch.rand(1, 6, self.size, self.size)
        best = float("inf")
        for dtype in (torch.float32, torch.bfloat16):
            network = self._refiner.to(dtype)
            inputs = raw.to(dtype, memory_format=torch.channels_last)
            with torch.inference_mode():
                tokens = network.encode_portrait(inputs[:, :4])
                for count in counts:
                    torch.set_num_threads(count)
                    took = fastest(
                        lambda: refine(network, inputs, inputs[:, :4], NOISE_LEVEL, tokens)
                    )
                    if took < best:
                        best, self._dtype, self._threads = took, dtype, count
        self._refiner.to(self._dtype)
        self._lifter.to(self._dtype)


def fastest(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some runs, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
