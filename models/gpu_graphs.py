"""The captured graphs of one size of a batch, and what is needed to start one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from models.gpu_batches import Batch, Quality
from models.gpu_chain import Chain, Look, Surroundings
from models.gpu_frames import FramePool, HostFrames
from models.gpu_views import SlotView, Staging
from models.graphs import Queue, Work, milliseconds


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
        graphs.shares = _shares(queue, look.size, chain, replays)
    return graphs


def _shares(
    queue: Queue, size: int, chain: Chain, replays: Mapping[Quality, Work]
) -> dict[Quality, dict[str, float]]:
    """What part of a batch's time each stage takes; a graph tells only its whole time."""
    with queue.working():
        picture = torch.rand(len(chain.frames), 4, size, size, device=queue.device)
    i420 = milliseconds(queue, queue.capture(lambda: chain.compose(picture)))
    times = {quality: milliseconds(queue, work) for quality, work in replays.items()}
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
