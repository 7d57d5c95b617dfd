"""The large refiner on a tiny pipeline of the same classes: conditioning, alpha, files, errors."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.errors import SetupError
from models.refiner import RENDER
from models.sd_turbo import SdTurbo, see_together
from models.sd_turbo_files import ADDITIONS, CONFIG, is_place, load_sd_turbo, save_sd_turbo
from models.weights import open_refiner
from tests.models.tiny_sd_turbo import disturb, one_thread, write_pipeline

SIZE = 64


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with one_thread():
        yield write_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def network(pipeline: Path) -> SdTurbo:
    return load_sd_turbo(pipeline, SIZE)


@pytest.fixture
def render() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(2, RENDER, SIZE, SIZE)


@pytest.fixture
def noise() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(2, 4, SIZE, SIZE)


def portraits(seed: int = 3, count: int = 2) -> torch.Tensor:
    torch.manual_seed(seed)
    mask = torch.rand(count, 1, 256, 256)
    return torch.cat([torch.rand(count, 3, 256, 256) * mask, mask], 1)


def altered(pipeline: Path, folder: Path, kind: str) -> Path:
    """A copy of a pipeline whose U-Net is said to predict that."""
    shutil.copytree(pipeline, folder)
    card = folder / "scheduler" / "scheduler_config.json"
    told = json.loads(card.read_text())
    card.write_text(json.dumps(told | {"prediction_type": kind}))
    return folder


@pytest.mark.parametrize("size", [SIZE, 48, 128])
@torch.no_grad()
def test_sizes_come_back_and_alpha_stays_the_splats(network: SdTurbo, size: int) -> None:
    render, noise = torch.rand(2, RENDER, size, size), torch.randn(2, 4, size, size)
    render[:, 5, :8] = 0
    condition = network.encode_portrait(portraits())
    assert condition.shape == (2, 4, SIZE // 8, SIZE // 8)
    picture = network.refine(render, noise, 0.2, condition)
    assert picture.shape == (2, 4, size, size) and picture.isfinite().all()
    assert torch.equal(picture[:, 3], render[:, 5])
    assert (picture[:, :3, :8] == 0).all() and (picture[:, :3, 8:] != 0).any()


@torch.no_grad()
def test_portrait_of_each_row_conditions_that_row(
    network: SdTurbo, render: torch.Tensor, noise: torch.Tensor
) -> None:
    condition = network.encode_portrait(portraits())
    other = network.encode_portrait(portraits(4))
    first = network.refine(render, noise, 0, condition)
    mixed = network.refine(render, noise, 0, torch.stack([condition[0], other[1]]))
    torch.testing.assert_close(first[0], mixed[0])
    assert (first[1] - mixed[1]).abs().max() > 1e-3


@torch.no_grad()
def test_rows_do_not_see_each_other(
    network: SdTurbo, render: torch.Tensor, noise: torch.Tensor
) -> None:
    condition = network.encode_portrait(portraits())
    both = network.refine(render, noise, 0.3, condition)
    for row in (0, 1):
        alone = network.refine(*(x[row : row + 1] for x in (render, noise)), 0.3, condition[[row]])
        torch.testing.assert_close(both[row], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@torch.no_grad()
def test_view_0_is_the_render_and_its_output_is_kept(
    kind: str, pipeline: Path, tmp_path: Path, render: torch.Tensor, noise: torch.Tensor
) -> None:
    from diffusers import DDPMScheduler

    pipeline = altered(pipeline, tmp_path / kind, kind)
    network = load_sd_turbo(pipeline, SIZE)
    render[:, 5] = render[:, 5].clamp(min=0.1)
    seen = []
    hook = network.unet.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    condition = network.encode_portrait(portraits())
    output = network.refine(render, noise, 0, condition)
    hook.remove()
    alpha = render[:, 5:6]
    on_grey = render[:, :3] + (1 - alpha) / 2
    latents, features = network.encode(2 * on_grey - 1)
    assert torch.equal(seen[0][0::2], latents) and torch.equal(seen[0][1::2], condition)

    predicted = network.unet(seen[0], 199, network.prompt.expand(4, -1, -1)).sample[0::2]
    # One step of the scheduler that starts and ends there is what the formula must be.
    schedule = DDPMScheduler.from_pretrained(pipeline, subfolder="scheduler", clip_sample=False)
    schedule.set_timesteps(timesteps=[199])
    clean = schedule.step(predicted, 199, latents).prev_sample
    picture = network.vae.decode(clean / network.vae.config.scaling_factor).sample
    expected = (picture + 1) / 2 - (1 - alpha) / 2
    torch.testing.assert_close(output[:, :3], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_views_merge_in_self_attention_alone(network: SdTurbo, pipeline: Path) -> None:
    from diffusers import UNet2DConditionModel

    plain = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet").eval()
    plain.to(memory_format=torch.channels_last)
    torch.manual_seed(5)
    latents, prompt = torch.randn(2, 4, 8, 8), network.prompt.expand(2, -1, -1)
    wanted = plain(latents, 199, prompt).sample
    merged = network.unet(latents, 199, prompt).sample
    assert (merged - wanted).abs().max() > 1e-3
    # Two views that are the same attend to the same tokens twice: nothing changes.
    twins = latents[:1].expand(2, -1, -1, -1)
    torch.testing.assert_close(
        network.unet(twins, 199, prompt).sample, plain(twins, 199, prompt).sample
    )
    see_together(network.unet, 1)
    try:
        assert torch.equal(network.unet(latents, 199, prompt).sample, wanted)
    finally:
        see_together(network.unet)
    assert torch.equal(network.unet(latents, 199, prompt).sample, merged)


@torch.no_grad()
def test_autoencoder_is_the_pipelines_own_before_training(network: SdTurbo) -> None:
    torch.manual_seed(6)
    picture = 2 * torch.rand(1, 3, SIZE, SIZE) - 1
    latents, features = network.encode(picture)
    factor = network.vae.config.scaling_factor
    torch.testing.assert_close(latents, network.vae.encode(picture).latent_dist.mode() * factor)
    decoded = network.vae.decode(latents / factor).sample
    torch.testing.assert_close(network.decode(latents, features), decoded)


@torch.no_grad()
def test_noise_comes_with_the_level_where_the_splat_is_unsure(
    network: SdTurbo, render: torch.Tensor, noise: torch.Tensor
) -> None:
    condition = network.encode_portrait(portraits())
    other = torch.randn_like(noise)
    level = torch.tensor([0.0, 0.3]).view(2, 1, 1, 1)
    one, two = (network.refine(render, n, level, condition) for n in (noise, other))
    torch.testing.assert_close(one[0], two[0])
    torch.testing.assert_close(one[0], network.refine(render, noise, 0, condition)[0])
    assert (one[1] - two[1]).abs().max() > 1e-3
    render[:, 3], render[:, 5] = 0, 1
    one, two = (network.refine(render, n, 0.3, condition) for n in (noise, other))
    assert torch.equal(one, two)


@torch.no_grad()
def test_untrained_additions_change_nothing_and_trained_ones_load_again(
    network: SdTurbo, pipeline: Path, tmp_path: Path, render: torch.Tensor, noise: torch.Tensor
) -> None:
    condition = network.encode_portrait(portraits())
    trained = load_sd_turbo(pipeline, SIZE, rank=4)
    torch.testing.assert_close(
        trained.refine(render, noise, 0.1, condition),
        network.refine(render, noise, 0.1, condition),
    )
    disturb(trained)
    # In half precision it is stored, so that is what can come back.
    for value in trained.trainable().values():
        value.copy_(value.half())
    wanted = trained.refine(render, noise, 0.1, condition)
    assert (wanted - network.refine(render, noise, 0.1, condition)).abs().max() > 1e-2
    save_sd_turbo(trained, tmp_path / "trained")
    again = load_sd_turbo(tmp_path / "trained", merged=False)
    assert again.config == trained.config and again.trainable().keys() == trained.trainable().keys()
    assert torch.equal(again.refine(render, noise, 0.1, condition), wanted)
    # Merged, and as engines open it.
    opened = open_refiner(tmp_path / "trained")
    assert isinstance(opened, SdTurbo) and not opened.trainable()
    assert not [name for name, _ in opened.named_parameters() if "lora" in name]
    torch.testing.assert_close(
        opened.refine(render, noise, 0.1, condition), wanted, atol=1e-3, rtol=1e-3
    )
    with pytest.raises(ValueError, match="stand apart"):
        save_sd_turbo(opened, tmp_path / "merged")


def test_only_additions_can_be_trained(pipeline: Path) -> None:
    network = load_sd_turbo(pipeline, SIZE, rank=4)
    names = network.trainable().keys()
    assert all("lora_" in name or name.startswith("skips.") for name in names)
    for part in ("unet.", "vae.decoder.", "skips."):
        assert any(name.startswith(part) for name in names)
    assert not any(name.startswith("vae.encoder") for name in names)


def test_weights_folder_may_hold_one(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(pipeline, tmp_path / "refiner")
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    assert isinstance(open_refiner(dtype=torch.bfloat16), SdTurbo)


@torch.no_grad()
def test_half_precision_follows_the_network(pipeline: Path, render: torch.Tensor) -> None:
    network = load_sd_turbo(pipeline, SIZE).to(torch.bfloat16)
    condition = network.encode_portrait(portraits())
    assert condition.dtype == torch.bfloat16
    picture = network.refine(render, torch.randn(2, 4, SIZE, SIZE), 0.1, condition)
    assert picture.dtype == render.dtype and picture.isfinite().all()
    assert torch.equal(picture[:, 3], render[:, 5])


def test_what_can_name_one(tmp_path: Path) -> None:
    (tmp_path / "refiner.safetensors").touch()
    assert is_place(tmp_path) and is_place("stabilityai/sd-turbo")
    assert not is_place(tmp_path / "refiner.safetensors")
    assert not is_place("weights/refiner.safetensors") and not is_place("refiner")


def fails(place: str | Path, **options: int) -> str:
    with pytest.raises(SetupError) as raised:
        load_sd_turbo(place, **options)
    assert "\n" not in raised.value.reason
    return raised.value.reason


def test_folders_that_hold_none_are_said(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no pipeline" in fails(tmp_path / "empty")
    assert "multiple of 64" in fails(pipeline, size=100)
    assert "neither a folder nor a name" in fails(tmp_path / "away")

    half = shutil.copytree(pipeline, tmp_path / "half")
    shutil.rmtree(half / "vae")
    assert "cannot be loaded" in fails(half)

    other = altered(pipeline, tmp_path / "other", "sample")
    assert "another kind" in fails(other)


def test_hub_that_cannot_be_reached_is_said(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import UNet2DConditionModel

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no connection\nand more lines of it")

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", unreachable)
    reason = fails("someone/something")
    assert "no connection. Check name and connection" in reason and "more lines" not in reason


def test_additions_that_do_not_fit_are_said(pipeline: Path, tmp_path: Path) -> None:
    network = load_sd_turbo(pipeline, SIZE, rank=4)
    save_sd_turbo(network, tmp_path)
    card = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(card | {"rank": 2}))
    assert "fits another pipeline" in fails(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(card))
    (tmp_path / ADDITIONS).write_bytes(b"nothing")
    assert "does not hold what was trained" in fails(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(card | {"base": str(tmp_path / "away")}))
    assert "neither a folder nor a name" in fails(tmp_path)
    (tmp_path / CONFIG).write_text("[]")
    assert "Write it again" in fails(tmp_path)


@pytest.mark.parametrize("package", ["diffusers", "peft", "transformers"])
def test_missing_extra_is_said(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    monkeypatch.setitem(sys.modules, package, None)
    reason = fails(tmp_path)
    assert "pip install 'visavis[sd-turbo]'" in reason
