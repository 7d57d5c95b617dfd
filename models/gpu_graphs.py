"""The captured graphs of one size of a batch, and what is needed to start one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from models.camera import portrait_camera
from models.gpu_batches import Batch, Quality
from models.gpu_chain import Chain, Look, Surroundings
from models.gpu_frames import FramePool, HostFrames
from models.gpu_slots import AvatarSlots
from models.gpu_views import SlotView, Staging, slot_view
from models.graphs import Queue, Work, milliseconds
from models.viewpoint import Viewpoint

DISCS, RADIUS, DISC = 50_000, 0.1, 0.0012
"""Of the ball that stages are timed with: about as many discs as a person has, the size of a head,
half axes of the discs. Metres."""


@dataclass
class Started:
    """A batch on its way."""

    batch: Batch
    graphs: BatchGraphs
    frames: HostFrames


@dataclass
class BatchGraphs:
    """All that belongs to one size of a batch.

    Attributes:
        chain: the tensors that the graphs read and write.
        replays: the graphs.
        stagings: of views, used by turns.
        pool: of frames on the host.
        shares: of a batch's time, by stage; empty where that is not measured.
    """

    chain: Chain
    replays: dict[Quality, Work]
    stagings: list[Staging]
    pool: FramePool
    shares: dict[Quality, dict[str, float]]

    def start(self, batch: Batch, views: list[SlotView]) -> Started:
        """Put a batch into the queue, and the copy of its frames to the host behind it."""
        staging = self.stagings[0]
        self.stagings.reverse()
        staging.write(views)
        frames = self.pool.take()
        frames.begun.record()
        staging.send(self.chain.views.block)
        self.replays[batch.quality]()
        made = len(views)
        frames.memory[:made].copy_(self.chain.frames[:made], non_blocking=True)
        frames.left_out.copy_(self.chain.left_out(batch.quality), non_blocking=True)
        frames.filled.record()
        return Started(batch, self, frames)


def captured(
    batch: int, queue: Queue, look: Look, around: Surroundings, say: Callable[[int], None]
) -> BatchGraphs:
    """Capture the graphs of one size.

    Args:
        batch: views.
        queue: that they run in.
        look: what all chains share.
        around: likewise.
        say: told the number of each graph, from 0, before it is captured.
    """
    with queue.working():
        chain = Chain(batch, look, around)
        stagings = [Staging(queue, batch, look.slots.empty, look.size) for _ in range(2)]
        stagings[0].write([])
        stagings[0].send(chain.views.block)
    works = {
        Quality.REFINED: chain.refined,
        Quality.RAW: chain.raw,
        Quality.COARSE: chain.coarse,
    }
    replays = {}
    for index, (quality, work) in enumerate(works.items()):
        say(index)
        replays[quality] = queue.capture(work)
    shape = tuple(chain.frames.shape)
    pool = FramePool(lambda: HostFrames(queue, shape))
    graphs = BatchGraphs(chain, replays, stagings, pool, {})
    if queue.device.type == "cuda":
        graphs.shares = stage_shares(queue, look, chain, replays, stagings[0])
    return graphs


def stage_shares(
    queue: Queue, look: Look, chain: Chain, replays: Mapping[Quality, Work], staging: Staging
) -> dict[Quality, dict[str, float]]:
    """What part of a batch's time each stage takes; a graph tells only its whole time.

    All views look at a ball in slot 0 meanwhile, which must be free: to rasterise nobody costs
    nothing.

    Args:
        queue: that the graphs run in.
        look: what all chains share.
        chain: of the batch.
        replays: its graphs.
        staging: one of its views.
    """
    batch, camera = len(chain.frames), portrait_camera(size=look.size).world_to_camera.double()
    distance, times = float(camera[2, 3]), {}
    with queue.working():
        picture = torch.rand(batch, 4, look.size, look.size, device=queue.device)
        _seat_ball(look.slots, distance)
    i420 = milliseconds(queue, queue.capture(lambda: chain.compose(picture)))
    for quality, work in replays.items():
        drawn = look.size // 2 if quality is Quality.COARSE else look.size
        view = slot_view(0, Viewpoint(), distance, camera.numpy(), drawn)
        with queue.working():
            staging.write([view] * batch)
            staging.send(chain.views.block)
        times[quality] = milliseconds(queue, work)
    with queue.working():
        look.slots.counts[:1].zero_()
        staging.write([])
        staging.send(chain.views.block)
    shares = {}
    for quality, whole in times.items():
        plain = min(times[Quality.RAW], whole)
        last = min(i420, plain)
        shares[quality] = {
            "rasterise": (plain - last) / whole,
            "refine": (whole - plain) / whole,
            "i420": last / whole,
        }
    return shares


def _seat_ball(slots: AvatarSlots, distance: float) -> None:
    """Fill slot 0 with a ball, `distance` metres from the portrait's camera."""
    count, device = min(DISCS, slots.most), slots.means.device
    random = torch.Generator().manual_seed(0)
    outward = F.normalize(torch.randn(count, 3, generator=random), dim=1)
    across = F.normalize(torch.linalg.cross(outward, outward.roll(1, 1)), dim=1)
    tangents = torch.stack([across, torch.linalg.cross(outward, across)], 1)
    slots.means[0, :count] = (RADIUS * outward).to(device)
    slots.axes[0, :count] = (DISC * tangents).to(device)
    slots.opacities[0, :count], slots.colors[0, :count] = 0.9, 0.5
    slots.pictures[0], slots.shown[0], slots.depths[0] = 0.5, 0.5, distance - RADIUS
    slots.counts[:1] = count
