"""Where the GPU engine's work runs: one stream, captured graphs, one pool of memory for all.

`PlainQueue` does the same work at once, without a GPU, so that what a graph holds can be tested on
every machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

WARM_UPS = 3
"""Runs before a capture: they compile kernels, and let cuDNN choose its algorithms."""
TIMED = 5
"""Runs of which the median counts when a graph is timed at start-up."""

Work = Callable[[], None]


class Mark(Protocol):
    """A point in a queue's work that can be waited for, again and again set anew."""

    def record(self) -> None:
        """Set it behind all that the queue was given so far."""

    def wait(self) -> None:
        """Return when the queue has come there; at once if it was never set."""

    def milliseconds_to(self, later: Mark) -> float:
        """Between two marks that were both waited for."""


class Queue(Protocol):
    """Does one piece of work after another. One thread at a time may use it."""

    device: torch.device

    def capture(self, work: Work) -> Work:
        """Make a graph of what `work` does and return its replay.

        `work` must wait for nothing on the device, and every tensor that outlives it must have been
        made before: what it makes lies in memory that all graphs of the queue share.
        """

    def host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Zeros in memory that copies to and from the device need not wait for."""

    def mark(self) -> Mark: ...

    def working(self) -> AbstractContextManager[None]:
        """Within this context, operations of torch belong to the queue."""

    def close(self) -> None:
        """Free the graphs, whose replays are of no use from then on. None may be running."""


class CudaMark:
    """An event. Waiting for it sleeps: a core that spins is missing for encoding."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream
        self._event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]

    def record(self) -> None:
        self._event.record(self._stream)

    def wait(self) -> None:
        self._event.synchronize()

    def milliseconds_to(self, later: Mark) -> float:
        assert isinstance(later, CudaMark)
        return float(self._event.elapsed_time(later._event))


@contextmanager
def choosing_convolutions() -> Iterator[None]:
    """Within this context, cuDNN times its algorithms for a convolution that it has not seen yet. A
    capture cannot, and takes what was chosen before."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class CudaQueue:
    """A stream of its own and the graphs that run there, one after another.

    Graphs share a pool, so that all together hold as much memory as the hungriest; that is safe
    because none overlap, and nothing in the pool is looked at after a graph has run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        # A graph that goes takes cuBLAS's workspace of its stream along, which the others still
        # write to, and the last one that goes takes the pool. So all stay as long as the queue.
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def capture(self, work: Work) -> Work:
        # What the work reads may still be being written by the caller's own stream.
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with self.working(), choosing_convolutions():
            for _ in range(WARM_UPS):
                work()
            self._stream.synchronize()
            return self._captured(work)

    def _captured(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        cause: Exception | None = None
        try:
            # Other threads may go on using the device meanwhile: only this one must not wait.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                try:
                    work()
                except Exception as error:
                    cause = error  # the end of the capture raises another, which tells nothing
                    raise
        except Exception as error:
            if isinstance(cause, torch.cuda.OutOfMemoryError):
                raise cause from None
            name = getattr(work, "__qualname__", "work")
            raise RuntimeError(f"{name} cannot be captured: {cause or error}") from cause
        self._graphs.append(graph)
        replay: Work = graph.replay
        return replay

    def host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def mark(self) -> Mark:
        return CudaMark(self._stream)

    @contextmanager
    def working(self) -> Iterator[None]:
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream), torch.no_grad():
            yield

    def close(self) -> None:
        self._graphs.clear()


class PlainMark:
    def __init__(self) -> None:
        self._time = 0.0

    def record(self) -> None:
        self._time = time.perf_counter()

    def wait(self) -> None:
        pass

    def milliseconds_to(self, later: Mark) -> float:
        assert isinstance(later, PlainMark)
        return (later._time - self._time) * 1e3


class PlainQueue:
    """Work on the CPU; a capture is the work itself."""

    device = torch.device("cpu")

    def capture(self, work: Work) -> Work:
        return work

    def host(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def mark(self) -> Mark:
        return PlainMark()

    @contextmanager
    def working(self) -> Iterator[None]:
        with torch.no_grad():
            yield

    def close(self) -> None:
        pass


def queue_for(device: torch.device) -> Queue:
    """The queue of a device."""
    return CudaQueue(device) if device.type == "cuda" else PlainQueue()


def milliseconds(queue: Queue, work: Work, runs: int = TIMED) -> float:
    """Of the device for a replay or any other work, the median of some runs."""
    begin, end = queue.mark(), queue.mark()
    times = []
    with queue.working():
        for _ in range(runs):
            begin.record()
            work()
            end.record()
            end.wait()
            times.append(begin.milliseconds_to(end))
    return sorted(times)[len(times) // 2]
