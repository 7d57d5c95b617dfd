"""What others need for the same work on the same GPU in the same run, where they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_checks import cuda
from benchmarks.gpu_run import NotMeasured, rounded
from benchmarks.gpu_times import batch_of, graph_ms, median_ms
from benchmarks.kernels import camera, head_and_wall
from cuda_kernels.splat import splat


def gsplat_rasteriser() -> list[dict[str, Any]]:
    """gsplat on the same Gaussians and views; both called as their users call them, and ours as the
    engine does, in a graph."""
    try:
        rasterization: Callable[..., Any] = importlib.import_module("gsplat").rasterization
    except ImportError:
        raise NotMeasured("gsplat is not installed") from None
    rows = []
    for grid, size in ((256, 512), (362, 512)):
        scene = {name: t.to(cuda()) for name, t in head_and_wall(grid).items()}
        host = head_and_wall(grid)
        E, K = camera(7.0, size)
        leaves = {name: t.clone().requires_grad_() for name, t in scene.items()}
        with_view = (E[None, None].to(cuda()), K[None, None].to(cuda()))

        def theirs(
            tensors: dict[str, Tensor], E: Tensor = E, K: Tensor = K, size: int = size
        ) -> Tensor:
            picture: Tensor = rasterization(
                *(tensors[k] for k in ("means", "quats", "scales", "opacities", "colors")),
                *(E[None].to(cuda()), K[None].to(cuda()), size, size),
                near_plane=0.1,
                eps2d=0.3,
                packed=False,
            )[0]
            return picture[0].permute(2, 0, 1)

        def ours(tensors: dict[str, Tensor], views: Any = with_view, size: int = size) -> Tensor:
            gaussians = (tensors[k][None] for k in ("means", "axes", "opacities", "colors"))
            picture: Tensor = splat(*gaussians, *views, size, size, eps2d=0.3, near=0.1)
            return picture[0, 0]

        def both_ways(render: Callable[[dict[str, Tensor]], Tensor], leaves: Any = leaves) -> None:
            render(leaves)[:3].sum().backward()

        with torch.no_grad():
            gap = (theirs(scene)[:3] - ours(scene)[:3]).abs().flatten()
            row = {
                "gaussians": grid * grid,
                "size": size,
                "difference, 99 of 100": rounded(
                    float(gap.float().kthvalue(int(0.99 * len(gap))).values)
                ),
                "ours in a graph, ms": rounded(graph_ms(batch_of(host, [(E, K)], size), 4)),
                "ours, ms": rounded(median_ms(lambda scene=scene: ours(scene))),
                "gsplat, ms": rounded(median_ms(lambda scene=scene: theirs(scene))),
            }
        row["ours, there and back, ms"] = rounded(median_ms(lambda: both_ways(ours)))
        row["gsplat, there and back, ms"] = rounded(median_ms(lambda: both_ways(theirs)))
        rows.append(row)
    return rows


def sd_turbo(size: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """One step of SD-Turbo's U-Net between a tiny autoencoder's halves, with random weights and in
    a graph: what a refiner of that size would cost. Speed does not depend on the weights."""
    try:
        diffusers: Any = importlib.import_module("diffusers")
    except ImportError:
        raise NotMeasured("diffusers is not installed") from None
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        attention_head_dim=(5, 10, 20, 20),
        cross_attention_dim=1024,
        use_linear_projection=True,
    )
    autoencoder = diffusers.AutoencoderTiny()
    for network in (unet, autoencoder):
        network.to(cuda(), dtype, memory_format=torch.channels_last).eval().requires_grad_(False)
    rows = []
    for batch in (1, 8):
        picture = torch.rand(batch, 3, size, size, device=cuda(), dtype=dtype)
        text = torch.randn(batch, 77, 1024, device=cuda(), dtype=dtype)
        at = torch.full((batch,), 199, device=cuda())
        out = torch.empty_like(picture)

        def step(
            picture: Tensor = picture, text: Tensor = text, at: Tensor = at, out: Tensor = out
        ) -> None:
            latents = autoencoder.encode(picture).latents
            latents = latents - unet(latents, at, text).sample
            out.copy_(autoencoder.decode(latents).sample)

        rows.append({"size": size, "views": batch, "ms": rounded(graph_ms(step))})
    return rows


def compiled_refiner(engine: Any, batch: int = 8) -> dict[str, Any]:
    """The refiner through torch.compile, to see whether that would pay."""
    try:
        importlib.import_module("triton")
    except ImportError:
        raise NotMeasured("triton is not installed") from None
    look, size = engine.look, engine.size
    render = torch.rand(batch, 10, size, size, device=cuda()).to(look.dtype)
    noise = torch.randn(batch, 4, size, size, device=cuda()).to(look.dtype)
    tokens = torch.randn(batch, *engine.slots.tokens.shape[1:], device=cuda()).to(look.dtype)
    out = torch.empty_like(noise)
    result = {"size": size, "views": batch}
    step = torch.compile(look.refiner.refine, dynamic=False)
    with torch.no_grad():
        result["eager, ms"] = rounded(
            graph_ms(lambda: out.copy_(look.refiner.refine(render, noise, 0.05, tokens)))
        )
        result["compiled, ms"] = rounded(
            graph_ms(lambda: out.copy_(step(render, noise, 0.05, tokens)))
        )
    return result
