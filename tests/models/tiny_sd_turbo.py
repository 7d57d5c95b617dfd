"""A pipeline of SD-Turbo's classes with few and random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from models.sd_turbo import SdTurbo

needs_diffusers = "diffusers, peft or transformers is not installed: visavis[sd-turbo] brings them"
TOKENS, WIDTH = 12, 16


def write_pipeline(folder: Path) -> Path:
    """Write one, of 2 stages of latents and 4 of pictures, into a folder.

    Skips the test where the packages are missing.
    """
    for package in ("diffusers", "peft", "transformers"):
        pytest.importorskip(package, reason=needs_diffusers)
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from diffusers.utils import logging
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    logging.disable_progress_bar()
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        use_linear_projection=True,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(4, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = letters + [f"{x}</w>" for x in letters] + ["<|startoftext|>", "<|endoftext|>"]
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=TOKENS,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
        )
    ).save_pretrained(folder / "text_encoder")
    vocabulary = {word: index for index, word in enumerate(words)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS).save_pretrained(
        folder / "tokenizer"
    )
    EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
    ).save_pretrained(folder / "scheduler")
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(classes))
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """On a busy machine many small operations of several threads wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def disturb(network: SdTurbo) -> None:
    """Give what training changes other values, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.trainable().values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
