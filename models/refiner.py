"""Stage 2: one step of diffusion that turns the raw splat into the picture a receiver sees.

`x_t = render + sigma * noise`, and one evaluation of the network predicts the clean picture.
`sigma` is a map: zero where the splat is sure, so that it passes through, high where the portrait
never showed what is seen, so that the prediction stands alone there:
`x_0 = c_skip(sigma) render + c_out(sigma) F(x_t, sigma, ...)`, with the coefficients of EDM (Karras
et al. 2022, arXiv 2206.00364). Two departures from EDM: the skip takes the render without the
noise, so that a small network need not learn to subtract what was just added; and c_out has a
floor, because a splat is also biased where it is sure.

Conditioned on the portrait twice. Its tokens join the render's own in self-attention at the lowest
resolution; they are computed once per avatar. And its pixels are read where the splat's depth says
that they belong (`models.reprojection`): what they have more than the splat is an input, and a gate
that the network predicts lets it through, so that detail need not pass the network's narrow middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import Features, ResidualBlock, convolve, initialise, join
from models.reprojection import CHANNELS as DETAIL

PICTURE = 6
"""Channels of a splat: colours, uncertainty, depth, alpha."""
RENDER = PICTURE + DETAIL
"""Channels of the refiner's input: a splat, and the portrait's detail beside it."""
NOISE_LEVEL = 0.05
"""The largest sigma of the diffusion step, as the engines run it."""
SLOPE = 0.1
"""A plain ReLU dies here: the target of the correction is exactly zero over the background."""


class OneStepRefiner(Protocol):
    """What engines, training and evaluation ask of a refiner: the small `Refiner` here, or the
    large one of `models.sd_turbo`."""

    def encode_portrait(self, portrait: Tensor) -> Tensor:
        """What the refiner needs of a portrait, computed once per avatar.

        Args:
            portrait: colours times mask, mask. [B, 4, 256, 256]

        Returns:
            Of its own shape; the first axis is B.
        """

    def refine(
        self, render: Tensor, noise: Tensor, level: Tensor | float, portrait: Tensor
    ) -> Tensor:
        """One step, from a render to the picture that is shown.

        Args:
            render: from `refiner_input`. [B, 10, H, W]
            noise: standard normal; fixed per avatar, so that nothing flickers. [B, 4, H, W]
            level: the largest sigma; a number or [B, 1, 1, 1].
            portrait: from `encode_portrait`, one for each render.

        Returns:
            Colours (premultiplied) and alpha, not clamped. [B, 4, H, W]
        """


@dataclass(frozen=True)
class RefinerConfig:
    """Sizes of the network and constants of the preconditioning."""

    channels: tuple[int, ...] = (32, 64, 128, 192)
    blocks: tuple[int, ...] = (1, 1, 1, 2)
    heads: int = 6
    tokens: int = 16
    sigma_data: float = 0.25
    floor: float = 0.1


class Encoder(nn.Module):
    """Strided stem and residual stages: features at 1/2, 1/4, 1/8 and 1/16 of the picture."""

    def __init__(self, inputs: int, config: RefinerConfig) -> None:
        super().__init__()
        widths = config.channels
        self.stem = nn.Conv2d(inputs, widths[0], 4, stride=2, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, SLOPE) for _ in range(count)))
            for width, count in zip(widths, config.blocks, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, x: Tensor) -> list[Features]:
        """Features of a picture [B, C, H, W], finest first."""
        hidden = self.stages[0](convolve(self.stem, x, SLOPE))
        features = [hidden]
        for down, stage in zip(self.down, self.stages[1:], strict=True):
            hidden = stage(convolve(down, hidden))
            features.append(hidden)
        return features


class PortraitAttention(nn.Module):
    """Self-attention over the render's tokens joined by the portrait's.

    The portrait's keys and values do not depend on the render, so they are computed once.
    """

    def __init__(self, channels: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.heads, self.tokens = heads, tokens
        self.norm = nn.LayerNorm(channels)
        self.portrait_norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.portrait_key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.position = nn.Parameter(0.02 * torch.randn(1, channels, tokens, tokens))

    def portrait(self, features: Tensor) -> Tensor:
        """Keys and values of portrait features [B, C, T, T]. [B, 2, heads, T*T, C / heads]"""
        tokens = self.portrait_norm((features + self.position).flatten(2).transpose(1, 2))
        return self._split(self.portrait_key_value(tokens), 2)

    def forward(self, x: Tensor, portrait: Tensor) -> Tensor:
        """Mix render features [B, C, h, w] with the portrait's keys and values."""
        batch, channels, height, width = x.shape
        position: Tensor = self.position
        if (height, width) != (self.tokens, self.tokens):
            position = F.interpolate(position, size=(height, width), mode="bilinear")
        tokens = self.norm((x + position).flatten(2).transpose(1, 2))
        query = self._split(self.query(tokens), 1)[:, 0]
        key_value = torch.cat(
            [self._split(self.key_value(tokens), 2), portrait.to(tokens.dtype)], 3
        )
        mixed = F.scaled_dot_product_attention(query, key_value[:, 0], key_value[:, 1])
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, -1, channels))
        result: Tensor = x + mixed.transpose(1, 2).reshape(batch, channels, height, width)
        return result

    def _split(self, x: Tensor, parts: int) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, parts, self.heads, width // parts // self.heads).permute(
            0, 2, 3, 1, 4
        )


class Refiner(nn.Module):
    """The denoiser. Works at any size divisible by 16; trained at 256."""

    STEMS = ("encoder.stem", "portrait_encoder.stem")
    """Layers whose input is a picture."""
    HEADS = ("head",)
    """Layers whose output is the network's."""

    def __init__(self, config: RefinerConfig | None = None) -> None:
        super().__init__()
        self.config = config or RefinerConfig()
        widths = self.config.channels
        self.encoder = Encoder(4 + 4 + DETAIL, self.config)
        self.portrait_encoder = Encoder(4, self.config)
        self.attention = PortraitAttention(widths[-1], self.config.heads, self.config.tokens)
        self.middle = ResidualBlock(widths[-1], SLOPE)
        self.up = nn.ModuleList(
            nn.Conv2d(b, a, 1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.decoder = nn.ModuleList(ResidualBlock(width, SLOPE) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 5 * 4, 3, padding=1)
        initialise(self)
        with torch.no_grad():
            self.head.weight.mul_(0.05)
            self.attention.out.weight.mul_(0.1)

    def encode_portrait(self, portrait: Tensor) -> Tensor:
        """Keys and values of a portrait.

        Args:
            portrait: colours times mask, mask. [B, 4, 256, 256]

        Returns:
            [B, 2, heads, 256, C / heads]
        """
        features: list[Features] = self.portrait_encoder(portrait)
        tokens: Tensor = self.attention.portrait(features[-1])
        return tokens

    def forward(self, noised: Tensor, render: Tensor, sigma: Tensor, portrait: Tensor) -> Tensor:
        """One evaluation: the clean picture.

        Args:
            noised: x_t, colours (premultiplied) and alpha. [B, 4, H, W]
            render: from `refiner_input`. [B, 10, H, W]
            sigma: noise level. [B, 1, H, W]
            portrait: from `encode_portrait`.

        Returns:
            Colours (premultiplied) and alpha. [B, 4, H, W]
        """
        seen = self.picture(noised, render, sigma).to(memory_format=torch.channels_last)
        return self.denoised(seen, render, sigma, portrait)

    @staticmethod
    def picture(noised: Tensor, render: Tensor, sigma: Tensor) -> Tensor:
        """What the network sees, from the arguments of `forward`. [B, 12, H, W]"""
        return torch.cat([noised, render[:, 3:PICTURE], 3 * sigma, render[:, PICTURE:]], 1)

    def denoised(self, seen: Features, render: Tensor, sigma: Tensor, portrait: Tensor) -> Tensor:
        """As `forward`, from `picture`."""
        features = self.encoder(seen)
        hidden = self.middle(self.attention(features[-1], portrait))
        for level in reversed(range(len(self.up))):
            hidden = self.decoder[level](join(self.up[level], hidden, features[level]))
        # Plane by plane again: mixing four planes by one map is twice as fast there.
        output = F.pixel_shuffle(convolve(self.head, hidden).contiguous(), 2)
        skip, out = self.precondition(sigma)
        gate, detail = output[:, 4:], render[:, PICTURE : PICTURE + 3]
        colors = torch.addcmul(skip * render[:, :3], gate, detail)
        clean = torch.cat([colors, skip * render[:, 5:PICTURE]], 1)
        return torch.addcmul(clean, out, output[:, :4])

    def refine(
        self, render: Tensor, noise: Tensor, level: Tensor | float, portrait: Tensor
    ) -> Tensor:
        """See `OneStepRefiner`, and the function of this name."""
        return refine(self, render, noise, level, portrait)

    def precondition(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip and c_out of a noise level, the latter with a floor."""
        variance = self.config.sigma_data**2
        skip = variance / (sigma * sigma + variance)
        out = sigma * self.config.sigma_data / torch.sqrt(sigma * sigma + variance)
        return skip, out + self.config.floor


def refiner_input(splatted: Tensor, distance: Tensor, detail: Tensor) -> Tensor:
    """From a splat to the refiner's input: depth counted from the head's middle, in units of 0.1 m.

    Args:
        splatted: colours, uncertainty, depth times alpha in metres, alpha. [..., 6, H, W]
        distance: of the head's middle along the camera's axis, metres. [...]
        detail: of the portrait, from `portrait_detail`. [..., 4, H, W]

    Returns:
        [..., 10, H, W]
    """
    alpha = splatted[..., 5:, :, :]
    depth = 10 * (splatted[..., 4:5, :, :] - distance[..., None, None, None] * alpha)
    return torch.cat([splatted[..., :4, :, :], depth, alpha, detail], -3)


def noise_map(render: Tensor, level: Tensor | float) -> Tensor:
    """Where information is missing: what the lifter is unsure of, and half-covered pixels.

    Args:
        render: as in `Refiner.forward`. [B, 10, H, W]
        level: the largest sigma; a number or [B, 1, 1, 1].

    Returns:
        sigma. [B, 1, H, W]
    """
    alpha = render[:, 5:6].clamp(0, 1)
    return level * (1.5 * render[:, 3:4] + 2 * alpha * (1 - alpha)).clamp(0, 1)


def refine(
    network: Refiner, render: Tensor, noise: Tensor, level: Tensor | float, portrait: Tensor
) -> Tensor:
    """Noise the render and denoise it in one step.

    Args:
        network: the refiner.
        render: as in `Refiner.forward`. [B, 10, H, W]
        noise: standard normal; fixed per avatar, so that nothing flickers. [B, 4, H, W]
        level: the largest sigma.
        portrait: from `Refiner.encode_portrait`. [B, 2, heads, T, C]

    Returns:
        Colours (premultiplied) and alpha, not clamped. [B, 4, H, W]
    """
    sigma = noise_map(render, level)
    clean = torch.cat([render[:, :3], render[:, 5:6]], 1)
    result: Tensor = network(clean + sigma * noise, render, sigma, portrait)
    return result
