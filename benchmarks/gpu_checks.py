"""What must hold before any time is worth reading: kernels against float64, graphs against eager.

    python -m benchmarks.gpu_checks

runs the kernels alone, once: it is what compute-sanitizer looks at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_run import NotMeasured
from benchmarks.gpu_scenes import (
    BLENDING,
    READING,
    BenchRequest,
    Discs,
    random_discs,
    splats_and_portraits,
    swinging,
)
from cuda_kernels import build, library, nvrtc
from cuda_kernels.i420 import rgb_to_i420, rgb_to_nv12
from cuda_kernels.portrait_blend import blend_portrait
from cuda_kernels.portrait_detail import refiner_input
from cuda_kernels.reference import (
    rgb_to_i420_reference,
    rgb_to_nv12_reference,
    splat_reference,
)
from cuda_kernels.splat import splat
from models.gpu_avatar import GpuAvatar
from models.gpu_engine import GpuEngine
from models.gpu_rasteriser import PlainSplatter
from models.graphs import choosing_convolutions
from models.portrait_blend import blended
from models.refiner import refiner_input as in_torch
from models.reprojection import portrait_detail

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")
QUANTILE = 0.999
"""Of the differences; at the ends of discs, and where two are equally deep, more is possible."""
TOLERANCE = 2e-3
GRADIENT_TOLERANCE = 2e-3
SANITIZERS = ("memcheck", "racecheck")


class CheckFailed(Exception):
    """Something computes what it should not."""


def expect(holds: bool, text: str) -> None:
    if not holds:
        raise CheckFailed(text)


def cuda() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def reference(scene: Discs, width: int, height: int) -> Tensor:
    """Each view by the float64 reference. [V, C + 2, H, W]"""
    pictures = []
    for view, slot in enumerate(scene.slots.tolist()):
        here = slice(int(scene.counts[slot]))
        tensors = (scene.means, scene.axes, scene.opacities, scene.colors)
        E, K = scene.world_to_camera[view], scene.K[view]
        pictures.append(
            splat_reference(
                *(t[slot, here][None] for t in tensors), E[None, None], K[None, None], width, height
            )[0, 0]
        )
    return torch.stack(pictures)


def apart(ours: Tensor, truth: Tensor) -> dict[str, float]:
    """How far a result is from the truth; NaN is infinitely far."""
    gap = (ours.double().cpu() - truth.double().cpu()).abs().nan_to_num(nan=torch.inf).flatten()
    return {"quantile": float(gap.kthvalue(max(1, int(QUANTILE * len(gap)))).values),
            "largest": float(gap.max())}  # fmt: skip


def cpu_kernels() -> dict[str, Any]:
    """The CPU build of the kernels; compiled first where it is not there."""
    try:
        library.kernels()
    except library.KernelLibraryError:
        try:
            build.build()
        except build.BuildError as error:
            raise NotMeasured(str(error)) from None
    width, height = 56, 48
    scene = random_discs(4, 3, 200, width, width)
    out = torch.full((4, 6, width, width), torch.nan)
    PlainSplatter(4, 200, width).render(*scene.on(torch.device("cpu")), out)
    splats = apart(out, reference(scene, width, width))
    expect(splats["quantile"] < TOLERANCE, f"the CPU's splats are off by {splats}")
    rgb = torch.rand(2, 3, height, width) * 1.4 - 0.2
    frames = apart(rgb_to_i420(rgb), rgb_to_i420_reference(rgb))
    expect(frames["largest"] <= 1, f"the CPU's I420 frames are off by {frames}")
    return {"splat": splats, "i420": frames}


def compiles() -> dict[str, Any]:
    """The kernels for GPUs, compiled without one."""
    sizes = {}
    for architecture in ARCHITECTURES:
        try:
            sizes[architecture] = len(nvrtc.compile_cubin(architecture))
        except nvrtc.CudaCompileError as error:
            if "not installed" in str(error) or nvrtc.WHEELS in str(error):
                raise NotMeasured(str(error)) from None
            raise CheckFailed(f"{architecture}: {error}") from None
    return {"bytes": sizes}


def gpu_batch_splat() -> dict[str, Any]:
    """The engine's rasteriser: slots of different fillings, an empty one, poisoned output."""
    from cuda_kernels.gpu_splatter import GpuSplatter

    result = {}
    for width, height in ((56, 48), (64, 64)):
        scene = random_discs(6, 4, 300, width, height)
        out = torch.full((6, 6, height, width), torch.nan, device=cuda())
        splatter = GpuSplatter(6, 4, 300, width, height, channels=4, device=cuda())
        splatter.render(*scene.on(cuda()), out)
        gap = apart(out, reference(scene, width, height))
        expect(gap["quantile"] < TOLERANCE, f"the GPU's splats are off by {gap}")
        expect(int(splatter.left_out.sum()) == 0, "discs were left out for want of room")
        result[f"{width}x{height}"] = gap
    return result


def gpu_splat_gradients() -> dict[str, Any]:
    """Splatting for training, forward and backward."""
    scene = random_discs(2, 2, 120, 48, 40)
    weights = torch.rand(1, 2, 6, 40, 48, dtype=torch.float64)

    def run(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        leaves = [
            t[:1].to(device, dtype).requires_grad_()
            for t in (scene.means, scene.axes, scene.opacities, scene.colors)
        ]
        cameras = (t[None].to(device, dtype) for t in (scene.world_to_camera, scene.K))
        function = splat if device.type == "cuda" else splat_reference
        picture = function(*leaves, *cameras, 48, 40)
        (picture * weights.to(device, dtype)).sum().backward()
        return picture.detach(), [leaf.grad for leaf in leaves if leaf.grad is not None]

    ours, our_grads = run(cuda(), torch.float32)
    truth, true_grads = run(torch.device("cpu"), torch.float64)
    forward = apart(ours, truth)
    expect(forward["quantile"] < TOLERANCE, f"the GPU's splats are off by {forward}")
    gaps = {}
    names = ("means", "axes", "opacities", "colors")
    for name, a, b in zip(names, our_grads, true_grads, strict=True):
        gaps[name] = float((a.cpu().double() - b).norm() / b.norm())
        expect(gaps[name] < GRADIENT_TOLERANCE, f"the gradient of {name} is off by {gaps[name]}")
    return {"forward": forward, "relative error of the gradients": gaps}


def gpu_refiner_input() -> dict[str, Any]:
    """The refiner's input, in both types, against what torch makes in float64."""
    tensors = splats_and_portraits(5, 3, 72, 64)
    *numbers, slots = tensors
    splatted, K, moves, distances, pictures, depths = (t.double() for t in numbers)
    chosen = slots.long()
    detail = portrait_detail(
        splatted[:, None], K[:, None], moves[:, None], pictures[chosen], depths[chosen]
    )
    truth = in_torch(splatted, distances, detail[:, 0])
    result = {}
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.bfloat16, 1e-2)):
        out = torch.full((5, 10, 72, 72), torch.nan, dtype=dtype, device=cuda())
        refiner_input(*(t.to(cuda()) for t in tensors), **READING, out=out)
        gap = apart(out, truth)
        expect(gap["quantile"] < tolerance, f"the refiner's input in {dtype} is off by {gap}")
        result[str(dtype).removeprefix("torch.")] = gap
    return result


def gpu_blending() -> dict[str, Any]:
    """Views that show the portrait's own pixels, in both types, against what torch makes in
    float64."""
    splatted, K, moves, distances, pictures, _, slots = splats_and_portraits(5, 3, 72, 64)
    rgba = torch.rand(5, 4, 72, 72)
    read = (splatted, K, moves, distances, pictures)
    doubles = [t.double() for t in (rgba, *read)]
    truth = torch.cat(
        [
            blended(*(t[n : n + 1] for t in doubles[:5]), doubles[5][slot : slot + 1])
            for n, slot in enumerate(slots.tolist())
        ]
    )
    result = {}
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.bfloat16, 1e-2)):
        ours = rgba.to(cuda(), dtype, copy=True)
        blend_portrait(ours, *(t.to(cuda()) for t in (*read, slots)), **BLENDING)
        gap = apart(ours, truth)
        expect(gap["quantile"] < tolerance, f"blended views in {dtype} are off by {gap}")
        result[str(dtype).removeprefix("torch.")] = gap
    return result


def gpu_i420() -> dict[str, Any]:
    """Both kinds of frames."""
    rgb = torch.rand(3, 3, 48, 64) * 1.4 - 0.2
    result = {}
    for name, convert, reference in (
        ("I420", rgb_to_i420, rgb_to_i420_reference),
        ("NV12", rgb_to_nv12, rgb_to_nv12_reference),
    ):
        out = torch.full((3, 72, 64), 255, dtype=torch.uint8, device=cuda())
        convert(rgb.to(cuda()), out=out)
        gap = apart(out, reference(rgb))
        expect(gap["largest"] <= 1, f"the GPU's {name} frames are off by {gap}")
        result[name] = gap
    return result


def engine_against_cpu(engine: GpuEngine, avatar: GpuAvatar, portrait: Any) -> dict[str, Any]:
    """Frames of the graphs, in half precision, against the CPU's kernels in float32."""
    plain = GpuEngine(engine.size, slots=1, batches=(4,), device="cpu", dtype=torch.float32)
    theirs = plain.lift(portrait)
    result = {}
    for refine in (False, True):
        views = swinging(4)
        pairs = zip(
            engine.render([BenchRequest(avatar, view, refine) for view in views]),
            plain.render([BenchRequest(theirs, view, refine) for view in views]),
            strict=True,
        )
        error = max(float(((a.astype(float) - b) ** 2).mean()) for a, b in pairs)
        decibels = 99.0 if error == 0 else 10 * torch.tensor(255**2 / error).log10().item()
        result["refined" if refine else "raw"] = round(decibels, 1)
        expect(decibels > 36, f"frames of the GPU are {decibels:.1f} dB from the CPU's")
    plain.close()
    return {"decibels": result}


def graphs_against_eager(engine: GpuEngine, avatar: GpuAvatar, portrait: Any) -> dict[str, Any]:
    """Each graph must write what its work writes; the frames are poisoned before both."""
    result = {}
    for batch, graphs in engine._graphs.items():
        engine.render([BenchRequest(avatar, view) for view in swinging(batch)])
        for quality, replay in graphs.replays.items():
            frames = graphs.chain.frames
            # Eager work takes the algorithms that the graph's warm-up chose.
            with engine._queue.working(), choosing_convolutions():
                frames.fill_(77)
                getattr(graphs.chain, quality.value)()
                eager = frames.int()
                frames.fill_(201)
                replay()
                gap = (frames.int() - eager).abs()
                off, most = float((gap > 0).float().mean()), int(gap.max())
            expect(most <= 2 and off < 0.01, f"{quality.value} x {batch}: off by {most}, {off:.2%}")
            result[f"{quality.value} x {batch}"] = {"largest": most, "part": off}
    return result


def alone_and_together(engine: GpuEngine, avatar: GpuAvatar, portrait: Any) -> dict[str, Any]:
    """Each of 32 receivers sees what it would see alone."""
    requests = [BenchRequest(avatar, view) for view in swinging(engine.batch)]
    together = engine.render(requests)
    largest, parts = 0, 0.0
    for request, picture in zip(requests, together, strict=True):
        # Convolutions of another batch round in other ways; another's face differs in many pixels.
        gap = abs(engine.render([request])[0].astype(int) - picture)
        largest, parts = max(largest, int(gap.max())), max(parts, float((gap > 4).mean()))
    expect(parts < 1e-3, f"a receiver's frame depends on the others': {parts:.2%} off by over 4")
    return {"largest": largest, "part off by over 4": parts}


def steady_state(engine: GpuEngine, avatar: GpuAvatar, portrait: Any) -> dict[str, Any]:
    """Ticks must neither allocate on the device nor wait for it in the middle."""
    requests = [BenchRequest(avatar, view) for view in swinging(engine.batch)]
    for _ in range(3):
        engine.render(requests)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            engine.render(requests)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    allocated = torch.cuda.memory_stats()["allocation.all.allocated"] - before
    expect(allocated == 0, f"20 ticks made {allocated} allocations")
    return {"allocations": allocated, "synchronisations": 0, "left out": engine.left_out()}


def sanitized(seconds: float) -> dict[str, Any]:
    """The kernels under compute-sanitizer."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise NotMeasured("compute-sanitizer is not installed")
    result = {}
    for name in SANITIZERS:
        command = [tool, "--tool", name, "--error-exitcode", "9", sys.executable, "-m"]
        try:
            done = subprocess.run(
                [*command, "benchmarks.gpu_checks"],
                # One allocation for each tensor, so that what lies beside it is nobody's.
                env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
                capture_output=True,
                text=True,
                timeout=seconds / len(SANITIZERS),
            )
        except subprocess.TimeoutExpired:
            result[name] = "not measured: it took too long"
            continue
        last = [line for line in done.stdout.splitlines() if "SUMMARY" in line][-1:]
        result[name] = last[0].strip("= ") if last else f"ended with {done.returncode}"
        unsupported = "not supported" in done.stdout + done.stderr
        if unsupported:
            result[name] = "not measured: the sanitizer does not support this machine"
        else:
            expect(done.returncode == 0, f"{name}: {result[name]}")
    return result


if __name__ == "__main__":
    for check in (gpu_batch_splat, gpu_splat_gradients, gpu_refiner_input, gpu_blending, gpu_i420):
        print(check.__name__, check())
