"""Train the lifter on rendered people.

    visavis-train lifter --people DIR --out DIR [--steps N] [--minutes M]

Resumes from OUT/lifter.pt when it is there; else `--start` begins with trained weights. The first
part of the schedule mostly renders at half resolution, with layer 1 averaged over 2 x 2 pixels,
which buys larger batches; the rest renders everything at full resolution.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.lifter import HALF_FOV, Layers, LiftedGaussians, Lifter, to_gaussians
from models.weights import load_lifter
from training.augment import camera_picture, degraded_mask, random_background, random_colors
from training.dataset import People, Views
from training.evaluate import HeldOut
from training.lifted_views import splat_lifted
from training.losses import detail_error, gradient_l1, luma, ssim, with_hues
from training.numbers import number
from training.predictions import Networks
from training.repaint import repainted
from training.run import Learner, Workers, add_options, chosen_device, cosine, generators, train
from training.variants import Variant

FINE_BEFORE = 0.2
"""Share of the steps at full resolution while most are at half."""
SENSOR_NOISE = 0.03
"""The largest standard deviation of the noise that what is seen must not depend on."""
SHARPER = 4.0
"""How much more the amount of detail counts at the end of a schedule."""
STEADY = 1.0
"""Weight of the difference that noise makes. It is a quarter of the colours' error, and most of its
gradient cancels between the two; more of it would ask for what is steadiest, a picture that depends
on its portrait in nothing."""


@dataclass(frozen=True)
class Recipe:
    """What runs that go on from one another may want to change.

    Attributes:
        depth: weight of the depth of layer 1 and of its shape. Pictures alone teach it badly: with
            a weight that faded to 0.01, depth was wrong by 7.9 mm on the corpus's own people.
        surface: weight of the depth of what is splatted, in all targets.
        detail: weight of the amount of detail. Differences of pixels are least for a blur wherever
            depth is uncertain: without this, pictures became softer while PSNR rose. With 2.5
            sharpness settled at 0.64, with 24 at 0.68, at the same PSNR. Of each colour, and of
            what they differ by: of the brightness alone it tinted the hair.
        sharpen: share of the schedule after which detail counts SHARPER times as much.
        withheld: share of the pictures that come without a mask.
        repainted: share of the batches whose people may be painted and lit anew.
        fine: share of the schedule after which all steps are at full resolution.
        steady: share of the steps that lift each picture with a second draw of noise too. Such a
            step takes half as long again.
        layers: of Gaussians; with 1, the back layer is left out.
    """

    depth: float = 0.5
    surface: float = 0.15
    detail: float = 12.0
    sharpen: float = 0.8
    withheld: float = 0.3
    repainted: float = 0.6
    fine: float = 0.6
    steady: float = 0.2
    layers: int = 2


@dataclass
class Sample:
    """One batch: what the network sees, and the views it must explain."""

    image: Tensor  # [B, 3, 256, 256]
    mask: Tensor  # [B, 1, 256, 256]
    given: Tensor  # [B]
    views: Views  # view 0 is the input

    def to(self, device: torch.device) -> Sample:
        """The same batch there."""
        image, mask, given = (t.to(device) for t in (self.image, self.mask, self.given))
        return Sample(image, mask, given, self.views.to(device))


def draw(
    people: People,
    rng: np.random.Generator,
    noise: torch.Generator,
    batch: int,
    count: int = 2,
    again: float = 0.4,
    withheld: float = Recipe.withheld,
    repaint: float = 0.0,
) -> Sample:
    """An input view and `count` targets of each of `batch` people; in a share `again` of the cases
    the last target is the input itself; in a share `withheld` no mask is given; with a probability
    of `repaint` they go through `repainted`."""
    chosen = rng.integers(0, len(people), batch)
    source = rng.integers(0, 2, batch)
    every = range(people.views_per_person)
    targets = np.stack([rng.permutation([v for v in every if v != s])[:count] for s in source])
    repeat = rng.uniform(size=batch) < again
    targets[repeat, -1] = source[repeat]
    views = people.views(chosen, np.concatenate([source[:, None], targets], 1))
    views = views.mirrored(torch.rand(batch, generator=noise) < 0.5)
    if repaint and float(torch.rand((), generator=noise)) < repaint:
        views.rgba = repainted(views, noise)
    views.rgba = random_colors(views.rgba, noise)
    alpha = views.rgba[:, 0, 3:]
    image = views.rgba[:, 0, :3] + (1 - alpha) * random_background(batch, 256, noise)
    given = (torch.rand(batch, generator=noise) >= withheld).float()
    mask = degraded_mask(alpha, noise) * given.view(-1, 1, 1, 1)
    return Sample(camera_picture(image, noise), mask, given, views)


def noised_twice(image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, H, W] with two draws of a sensor's noise, of one strength for each."""
    level = SENSOR_NOISE * torch.rand(len(image), 1, 1, 1, generator=generator)
    first, second = torch.randn(2, *image.shape, generator=generator)
    return (image + level * first).clamp(0, 1), (image + level * second).clamp(0, 1)


def loss(
    splatted: Tensor,
    truth: Tensor,
    layers: Layers,
    gaussians: LiftedGaussians,
    sample: Sample,
    backdrop: Tensor,
    stride: int,
    recipe: Recipe,
) -> tuple[Tensor, dict[str, float]]:
    """Photometric, silhouette, depth and uncertainty terms.

    Args:
        splatted: colours, uncertainty, depth, alpha. [B, V, 6, H, W]
        truth: premultiplied RGBA of the targets. [B, V, 4, H, W]
        layers: what the network returned.
        gaussians: what was splatted.
        sample: the batch.
        backdrop: one colour per person. [B, 1, 3, 1, 1]
        stride: of layer 1.
        recipe: its weights.
    """
    alpha = splatted[:, :, 5:]
    picture = (splatted[:, :, :3] + (1 - alpha) * backdrop).flatten(0, 1)
    target = (truth[:, :, :3] + (1 - truth[:, :, 3:]) * backdrop).flatten(0, 1)
    error = (picture - target).abs()
    color = error.mean()
    structure = 1 - ssim(luma(picture), luma(target)).mean()
    edges = gradient_l1(picture, target).mean()
    detail = 5 / 3 * detail_error(with_hues(picture), with_hues(target)).mean()  # hues come on top
    hue = F.avg_pool2d(with_hues(picture - target)[:, 3:], 4).abs().mean()
    silhouette = (alpha - truth[:, :, 3:]).abs().mean()

    true_alpha = sample.views.rgba[:, 0, 3:]
    true_depth = sample.views.depth[:, 0]
    solid = (F.avg_pool2d(true_alpha, 2) > 0.95) & (true_depth > 0)
    if stride == 1:
        predicted = F.avg_pool2d(gaussians.depth, 2)
    else:
        predicted = gaussians.depth
        true_alpha = F.avg_pool2d(true_alpha, 2)
    depth = mean_smooth(100 * (predicted - true_depth)[solid], 0.5) / 4
    shape = shape_error(predicted, true_depth, solid)
    surface = surface_error(splatted, sample.views)
    opaque = F.binary_cross_entropy_with_logits(gaussians.opacity_logits, true_alpha)

    wrong = F.avg_pool2d(error.mean(1, keepdim=True).detach(), 5, 1, 2).mul(6).clamp(max=1)
    unsure = splatted[:, :, 3:4].flatten(0, 1)
    covered = alpha.detach().flatten(0, 1)
    uncertainty = (unsure - wrong * covered).abs().mean()

    bumps = corrugation(layers.front[:, :1], sample.views.rgba[:, 0, 3:])
    total = color + 0.2 * structure + 0.3 * edges + recipe.detail * detail
    total = total + 0.3 * hue + 0.3 * silhouette
    total = total + recipe.depth * (depth + 0.5 * shape) + recipe.surface * surface
    total = total + 0.05 * opaque + 0.02 * uncertainty + 0.01 * bumps
    parts = dict(
        color=color,
        structure=structure,
        edges=edges,
        detail=detail,
        hue=hue,
        silhouette=silhouette,
        depth=depth,
        shape=shape,
        surface=surface,
        opaque=opaque,
    )
    return total, {
        name: float(value.detach())
        for name, value in (parts | {"uncertainty": uncertainty, "bumps": bumps}).items()
    }


def surface_error(splatted: Tensor, views: Views) -> Tensor:
    """How far the splatted surface is from the true one in the targets, in units of 4 cm.

    The only geometric supervision of what the input does not show. Over pixels where both are
    solid; errors beyond 8 cm (hair against what is behind it) count no more.

    Args:
        splatted: ..., depth times alpha in metres, alpha. [B, V, C, H, W]
        views: the input, then the targets.
    """
    size = views.depth.shape[-1]
    factor = splatted.shape[-1] // size
    depth, alpha = F.avg_pool2d(splatted[:, :, -2:].flatten(0, 1), factor).unbind(1)
    truth = views.depth[:, 1:].flatten(0, 2)
    solid = F.avg_pool2d(views.rgba[:, 1:, 3].flatten(0, 1), views.rgba.shape[-1] // size) > 0.95
    both = solid & (truth > 0) & (alpha.detach() > 0.8)
    error = (depth / alpha.clamp(min=0.5) - truth)[both] * 100
    return mean_smooth(error.clamp(-8, 8), 0.5) / 4


def shape_error(predicted: Tensor, truth: Tensor, solid: Tensor) -> Tensor:
    """How far the depth of layer 1 is from the true one in its steps from pixel to pixel: the mean
    over steps of 1, 2, 4 and 8 pixels, along both axes, in units of 2 cm. Steps that are wrong by
    more than 6 cm count no more.

    Args:
        predicted: metres. [B, 1, H, W]
        truth: likewise.
        solid: where it is known. Boolean [B, 1, H, W]
    """
    error = (predicted - truth) * 100
    total = error.new_zeros(())
    for step in (1, 2, 4, 8):
        for dim in (-1, -2):
            count = error.shape[dim] - step
            wrong = error.narrow(dim, step, count) - error.narrow(dim, 0, count)
            both = solid.narrow(dim, step, count) & solid.narrow(dim, 0, count)
            total = total + mean_smooth(wrong[both].clamp(-6, 6), 0.25) / 16
    return total


def mean_smooth(error: Tensor, beta: float) -> Tensor:
    """Mean of `smooth_l1_loss`; 0 of nothing, as of people whose depth nobody knows."""
    total = F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="sum")
    return total / max(1, error.numel())


def corrugation(depth: Tensor, alpha: Tensor) -> Tensor:
    """Mean second difference of the depth inside the person, in pixel footprints, at most 2 each.

    The pixels that the network puts out side by side are trained in different steps; without this
    they disagree, and the surface is ribbed.

    Args:
        depth: of layer 1 in units of 0.08 m. [B, 1, H, W]
        alpha: of the person. [B, 1, H, W]
    """
    unit = 0.08 / (2 * math.tan(HALF_FOV) / depth.shape[-1] * 0.75)
    inside = (alpha > 0.95).float()
    total = depth.new_zeros(())
    for dim in (-1, -2):
        bend = (depth.diff(dim=dim).diff(dim=dim) * unit).abs().clamp(max=2)
        where = inside.narrow(dim, 1, depth.shape[dim] - 2)
        total = total + (bend * where).sum() / where.sum().clamp(min=1)
    return total


def part_loss(
    network: nn.Module,
    people: People,
    rng: np.random.Generator,
    noise: torch.Generator,
    progress: float,
    batch: int,
    recipe: Recipe,
) -> tuple[Tensor, dict[str, float]]:
    """Forward pass and loss of one worker's part of a step, at `progress` 0..1 of the schedule."""
    stride = 1 if progress >= recipe.fine or rng.uniform() < FINE_BEFORE else 2
    if stride == 2:
        persons, targets = batch, 4
    else:  # as long a step as the other kind
        persons, targets = max(1, 3 * batch // 4), 3
    sample = draw(
        people, rng, noise, persons, targets, withheld=recipe.withheld, repaint=recipe.repainted
    )
    other = None
    if rng.uniform() < recipe.steady:
        sample.image, other = noised_twice(sample.image, noise)
    device = next(network.parameters()).device
    sample = sample.to(device)

    def lift(image: Tensor) -> tuple[Layers, LiftedGaussians]:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            front, back = network(image, sample.mask, sample.given)
        layers = Layers(front.float(), back.float())
        gaussians = to_gaussians(layers, image, sample.views.distance[:, 0], stride)
        return layers, Variant(recipe.layers).kept(gaussians)

    layers, gaussians = lift(sample.image)
    truth = sample.views.rgba[:, 1:]
    if stride == 2:
        truth = F.avg_pool2d(truth.flatten(0, 1), 2).unflatten(0, truth.shape[:2])
    size = truth.shape[-1]
    cameras = sample.views.world_to_camera
    focal = sample.views.focal[:, 1:]
    splatted = splat_lifted(gaussians, cameras[:, 0], cameras[:, 1:], focal, size)
    backdrop = torch.rand(len(truth), 1, 3, 1, 1, generator=noise).to(device)
    if progress > recipe.sharpen:
        recipe = replace(recipe, detail=SHARPER * recipe.detail)
    total, parts = loss(splatted, truth, layers, gaussians, sample, backdrop, stride, recipe)
    parts["steady"] = 0.0
    if other is not None:
        again = splat_lifted(
            lift(other.to(device))[1], cameras[:, 0], cameras[:, 1:2], focal[:, :1], size
        )
        apart = (splatted[:, :1] - again)[:, :, [0, 1, 2, 5]].abs().mean()
        total = total + STEADY * apart
        parts["steady"] = float(apart.detach()) / recipe.steady  # so that logs show its mean
    return total, parts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `visavis-train lifter`."""
    add_options(parser, steps=6000, batch=8, rate=1e-3, seed=1)
    share = number(0, 1)
    for name, kind, told in (
        ("depth", number(0), "weight of the depth of layer 1"),
        ("surface", number(0), "weight of the depth of what is splatted"),
        ("detail", number(0), "weight of the amount of detail"),
        ("sharpen", share, "share of the steps after which detail counts four times"),
        ("withheld", share, "share of pictures without a mask"),
        ("repainted", share, "share of batches whose people may get other patterns and light"),
        ("fine", share, "share of the steps after which all are at full resolution"),
        ("steady", share, "share of the steps that lift with two draws of noise, and compare"),
    ):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Recipe, name), help=told)
    parser.add_argument(
        "--layers",
        type=int,
        choices=[1, 2],
        default=Recipe.layers,
        help="of Gaussians; 1 leaves out the back layer, to measure its worth",
    )


def run(chosen: argparse.Namespace) -> None:
    """Do what `visavis-train lifter` asks for."""
    torch.manual_seed(chosen.seed)
    device = chosen_device(chosen)
    network, smooth = (Lifter().to(memory_format=torch.channels_last) for _ in range(2))
    if chosen.start:
        network.load_state_dict(load_lifter(chosen.start).state_dict())
    learner = Learner(network.to(device), chosen.rate)
    people = People(chosen.people)
    measured = HeldOut(chosen.held_out)
    workers = Workers(chosen.threads, device)
    recipe = Recipe(**{field.name: getattr(chosen, field.name) for field in fields(Recipe)})

    def advance(step: int) -> dict[str, float]:
        def part(worker: int) -> tuple[Tensor, dict[str, float]]:
            rng, noise = generators(chosen.seed, step, worker)
            share = max(1, chosen.batch // workers.count)
            return part_loss(network, people, rng, noise, step / chosen.steps, share, recipe)

        losses = workers.gradients(learner.parameters, part)
        learner.learn(step, cosine(step, chosen.steps))
        return losses

    def measure() -> dict[str, float]:
        learner.average.copy_to(smooth)
        return measured.measure(Networks(smooth, variant=Variant(recipe.layers)), 10)

    train("lifter", chosen, people, learner.parts, advance, measure if measured else None)
