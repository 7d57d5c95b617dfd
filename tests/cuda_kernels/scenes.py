"""Small scenes of discs in front of cameras, and their comparison with the reference."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cuda_kernels.reference import splat_reference
from cuda_kernels.splat import splat


@dataclass(frozen=True)
class Scene:
    means: Tensor
    axes: Tensor
    opacities: Tensor
    colors: Tensor
    world_to_camera: Tensor
    K: Tensor
    width: int = 40
    height: int = 32
    capacity: int | None = None
    threads: int = 1

    def tensors(self, dtype: torch.dtype) -> list[Tensor]:
        all_six = (
            *(self.means, self.axes, self.opacities, self.colors),
            *(self.world_to_camera, self.K),
        )
        return [t.detach().to(dtype).requires_grad_(k < 4) for k, t in enumerate(all_six)]

    def edited(self, **changes: Tensor | int) -> "Scene":
        return replace(self, **changes)  # type: ignore[arg-type]


def cameras(
    B: int, V: int, width: int, height: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cameras 0.75 m before the origin, turned around it by up to half a radian."""
    yaw = torch.rand(B, V, generator=generator, dtype=torch.float64) - 0.5
    yaw[:, 0] = 0
    E = torch.eye(4, dtype=torch.float64).repeat(B, V, 1, 1)
    E[..., 0, 0], E[..., 0, 2] = yaw.cos(), yaw.sin()
    E[..., 2, 0], E[..., 2, 2] = -yaw.sin(), yaw.cos()
    E[..., 2, 3] = 0.75
    K = torch.tensor([[2.2 * width, 0, width / 2], [0, 2.4 * width, height / 2], [0, 0, 1]])
    return E, K.double().repeat(B, V, 1, 1)


def scattered(
    B: int = 2,
    V: int = 2,
    N: int = 60,
    C: int = 4,
    width: int = 40,
    height: int = 32,
    seed: int = 0,
) -> Scene:
    """N discs of every size, slant and opacity around the origin."""
    g = torch.Generator().manual_seed(seed)
    E, K = cameras(B, V, width, height, g)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return Scene(
        0.06 * normal(B, N, 3),
        0.012 * normal(B, N, 2, 3),
        0.03 + 0.97 * torch.rand(B, N, generator=g, dtype=torch.float64),
        torch.rand(B, N, C, generator=g, dtype=torch.float64),
        E,
        K,
        width,
        height,
    )


@dataclass(frozen=True)
class Comparison:
    picture: Tensor
    expected: Tensor
    gradients: dict[str, tuple[Tensor, Tensor]]

    def worst(self) -> dict[str, float]:
        """Largest differences, those of the gradients relative to the largest gradient."""
        return {"picture": float((self.picture - self.expected).abs().max())} | {
            name: float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
            for name, (a, b) in self.gradients.items()
        }


def compare(scene: Scene, dtype: torch.dtype = torch.float64) -> Comparison:
    """The kernel in `dtype` beside the reference in float64, with one random cotangent for both."""
    size = (scene.width, scene.height)
    options = {"capacity": scene.capacity, "threads": scene.threads}
    ours, theirs = scene.tensors(dtype), scene.tensors(torch.float64)
    picture = splat(*ours, *size, **options)  # type: ignore[arg-type]
    expected = splat_reference(*theirs, *size, **options)  # type: ignore[arg-type]
    g = torch.Generator().manual_seed(1)
    cotangent = torch.randn(expected.shape, generator=g, dtype=torch.float64)
    names = ("means", "axes", "opacities", "colors")
    a = torch.autograd.grad((picture * cotangent.to(dtype)).sum(), ours[:4])
    b = torch.autograd.grad((expected * cotangent).sum(), theirs[:4])
    return Comparison(
        picture.detach(), expected.detach(), dict(zip(names, zip(a, b, strict=True), strict=True))
    )
