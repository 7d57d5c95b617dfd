"""The diffusion step: what passes through, what is noised, and what it is conditioned on."""

import pytest
import torch

from models.refiner import RENDER, Refiner, RefinerConfig, noise_map, refine, refiner_input

SMALL = RefinerConfig(channels=(8, 8, 8, 12), blocks=(1, 1, 1, 1), heads=2)


@pytest.fixture
def network() -> Refiner:
    torch.manual_seed(0)
    return Refiner(SMALL).eval()


@pytest.fixture
def render() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, RENDER, 64, 64)


@pytest.fixture
def tokens(network: Refiner) -> torch.Tensor:
    torch.manual_seed(2)
    return network.encode_portrait(torch.rand(1, 4, 256, 256))


def test_sigma_is_zero_where_the_splat_is_sure(render: torch.Tensor) -> None:
    render[:, 3] = 0
    render[:, 5] = (torch.rand(64, 64) > 0.5).float()
    assert noise_map(render, 0.5).abs().max() == 0
    render[:, 3] = 1
    torch.testing.assert_close(noise_map(render, 0.5), torch.full((1, 1, 64, 64), 0.5))


def test_half_covered_pixels_are_unsure(render: torch.Tensor) -> None:
    render[:, 3], render[:, 5] = 0, 0.5
    assert (noise_map(render, 1.0) > 0.4).all()


def test_skip_fades_as_the_noise_grows(network: Refiner) -> None:
    sigma = torch.linspace(0, 2, 9).view(1, 1, 1, 9)
    skip, out = network.precondition(sigma)
    assert skip[..., 0] == 1
    assert (skip.diff() < 0).all() and (out.diff() > 0).all()
    assert skip[..., -1] < 0.02


def test_noise_reaches_only_what_is_unsure(
    network: Refiner, render: torch.Tensor, tokens: torch.Tensor
) -> None:
    first, second = torch.randn(2, 1, 4, 64, 64)
    render[:, 3] = 0
    render[:, 5] = 1
    with torch.no_grad():
        same = [refine(network, render, noise, 0.3, tokens) for noise in (first, second)]
        render[:, 3] = 1
        other = [refine(network, render, noise, 0.3, tokens) for noise in (first, second)]
    torch.testing.assert_close(same[0], same[1])
    assert (other[0] - other[1]).abs().max() > 1e-3


def test_portrait_conditions_the_step(
    network: Refiner, render: torch.Tensor, tokens: torch.Tensor
) -> None:
    other = network.encode_portrait(torch.zeros(1, 4, 256, 256))
    noise = torch.zeros(1, 4, 64, 64)
    with torch.no_grad():
        a, b = (refine(network, render, noise, 0.0, t) for t in (tokens, other))
    assert (a - b).abs().max() > 1e-5


def test_any_size_that_16_divides(network: Refiner, tokens: torch.Tensor) -> None:
    picture = torch.rand(1, RENDER, 48, 80)
    assert refine(network, picture, torch.zeros(1, 4, 48, 80), 0.3, tokens).shape == (1, 4, 48, 80)


def test_detail_of_the_portrait_is_let_through_by_the_gate(
    network: Refiner, render: torch.Tensor, tokens: torch.Tensor
) -> None:
    noise = torch.zeros(1, 4, 64, 64)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        shut = refine(network, render, noise, 0.0, tokens)
        network.head.bias[16:] = 0.7
        ajar = refine(network, render, noise, 0.0, tokens)
    torch.testing.assert_close(shut, render[:, [0, 1, 2, 5]])
    torch.testing.assert_close(ajar[:, :3], render[:, :3] + 0.7 * render[:, 6:9])
    torch.testing.assert_close(ajar[:, 3], render[:, 5])


def test_depth_counts_from_the_middle_of_the_head() -> None:
    splatted = torch.zeros(2, 6, 4, 4)
    splatted[:, 5] = 0.5
    splatted[0, 4], splatted[1, 4] = 0.5 * 0.7, 0.5 * 0.9
    detail = torch.rand(2, 4, 4, 4)
    render = refiner_input(splatted, torch.tensor([0.75, 0.75]), detail)
    depth = render[:, 4]
    assert torch.equal(render[:, 6:], detail)
    torch.testing.assert_close(depth[0], torch.full((4, 4), -0.25))
    torch.testing.assert_close(depth[1], torch.full((4, 4), 0.75))
