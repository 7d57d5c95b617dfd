"""The large refiner: one step of SD-Turbo, for whoever has its weights and a GPU.

A latent diffusion network conditioned as Difix is (Wu et al. 2025, arXiv 2503.01774): the portrait
is a second view of the same batch, self-attention sees the tokens of both views together, and the
output of the first is kept. There is one step, at a fixed low timestep, and the text never changes.
The encoder's features reach the decoder through 1x1 convolutions (as in pix2pix-turbo, Parmar et
al. 2024, arXiv 2403.12036), so that detail need not pass the latents' eightfold reduction: they
take the place of a residual output. What is trained are low-rank additions (LoRA) to the U-Net and
to the decoder, and these convolutions.

Two departures. Noise, none in Difix, is added to the latents up to a level, where the splat is
unsure, as for the small refiner. And the network knows no alpha: it sees the splat over grey, and
alpha stays the splat's own, so that it cannot mend a silhouette.

Needs the extra `visavis[sd-turbo]`. Weights do not ship: `models.sd_turbo_files` loads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.refiner import noise_map

GREY = 0.5
VIEWS = 2
"""The render, then the portrait."""
ALPHA = 5
"""Channel of a render that holds it."""
EMPTY = 1 / 255
"""Alpha below which nothing is shown: what the network paints over the backdrop is no one's."""
STEP = 64
"""Sizes are multiples of it: the autoencoder divides by 8, and the U-Net by 8 again."""

UNET_LAYERS = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "conv_shortcut",
]
DECODER_LAYERS = (
    r"decoder\.(.*\.)?(to_q|to_k|to_v|to_out\.0|conv1|conv2|conv_shortcut|conv_in|conv_out)"
)
"""Layers that get low-rank additions: ends of names, and a pattern of whole names."""


@dataclass(frozen=True)
class SdTurboConfig:
    """What is chosen, and kept with the trained additions.

    Attributes:
        base: the pipeline that is built on, a folder or a name on the hub.
        size: at which the network works, pixels; others are brought to it and back. SD-Turbo was
            trained for 512.
        timestep: of the step.
        prompt: the text, always the same.
        rank: of the additions to the U-Net; the decoder's have half of it. 0: there are none.
    """

    base: str
    size: int = 512
    timestep: int = 199
    prompt: str = "a sharp photograph of a person"
    rank: int = 0


class MergedAttention:
    """Self-attention over the tokens of all views of a picture together.

    Args:
        inner: the attention proper, as diffusers calls it.
        views: that stand one after another in the batch.
    """

    def __init__(self, inner: Any, views: int = VIEWS) -> None:
        self.inner = inner
        self.views = views

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """From tokens [B * V, N, C] to tokens; the names are those that diffusers gives."""
        rows, tokens, channels = hidden_states.shape
        merged = hidden_states.reshape(rows // self.views, self.views * tokens, channels)
        mixed: Tensor = self.inner(attn, merged, encoder_hidden_states, attention_mask, **others)
        return mixed.reshape(rows, tokens, -1)


def see_together(unet: Any, views: int = VIEWS) -> None:
    """Merge the self-attention of a U-Net over views. The attention to the text stays as it is.

    Args:
        unet: a UNet2DConditionModel.
        views: 1 undoes it.
    """
    merged = {}
    for name, processor in unet.attn_processors.items():
        inner = processor.inner if isinstance(processor, MergedAttention) else processor
        itself = name.endswith("attn1.processor")
        merged[name] = MergedAttention(inner, views) if itself and views > 1 else inner
    unet.set_attn_processor(merged)


class SdTurbo(nn.Module):
    """A `models.refiner.OneStepRefiner` made of a pipeline's parts, which it changes.

    Args:
        unet: a UNet2DConditionModel.
        vae: an AutoencoderKL.
        prompt: embedding of the text. [1, T, C]
        signal: how much of a latent is signal at the timestep: the product of the alphas. 0..1
        velocity: whether the U-Net predicts v instead of the noise.
        config: what was chosen.
    """

    prompt: Tensor
    timestep: Tensor

    def __init__(
        self,
        unet: Any,
        vae: Any,
        prompt: Tensor,
        signal: float,
        velocity: bool,
        config: SdTurboConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.unet, self.vae = unet, vae
        self.signal, self.velocity = signal, velocity
        self.register_buffer("prompt", prompt, persistent=False)
        self.register_buffer("timestep", torch.tensor([config.timestep]), persistent=False)
        see_together(unet)
        self.eval().requires_grad_(False)
        # As many features as each stage of the encoder takes, and as each of the decoder does.
        widths = list(vae.config.block_out_channels)
        taken, given = [widths[0], *widths[:-1]], [*widths[1:], widths[-1]]
        self.skips = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) for a, b in zip(taken, given, strict=True)
        )
        for skip in self.skips:
            nn.init.zeros_(skip.weight)  # type: ignore[arg-type]
        self.skips.requires_grad_(False)

    def encode_portrait(self, portrait: Tensor) -> Tensor:
        """Latents of a portrait.

        Args:
            portrait: colours times mask, mask. [B, 4, S, S]

        Returns:
            [B, 4, size / 8, size / 8]
        """
        given = portrait.to(self.prompt)
        latents, _ = self.encode(self._scaled(given[:, :3] + (1 - given[:, 3:]) * GREY))
        return latents

    def refine(
        self, render: Tensor, noise: Tensor, level: Tensor | float, portrait: Tensor
    ) -> Tensor:
        """See `models.refiner.OneStepRefiner`. Computes where the network lies."""
        alpha = render[:, ALPHA : ALPHA + 1]  # in its own precision, as it comes back
        empty = (1 - alpha) * GREY
        shown = (render[:, :3] + empty).to(self.prompt)
        latents, features = self.encode(self._scaled(shown))
        if isinstance(level, Tensor) or level:
            latents = latents + self._noise(render.to(latents), noise, level, latents.shape[-1])
        views = torch.stack([latents, portrait.to(latents)], 1).flatten(0, 1)  # [B * V, 4, h, w]
        output = self.unet(
            views,
            self.timestep.expand(len(views)),
            self.prompt.expand(len(views), -1, -1),
            return_dict=False,
        )[0]
        clean = self._clean(latents, output.unflatten(0, (-1, VIEWS))[:, 0])
        picture = resized((self.decode(clean, features) + 1) / 2, render.shape[-1]).to(render)
        colors = (picture - empty) * (alpha > EMPTY)
        return torch.cat([colors, alpha], 1)

    def encode(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Latents of a picture in -1..1, at the middle of their distribution so that nothing
        flickers, and what each stage of the encoder took.

        Args:
            picture: [B, 3, S, S]

        Returns:
            [B, 4, S / 8, S / 8], and features, finest first.
        """
        encoder, features = self.vae.encoder, []
        hidden = encoder.conv_in(picture.to(memory_format=torch.channels_last))
        for stage in encoder.down_blocks:
            features.append(hidden)
            hidden = stage(hidden)
        hidden = encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(hidden)))
        moments = encoder.conv_out(hidden)
        if self.vae.quant_conv is not None:
            moments = self.vae.quant_conv(moments)
        return moments.chunk(2, 1)[0] * self.vae.config.scaling_factor, features

    def decode(self, latents: Tensor, features: list[Tensor]) -> Tensor:
        """A picture in -1..1, not clamped, from latents and the features of `encode`."""
        decoder = self.vae.decoder
        hidden = latents / self.vae.config.scaling_factor
        if self.vae.post_quant_conv is not None:
            hidden = self.vae.post_quant_conv(hidden)
        hidden = decoder.mid_block(decoder.conv_in(hidden))
        pairs = zip(reversed(self.skips), reversed(features), decoder.up_blocks, strict=True)
        for skip, feature, stage in pairs:
            hidden = stage(hidden + skip(feature))
        result: Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(hidden)))
        return result

    def add_trainable(self, rank: int) -> None:
        """Give the layers low-rank additions, which change nothing before they are trained.

        Args:
            rank: see `SdTurboConfig`.
        """
        from peft import LoraConfig

        for part, layers, width in (
            (self.unet, UNET_LAYERS, rank),
            (self.vae, DECODER_LAYERS, max(1, rank // 2)),
        ):
            part.add_adapter(LoraConfig(r=width, lora_alpha=width, target_modules=layers))
        self.skips.requires_grad_(True)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def merge(self) -> None:
        """Put the low-rank additions into the layers: as fast as without, and fixed from then."""
        for part in (self.unet, self.vae):
            part.fuse_lora()
            part.unload_lora()
        self.requires_grad_(False)

    def _scaled(self, picture: Tensor) -> Tensor:
        """0..1 of any size to -1..1 of the network's."""
        return 2 * resized(picture, self.config.size) - 1

    def _noise(self, render: Tensor, noise: Tensor, level: Tensor | float, edge: int) -> Tensor:
        """Noise for latents of `edge` pixels, where information is missing."""
        # Every so many pixels one is taken: their mean would no longer be as strong.
        picked = F.interpolate(noise.to(render), (edge, edge), mode="nearest")
        strength = level.to(render) if isinstance(level, Tensor) else level
        sigma = F.interpolate(noise_map(render, strength), (edge, edge), mode="area")
        return sigma * picked

    def _clean(self, latents: Tensor, output: Tensor) -> Tensor:
        """The latents that the U-Net takes to lie under those that it was shown."""
        signal, rest = math.sqrt(self.signal), math.sqrt(1 - self.signal)
        if self.velocity:
            return signal * latents - rest * output
        return (latents - rest * output) / signal


def resized(picture: Tensor, size: int) -> Tensor:
    """A square picture [B, C, S, S] in another size; in its own it stays untouched."""
    if picture.shape[-1] == size:
        return picture
    return F.interpolate(
        picture.float(), (size, size), mode="bilinear", align_corners=False, antialias=True
    ).to(picture.dtype)
