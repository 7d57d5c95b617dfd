"""Loads and writes the large refiner.

It is built on a pipeline in the layout of `diffusers`, with the folders unet, vae, text_encoder,
tokenizer and scheduler: a local folder, or a name on the hub such as stabilityai/sd-turbo. What
training adds lies in a folder of its own, which names the pipeline: `sd_turbo.json` and
`sd_turbo.safetensors`.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.errors import SetupError
from models.sd_turbo import STEP, SdTurbo, SdTurboConfig

CONFIG, ADDITIONS = "sd_turbo.json", "sd_turbo.safetensors"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LATENTS = 4
"""Channels; those of the noise that a call holds are as many."""


def is_place(path: str | Path) -> bool:
    """Whether it can name a large refiner: a folder, or else owner/name as on the hub."""
    name = str(path)
    hub = HUB_NAME.fullmatch(name) and not name.endswith((".safetensors", ".pt"))
    return Path(path).is_dir() or (not Path(path).exists() and bool(hub))


def load_sd_turbo(
    place: str | Path, size: int | None = None, rank: int = 0, merged: bool = True
) -> SdTurbo:
    """The large refiner, float32, on the CPU, ready to run or to be trained.

    Args:
        place: a folder that training wrote, or a pipeline: a folder, or a name on the hub.
        size: at which it works, pixels, a multiple of 64; None takes what it was trained at.
        rank: of additions to be trained, where the place is a pipeline that has none.
        merged: put trained additions into the layers; False keeps them apart, for more training.

    Raises:
        SetupError: the extra is missing, or the place holds no such thing.
    """
    folder, card = Path(place), Path(place) / CONFIG
    config = _config(card) if card.is_file() else SdTurboConfig(str(place))
    if size is not None:
        config = replace(config, size=size)
    if config.size % STEP or config.size < STEP:
        raise SetupError(
            f"The large refiner cannot work at {config.size} pixels. Take a multiple of {STEP}.",
            "bad_size",
        )
    trained = config.rank > 0
    network = _from_pipeline(_resolved(config.base, folder), config)
    if trained or rank:
        network.config = config = replace(config, rank=config.rank or rank)
        network.add_trainable(config.rank)
    if trained:
        _fill(network, folder / ADDITIONS)
        if merged:
            network.merge()
    return network


def save_sd_turbo(network: SdTurbo, folder: str | Path) -> None:
    """Write what was trained, in half precision, into a folder that `load_sd_turbo` takes.

    Raises:
        ValueError: nothing can be trained, or it has been merged.
        OSError: it cannot be written.
    """
    folder, config = Path(folder), network.config
    if not network.trainable():
        raise ValueError("there are no additions that stand apart from the pipeline")
    folder.mkdir(parents=True, exist_ok=True)
    if Path(config.base).is_dir():
        config = replace(config, base=str(Path(config.base).resolve()))
    state = {name: p.detach().half().cpu().contiguous() for name, p in network.trainable().items()}
    save_file(state, folder / ADDITIONS)
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n")


def _config(card: Path) -> SdTurboConfig:
    kinds = {"base": str, "prompt": str, "size": int, "timestep": int, "rank": int}
    assert kinds.keys() == {field.name for field in fields(SdTurboConfig)}
    try:
        told = json.loads(card.read_text())
        fit = all(type(told[name]) is kind for name, kind in kinds.items())
    except (ValueError, KeyError, TypeError):
        fit = False
    if not fit:
        raise SetupError(f"{card} is not what training writes. Write it again.", "bad_weights")
    return SdTurboConfig(**{name: told[name] for name in kinds})


def _resolved(base: str, folder: Path) -> str:
    """The pipeline that a card names: beside the card, or as it stands."""
    return str(folder / base) if (folder / base).is_dir() else base


def _fill(network: SdTurbo, path: Path) -> None:
    wanted = network.trainable()
    try:
        state = load_file(path)
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in wanted.items()}:
            raise ValueError("it fits another pipeline")
    except (OSError, SafetensorError, ValueError) as error:
        raise SetupError(
            f"{path} does not hold what was trained on {network.config.base}: {_first(error)}.",
            "bad_weights",
        ) from error
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(state[name])


def _from_pipeline(base: str, config: SdTurboConfig) -> SdTurbo:
    folder = Path(base)
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise SetupError(
            f"{base} holds no pipeline of diffusers: there is no model_index.json in it. Name the "
            "folder that holds SD-Turbo.",
            "bad_weights",
        )
    if not is_place(base):
        raise SetupError(f"{base} is neither a folder nor a name on the hub.", "no_weights")
    try:
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        from peft import LoraConfig  # noqa: F401  better said now than after loading
        from transformers import CLIPTextModel, CLIPTokenizer
    except ModuleNotFoundError as error:
        raise SetupError(
            f"The large refiner needs {error.name}. Run: pip install 'visavis[sd-turbo]'",
            "no_sd_turbo",
        ) from error
    try:
        unet = _part(UNet2DConditionModel, base, "unet")
        vae = _part(AutoencoderKL, base, "vae")
        text = _part(CLIPTextModel, base, "text_encoder")
        tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
        told = DDPMScheduler.load_config(base, subfolder="scheduler")
    # What is wrong with a folder or with the hub comes as an error of every library below.
    except Exception as error:
        mend = "" if folder.is_dir() else " Check name and connection, or name a local folder."
        raise SetupError(
            f"{base} cannot be loaded as an SD-Turbo pipeline: {_first(error).rstrip('.')}.{mend}",
            "bad_weights",
        ) from error
    kind = told.get("prediction_type", "epsilon")
    fits = (
        unet.config.in_channels == vae.config.latent_channels == LATENTS
        and unet.config.cross_attention_dim == text.config.hidden_size
        and unet.config.addition_embed_type is None
        and kind in ("epsilon", "v_prediction")
    )
    if not fits:
        raise SetupError(f"{base} is a pipeline of another kind than SD-Turbo.", "bad_weights")
    shape = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    schedule = DDPMScheduler(**{name: told[name] for name in shape if name in told})
    if not 0 <= config.timestep < len(schedule.alphas_cumprod):
        raise SetupError(f"{base} has no timestep {config.timestep}.", "bad_weights")
    signal = float(schedule.alphas_cumprod[config.timestep])
    prompt = _embedded(text, tokenizer, config.prompt)
    network = SdTurbo(unet, vae, prompt, signal, kind == "v_prediction", config)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _part(kind: Any, base: str, name: str) -> Any:
    """One network of a pipeline in float32; where only half precision lies there, from that."""
    try:
        return kind.from_pretrained(base, subfolder=name, torch_dtype=torch.float32)
    except OSError:
        try:
            return kind.from_pretrained(
                base, subfolder=name, torch_dtype=torch.float32, variant="fp16"
            )
        except (OSError, ValueError):
            pass
        raise


@torch.no_grad()
def _embedded(text: Any, tokenizer: Any, prompt: str) -> torch.Tensor:
    """The text's embedding, computed once: the text encoder is not needed again. [1, T, C]"""
    tokens = tokenizer(
        prompt,
        padding="max_length",
        truncation=True,
        max_length=min(tokenizer.model_max_length, text.config.max_position_embeddings),
        return_tensors="pt",
    )
    embedding: torch.Tensor = text.eval()(tokens.input_ids)[0]
    return embedding


def _first(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
