"""Stage 1: from one portrait to two layers of Gaussians per pixel, in one pass of a U-Net.

Layer 1 is what the camera sees, on the portrait's own pixel grid; layer 2 lies behind it, on a grid
of half the resolution. Everything is predicted as a residual: colours start at the portrait's
pixel, positions at the pixel's ray. No rotation is predicted: a Gaussian is a disc spanned by the
slopes of the predicted position map, so its orientation follows the surface. Two layers are the
design of VoluMe (arXiv 2507.21311) and SHARP (arXiv 2512.10685).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import Features, ResidualBlock, convolve, initialise, join

HALF_FOV = math.radians(12.0)
"""Half the field of view of the portrait's virtual camera, radians."""

CHANNELS = 10
"""Per Gaussian: depth, offset x, y, two log scales, opacity, three colours, uncertainty."""

FAINT = 0.05
"""Discs of less opacity are dropped: half of all, and no measure changes."""
MOST = 256 * 256 + 128 * 128
"""Discs of an avatar at most: the pixels of both layers."""
GAP, RIM = 9, 3
"""Pixels: the least width of a gap in layer 1 that `filled` fills, and how far around it. Narrower
ones may be meant: along a step of depth layer 1 is left open for what lies behind it."""
BELIEVED = 0.9
"""What a mask must be above, a pixel within its edge, for a gap to be one."""
SOLID, RAW_SCALE = 2.0, 0.2
"""Of what is filled: its least raw opacity (0.98), and its raw scales."""
FARTHER, FARTHEST = 2.5, 1.0
"""What is filled takes the depth of what is around it, weighted e-fold for every 3 cm that it is
farther, up to 8 cm behind the head's middle: hair hangs beside the neck, not before the chin."""


@dataclass(frozen=True)
class LifterConfig:
    """Sizes of the network. Portraits are `size` x `size`; layer 2 has half that resolution."""

    size: int = 256
    stem: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 256)
    blocks: tuple[int, ...] = (1, 1, 2, 2)


@dataclass
class Layers:
    """Raw maps of the network, before they become Gaussians.

    Attributes:
        front: layer 1 at the portrait's resolution. [B, 10, S, S]
        back: layer 2 at half of it. [B, 10, S/2, S/2]
    """

    front: Tensor
    back: Tensor


@dataclass
class LiftedGaussians:
    """Gaussians of a batch, in the frame of the portrait's camera (OpenCV axes, metres).

    Attributes:
        means: [B, N, 3]
        axes: two half axes (one standard deviation) of each disc. [B, N, 2, 3]
        opacities: [B, N]
        colors: red, green, blue, uncertainty. [B, N, 4]
        depth: depth of layer 1 on its grid. [B, 1, H, W]
        opacity_logits: of layer 1 on its grid. [B, 1, H, W]
    """

    means: Tensor
    axes: Tensor
    opacities: Tensor
    colors: Tensor
    depth: Tensor
    opacity_logits: Tensor


class Lifter(nn.Module):
    """The U-Net: no attention, no norms; features at 1/2, 1/4, ... 1/32 of the portrait."""

    STEMS = ("stem",)
    """Layers whose input is a picture."""
    HEADS = ("front_head", "back_head")
    """Layers whose output is the network's."""

    def __init__(self, config: LifterConfig | None = None) -> None:
        super().__init__()
        self.config = config or LifterConfig()
        stem, widths, blocks = self.config.stem, self.config.channels, self.config.blocks
        self.stem = nn.Conv2d(7, stem, 4, stride=2, padding=1)
        self.entry = nn.Conv2d(stem, widths[0], 4, stride=2, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(b, a, 1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.decoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.back_head = nn.Conv2d(widths[0], CHANNELS * 4, 3, padding=1)
        self.front_up = nn.Conv2d(widths[0], stem, 1)
        self.front_decoder = ResidualBlock(stem)
        self.front_head = nn.Conv2d(stem, CHANNELS * 4, 3, padding=1)
        initialise(self)
        bias = torch.zeros(CHANNELS)
        bias[5] = 0.5
        with torch.no_grad():
            for head, start in ((self.front_head, bias), (self.back_head, torch.zeros(CHANNELS))):
                head.weight.mul_(0.02)
                head.bias.copy_(start.repeat_interleave(4))  # type: ignore[union-attr]

    def forward(self, image: Tensor, mask: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the two layers.

        Args:
            image: portrait, sRGB 0..1. [B, 3, S, S]
            mask: person mask 0..1, zeros where none is given. [B, 1, S, S]
            given: 1 where the mask is given, else 0. [B]

        Returns:
            Raw maps of layer 1 [B, 10, S, S] and layer 2 [B, 10, S/2, S/2].
        """
        front, back = self.cells(self.picture(image, mask, given))
        return F.pixel_shuffle(front, 2), F.pixel_shuffle(back, 2)

    @staticmethod
    def picture(image: Tensor, mask: Tensor, given: Tensor) -> Tensor:
        """What the network sees, from the arguments of `forward`. [B, 7, S, S]"""
        batch, _, size, _ = image.shape
        told = given.view(batch, 1, 1, 1).expand(batch, 1, size, size).to(image.dtype)
        grid = pixel_grid(size, image).expand(batch, -1, -1, -1)
        return torch.cat([image * 2 - 1, mask, told, grid], 1)

    def cells(self, x: Features) -> tuple[Tensor, Tensor]:
        """As `forward` of a `picture`, before the pixel shuffle: cells of 2 x 2 pixels.
        [B, 40, S/2, S/2] and [B, 40, S/4, S/4]"""
        if isinstance(x, Tensor):
            x = x.to(memory_format=torch.channels_last)
        fine = convolve(self.stem, x, 0.0)
        hidden = convolve(self.entry, fine, 0.0)
        skips = []
        for stage, down in zip(self.encoder[:-1], self.down, strict=True):
            hidden = stage(hidden)
            skips.append(hidden)
            hidden = convolve(down, hidden)
        hidden = self.encoder[-1](hidden)
        for level in reversed(range(len(skips))):
            hidden = self.decoder[level](join(self.up[level], hidden, skips[level]))
        back: Tensor = convolve(self.back_head, hidden)
        fine = self.front_decoder(join(self.front_up, hidden, fine))
        front: Tensor = convolve(self.front_head, fine)
        return front, back


def filled(layers: Layers, mask: Tensor) -> Layers:
    """Layers with no gaps in what the camera sees of the person.

    A network leaves out what it has seen on nobody, a plait on a shoulder or a crest of hair, even
    where the mask says that it is the person's. There layer 1 becomes the portrait itself, at the
    depth of what is around it. Layer 2, which is told from layer 1 on, moves along.

    Args:
        layers: what the network returned.
        mask: that it was given, 0..1. [B, 1, S, S]
    """
    front, opacity = layers.front, layers.front[:, 5:6]
    gaps = _gaps(opacity, mask)
    solid = (opacity > 1) & (mask > 0.5) & ~gaps
    depth, zero = depth_around(front[:, :1], solid), torch.zeros_like(opacity)
    scale = torch.full_like(opacity, RAW_SCALE)
    parts = [depth, zero, zero, scale, scale, opacity.clamp(min=SOLID), zero, zero, zero]
    patch = torch.cat([*parts, front[:, 9:]], 1)
    return Layers(torch.where(gaps, patch, front), layers.back)


def _gaps(opacity: Tensor, mask: Tensor) -> Tensor:
    """Where the person is and layer 1 is not, from its raw opacity. Boolean [B, 1, S, S]"""

    def spread(x: Tensor, by: int) -> Tensor:
        x = F.max_pool2d(x, (2 * by + 1, 1), 1, (by, 0))
        return F.max_pool2d(x, (1, 2 * by + 1), 1, (0, by))

    there = ((opacity > 0) | (mask < 0.5)).to(opacity.dtype)
    middle = 1 - spread(there, GAP // 2)
    return (spread(middle, GAP // 2 + RIM) > 0) & (spread(1 - mask, 1) < 1 - BELIEVED)


def depth_around(depth: Tensor, solid: Tensor) -> Tensor:
    """Mean raw depth of what is solid around each pixel: within about a quarter of the picture, or
    where nothing is, within the whole. See FARTHER. [B, 1, S, S]"""
    size = depth.shape[-1]
    weight = solid * torch.exp(FARTHER * depth.clamp(-FARTHEST, FARTHEST))
    sums = torch.zeros_like(depth.expand(-1, 2, -1, -1))
    for cells, trust in ((8, 1.0), (2, 1e-3)):  # the whole picture counts where the rest is nothing
        coarse = F.avg_pool2d(torch.cat([depth * weight, weight], 1), size // cells)
        coarse = F.avg_pool2d(coarse, 3, 1, 1)
        sums = sums + trust * F.interpolate(coarse, size=(size, size), mode="bilinear")
    return sums[:, :1] / sums[:, 1:].clamp(min=1e-9)  # 0, the head's middle, if nothing is solid


def pixel_grid(size: int, like: Tensor) -> Tensor:
    """Centres (x, y) of a picture's pixels, -1..1. [1, 2, size, size]"""
    x = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size * 2 - 1
    return torch.stack([x[None, :].expand(size, -1), x[:, None].expand(-1, size)])[None]


def to_gaussians(
    layers: Layers, image: Tensor, distance: Tensor, stride: int = 1
) -> LiftedGaussians:
    """Turn raw maps into Gaussians.

    With `stride` 2, layer 1 is averaged over 2 x 2 pixels first: a quarter of the Gaussians, each
    of twice the size, for training at half resolution. The mean trains all four pixels alike.

    Args:
        layers: what the network returned.
        image: the portrait. [B, 3, S, S]
        distance: from the camera to the head's origin, metres. [B]
        stride: 1 or 2.
    """
    size = image.shape[-1]
    distance = distance.view(-1, 1, 1, 1)
    tan = math.tan(HALF_FOV)
    half = F.avg_pool2d(image, 2)
    front, picture = (layers.front, image) if stride == 1 else (F.avg_pool2d(layers.front, 2), half)
    rays = pixel_grid(size // stride, image) * tan
    step = 2 * tan * stride / size
    depth = distance + 0.08 * front[:, :1]
    offset = torch.tanh(front[:, 1:3]) * step * distance
    groups = [_layer(front, depth, offset, rays, step, picture, scale=0.45, color=0.3)]

    rays = pixel_grid(size // 2, image) * tan
    seen = (distance + 0.08 * F.avg_pool2d(layers.front[:, :1], 2)).detach()
    behind = seen + 0.01 + 0.05 * F.softplus(layers.back[:, :1])
    offset = torch.tanh(0.5 * layers.back[:, 1:3]) * 0.06
    groups.append(
        _layer(layers.back, behind, offset, rays, 4 * tan / size, half, scale=0.8, color=1.0)
    )

    means, axes, opacities, colors = (torch.cat(parts, 1) for parts in zip(*groups, strict=True))
    return LiftedGaussians(means, axes, opacities, colors, depth, 2 * front[:, 5:6])


def _layer(
    maps: Tensor,
    depth: Tensor,
    offset: Tensor,
    rays: Tensor,
    step: float,
    picture: Tensor,
    scale: float,
    color: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means [B, N, 3], axes [B, N, 2, 3], opacities [B, N] and colors [B, N, 4] of one layer."""
    position = torch.cat([rays * depth + offset, depth], 1)
    sigma = scale * torch.exp(maps[:, 3:5].clamp(-2.5, 2.5))
    axes = torch.stack(
        [
            tangent * sigma[:, i : i + 1]
            for i, tangent in enumerate(surface_tangents(depth, rays, step))
        ],
        1,
    )
    rgb = (picture + color * maps[:, 6:9]).clamp(-0.2, 1.2)
    colors = torch.cat([rgb, torch.sigmoid(maps[:, 9:10] - 2)], 1)
    opacity = 0.995 * torch.sigmoid(2 * maps[:, 5])
    return (
        position.flatten(2).transpose(1, 2),
        axes.flatten(3).permute(0, 3, 1, 2),
        opacity.flatten(1),
        colors.flatten(2).transpose(1, 2),
    )


def surface_tangents(depth: Tensor, rays: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """How the surface moves from one pixel to the next, along x and along y.

    Of the slopes to the two sides, each over two pixels, the gentler one is taken: at a depth step
    a disc then lies on its own side, instead of spanning the gap as a string of beads. Slopes are
    clamped to five pixel footprints (79 degrees). Detached: where the surface goes is learnt from
    the positions, not from the discs' tilt.

    Args:
        depth: [B, 1, H, W], metres.
        rays: x / z and y / z of each pixel. [1, 2, H, W]
        step: distance of two neighbouring rays at depth 1.

    Returns:
        Tangents along x and y, metres per pixel. Each [B, 3, H, W].
    """
    depth = depth.detach()
    footprint = step * depth
    tangents = []
    for axis, dim in ((0, -1), (1, -2)):
        ahead = depth.diff(dim=dim)
        ahead = torch.cat(
            [ahead.narrow(dim, 0, 1)] * 2 + [ahead] + [ahead.narrow(dim, -1, 1)] * 2, dim
        )
        length = depth.shape[dim]
        before = 0.5 * (ahead.narrow(dim, 0, length) + ahead.narrow(dim, 1, length))
        after = 0.5 * (ahead.narrow(dim, 2, length) + ahead.narrow(dim, 3, length))
        slope = torch.where(before.abs() < after.abs(), before, after)
        slope = torch.maximum(torch.minimum(slope, 5 * footprint), -5 * footprint)
        across = torch.cat([rays[:, :1] * slope, rays[:, 1:] * slope, slope], 1)
        across = across.clone()
        across[:, axis : axis + 1] += footprint
        tangents.append(across)
    return tangents[0], tangents[1]
