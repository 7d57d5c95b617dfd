"""What is measured: pictures of a person from given cameras, made from one input view.

Beside the networks, two baselines that know nothing of this person: the input repeated, and the
input warped with the mean head's depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.lifter import CHANNELS, Layers, LiftedGaussians, Lifter, filled, to_gaussians
from models.portrait_blend import blended, countable, eroded
from models.refiner import OneStepRefiner, refiner_input
from models.reprojection import portrait_detail, readable, smoothness
from training.dataset import People, Views, intrinsics, relative_cameras
from training.lifted_views import splat_lifted
from training.variants import Variant

GREY = 0.5
LIFTED = 256
"""Edge of the picture that the lifter sees, pixels; views can be made at other sizes."""


@dataclass
class Prediction:
    """Views of one person.

    Attributes:
        rgba: premultiplied. [V, 4, S, S]
        depth: metres, of some meaning where alpha is above 0.5; None without geometry. [V, S, S]
    """

    rgba: Tensor
    depth: Tensor | None = None


Predict = Callable[[Views], Prediction]
"""From the views of one person (B = 1, view 0 is the input) to all of them."""


def on_grey(rgba: Tensor) -> Tensor:
    """Premultiplied [..., 4, H, W] over grey. [..., 3, H, W]"""
    return rgba[..., :3, :, :] + (1 - rgba[..., 3:, :, :]) * GREY


@dataclass
class LiftedPerson:
    """One person, ready to be seen from anywhere.

    Attributes:
        gaussians: in the frame of the input camera.
        camera: world_to_camera of the input. [1, 4, 4]
        portrait: for the refiner, as in `OneStepRefiner.encode_portrait`. [1, 4, S, S]
        shown: for views near the portrait, from `models.portrait_blend.countable`. [1, 4, T, T]
        nearer: metres by which the portrait camera, as the lifter takes it, stands before the input
            camera.
    """

    gaussians: LiftedGaussians
    camera: Tensor
    portrait: Tensor
    shown: Tensor
    nearer: float


@dataclass
class Networks:
    """Lifter, and refiner where one is wanted, at a noise level."""

    lifter: Lifter
    refiner: OneStepRefiner | None = None
    level: float = 0.0
    given: bool = True
    """Whether the lifter gets the mask."""
    variant: Variant = Variant()
    blend: bool = False
    """Whether views near the portrait show its own pixels, as in a call."""

    @torch.no_grad()
    def layers(self, image: Tensor, mask: Tensor) -> Layers:
        """What the lifter makes of a picture and its mask, as `seen_by_lifter` returns them."""
        shown = mask if self.given else torch.zeros_like(mask)
        with torch.autocast("cpu", torch.bfloat16):
            front, back = self.lifter(image, shown, torch.full((1,), float(self.given)))
        return filled(Layers(front.float(), back.float()), shown)

    @torch.no_grad()
    def lift(self, views: Views, sensor_noise: Tensor | None = None) -> LiftedPerson:
        """Lift view 0, with `sensor_noise` [1, 3, S, S] added to its picture."""
        image, mask = seen_by_lifter(views)
        if sensor_noise is not None:
            image = (image + sensor_noise).clamp(0, 1)
        portrait = torch.cat([image * mask, mask], 1)
        person = lifted(self.layers(image, mask), image, portrait, views)
        if sensor_noise is not None:
            person.shown = countable(image, eroded(mask), smoothness(person.gaussians.depth))
        person.gaussians = self.variant.kept(person.gaussians)
        return person

    @torch.no_grad()
    def see(
        self,
        person: LiftedPerson,
        cameras: Tensor,
        distances: Tensor,
        focal: Tensor,
        size: int = LIFTED,
    ) -> Prediction:
        """Views from world_to_camera `cameras` [V, 4, 4], `distances` [V] off the head's middle,
        with focal lengths `focal` [V] in picture widths, `size` pixels wide."""
        raw = splatted(person, cameras, focal, size)
        prediction = unrefined(raw)
        K = intrinsics(size, focal)
        moves = torch.linalg.inv(relative_cameras(person.camera, cameras[None]))[0]
        moves[..., 2, 3] -= person.nearer
        if self.refiner is not None:
            depth = person.gaussians.depth
            shown = readable(person.portrait, depth)
            detail = portrait_detail(raw[None], K[None], moves[None], shown, depth)[0]
            render = refiner_input(raw, distances, detail)
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(1, 4, *raw.shape[-2:], generator=generator)
            with torch.autocast("cpu", torch.bfloat16):
                tokens = self.refiner.encode_portrait(person.portrait)
                tokens = tokens.expand(len(raw), *tokens.shape[1:])
                noise = noise.expand(len(raw), -1, -1, -1)
                refined = self.variant.refine(self.refiner, render, noise, self.level, tokens)
                prediction.rgba = refined.float()
        if self.blend:
            prediction.rgba = blended(prediction.rgba, raw, K, moves, distances, person.shown)
        return prediction

    def __call__(self, views: Views) -> Prediction:
        cameras = views.world_to_camera[0], views.distance[0], views.focal[0]
        return self.see(self.lift(views), *cameras, views.rgba.shape[-1])


def seen_by_lifter(views: Views) -> tuple[Tensor, Tensor]:
    """View 0 on grey [1, 3, 256, 256], and its mask [1, 1, 256, 256]."""
    rgba = F.avg_pool2d(views.rgba[:, 0], views.rgba.shape[-1] // LIFTED)
    return on_grey(rgba), rgba[:, 3:]


def lifted(layers: Layers, image: Tensor, portrait: Tensor, views: Views) -> LiftedPerson:
    """Gaussians from the maps of view 0, as in a call: of the camera nothing is known but where the
    head is in its picture, so it is taken to be the portrait camera at its nominal distance."""
    nominal = views.nominal_distance[:, 0]
    gaussians = to_gaussians(layers, image, nominal)
    nearer = views.distance[:, 0] - nominal
    gaussians.means[..., 2] += nearer[:, None]
    image, smooth = on_grey(views.rgba[:, 0]), smoothness(gaussians.depth)
    shown = countable(image, eroded(portrait[:, 3:]), smooth)
    return LiftedPerson(gaussians, views.world_to_camera[:, 0], portrait, shown, float(nearer))


def splatted(person: LiftedPerson, cameras: Tensor, focal: Tensor, size: int) -> Tensor:
    """The plain splat, channels as `splat`'s. [V, 6, S, S]"""
    return splat_lifted(
        person.gaussians,
        person.camera,
        cameras[None],
        focal[None],
        size,
        torch.get_num_threads(),
    )[0]


def unrefined(raw: Tensor) -> Prediction:
    """A splat [V, 6, S, S] as it is."""
    return Prediction(torch.cat([raw[:, :3], raw[:, 5:]], 1), raw[:, 4] / raw[:, 5].clamp(min=0.5))


def input_repeated(views: Views) -> Prediction:
    """The input picture in every view."""
    return Prediction(views.rgba[0, :1].expand(views.rgba.shape[1], -1, -1, -1))


def mean_depth(people: People) -> Tensor | None:
    """Depth of the inputs relative to their distance, averaged over people. [1, 1, 128, 128]

    The mean head of the very people that are measured: as good as such a baseline can get. None if
    their depth is not known.
    """
    total, count = torch.zeros(1, 1, 128, 128), torch.zeros(1, 1, 128, 128)
    for person in range(len(people)):
        views = people.views(np.array([person]), np.zeros((1, 1), np.int64))
        solid = (F.avg_pool2d(views.rgba[:, 0, 3:], 2) > 0.95).float()
        if not views.depth[:, 0].any():
            return None
        total += (views.depth[:, 0] - views.distance[:, 0]) * solid
        count += solid
    return total / count.clamp(min=1)


def warped(depth: Tensor) -> Predict:
    """The input as a height field of that `depth` [1, 1, 128, 128], relative to the distance."""

    def predict(views: Views) -> Prediction:
        image, mask = seen_by_lifter(views)
        size = image.shape[-1]
        front = torch.zeros(1, CHANNELS, size, size)
        front[:, :1] = F.interpolate(depth, size=(size, size), mode="bilinear") / 0.08
        front[:, 5:6] = torch.where(mask > 0.5, 4.0, -6.0)
        back = torch.zeros(1, CHANNELS, size // 2, size // 2)
        back[:, 5] = -6
        person = lifted(Layers(front, back), image, torch.cat([image, mask], 1), views)
        cameras = views.world_to_camera[0], views.focal[0]
        return unrefined(splatted(person, *cameras, views.rgba.shape[-1]))

    return predict
