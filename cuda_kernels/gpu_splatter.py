"""Splatting for a frame loop on a GPU: buffers allocated once, no autograd, fit for a CUDA graph.

The kernels of the binning are in src/binning.h. What they move for a view of 82k Gaussians with two
pairs of a Gaussian and a tile each, in megabytes: projection 4.6 in and 6.6 out; three passes of
the depth sort 2.6 each (and what the caches answer); pairs 1.3 out; one or two passes of the tile
sort 5.2 each; lists 2; compositing 11 in, and 24 bytes a pixel out. With 256 x 256 pixels that is
about 40: at the 4.8 TB/s of an H200 some 10 us a view, 0.3 ms for 32. One view alone is bound by
the 13 to 15 kernels that follow each other, some 2 us each. This is arithmetic; nothing of it is
measured yet.
"""

import torch
from torch import Tensor

from cuda_kernels.gpu import MOST_VIEWS, THREADS, kernel, launch
from cuda_kernels.layout import BOX_BYTES, ITEM_BYTES, frame, splat_bytes, tile_grid
from cuda_kernels.splat import MAX_CHANNELS, MAX_SIZE

DIGIT_BITS = 10
"""That one pass sorts by at most; see src/binning.h."""
DEPTH_BITS = 30
KERNELS = (
    *("project_slots", "count_digits", "scatter_by_digit", "sum_pairs", "emit_pairs"),
    *("list_tiles", "composite_forward"),
)


def default_capacity(most: int) -> int:
    """Pairs of a Gaussian and a tile that a view has room for where nothing else is said."""
    return 8 * most + 4096


class Workspace:
    """Memory that one batch after another may use, whatever their sizes: nothing in it outlives a
    batch. A view takes 20 bytes for each pair of a Gaussian and a tile that it has room for, and 72
    for each Gaussian with four channels.

    Attributes:
        splats: uint8 [views, most, bytes of a projected Gaussian]
        boxes: uint8 [views, most, 8]
        items: to be sorted. uint8 [2, views, room, 8]
        lists: int32 [views, capacity]
    """

    def __init__(
        self,
        views: int,
        most: int,
        *,
        channels: int = 4,
        capacity: int | None = None,
        device: torch.device | str = "cuda",
    ) -> None:
        """Allocate it. Arguments as for `GpuSplatter`; `views` of the largest batch."""
        self.capacity = default_capacity(most) if capacity is None else capacity

        def octets(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.uint8, device=device)

        self.splats = octets(views, most, splat_bytes(channels))
        self.boxes = octets(views, most, BOX_BYTES)
        self.items = octets(2, views, max(most, self.capacity), ITEM_BYTES)
        self.lists = torch.empty(views, self.capacity, dtype=torch.int32, device=device)


class Sorter:
    """A stable radix sort of items (key, value), for each view on its own, in two buffers.

    Args:
        buffers: items; the two are written in turns. uint8 [2, views, room, 8]

    Attributes:
        blocks: of 256 threads, that share a view's items.
    """

    def __init__(self, buffers: Tensor) -> None:
        self.buffers = buffers
        views = buffers.shape[1]
        # Enough blocks to fill a GPU; each reads the counts of all of its view, so not more.
        self.blocks = min(32, max(16, 256 // views))
        counts = (views, self.blocks, 1 << DIGIT_BITS)
        self._histograms = torch.empty(counts, dtype=torch.int32, device=buffers.device)

    def sort(self, source: int, bits: int, counts: Tensor, channels: int) -> int:
        """Sort by the lowest bits of the keys.

        Args:
            source: which of the two buffers holds the items.
            bits: of the keys; what is above does not count.
            counts: how many items each view has. int32 [views]
            channels: that the kernels are compiled for.
        Returns:
            Which of the two buffers holds the result.
        """
        _, views, room, _ = self.buffers.shape
        blocks, device = (self.blocks, views), self.buffers.device
        shift = 0
        for passes_left in range(-(-bits // DIGIT_BITS), 0, -1):
            digit = -(-(bits - shift) // passes_left)
            items, result = self.buffers[source], self.buffers[1 - source]
            common = [digit, shift, room, counts, items, self._histograms]
            launch("count_digits", channels, blocks, device, common)
            launch("scatter_by_digit", channels, blocks, device, [*common, result])
            source, shift = 1 - source, shift + digit
        return source


class GpuSplatter:
    """Rasterises a batch of views at once, each of the Gaussians of one slot.

    Nothing waits for the device and nothing is allocated after the first call, so that a CUDA graph
    can hold `render`. Two streams must not use one GpuSplatter at the same time.

    Attributes:
        left_out: pairs of a Gaussian and a tile that the last pictures had no room for; the
            farthest Gaussians are not shown then. int64 [views], on the device
    """

    def __init__(
        self,
        views: int,
        slots: int,
        most: int,
        width: int,
        height: int,
        *,
        channels: int = 4,
        eps2d: float = 0.1,
        near: float = 0.05,
        capacity: int | None = None,
        device: torch.device | str = "cuda",
        workspace: Workspace | None = None,
    ) -> None:
        """Allocate everything that `render` needs, and load the kernels.

        Args:
            views: of a batch.
            slots: sets of Gaussians.
            most: the largest number of Gaussians of a slot.
            width: of the pictures, pixels.
            height: of the pictures, pixels.
            channels: colour channels, 1 to 8.
            eps2d: square pixels added to the screen covariance.
            near: discs whose centre is nearer to the camera are left out, metres.
            capacity: most pairs of a Gaussian and a tile in a view, default 8 * most + 4096.
            device: an NVIDIA GPU.
            workspace: shared with others that never render at the same time: one of the same
                `most`, `channels` and `capacity`, for as many views or more. Default: its own.
        Raises:
            ValueError: a size is out of bounds.
            KernelLibraryError: cupy is not there.
        """
        room = default_capacity(most) if capacity is None else capacity
        if not (1 <= views <= MOST_VIEWS and slots >= 1 and most >= 1 and room >= 1):
            raise ValueError(
                f"GpuSplatter: {views} views, {slots} slots, {most} Gaussians, capacity {room};"
                f" needs one of each or more, and up to {MOST_VIEWS} views"
            )
        if not (1 <= channels <= MAX_CHANNELS and 0 < width <= MAX_SIZE and 0 < height <= MAX_SIZE):
            raise ValueError(
                f"GpuSplatter: {channels} channels, {width} x {height} pixels; from 1 to"
                f" {MAX_CHANNELS} channels and from 1 to {MAX_SIZE} pixels each way"
            )
        if not (eps2d > 0 and near > 0):
            raise ValueError("GpuSplatter: eps2d and near must be positive")
        columns, rows = tile_grid(width, height)
        self._tiles = columns * rows
        self._frame = frame(width, height)
        self._channels, self._capacity = channels, room
        self._eps2d, self._near = float(eps2d), float(near)

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        if workspace is None:
            workspace = Workspace(views, most, channels=channels, capacity=room, device=device)
        splats = workspace.splats
        if (
            len(splats) < views
            or splats.shape[1:] != (most, splat_bytes(channels))
            or workspace.capacity != room
        ):
            raise ValueError(
                f"GpuSplatter: a workspace for {len(splats)} views of {splats.shape[1]} Gaussians"
                f" and {workspace.capacity} pairs does not fit {views} of {most} and {room}"
            )
        # Of a view each: the first ones of what may be for more.
        self._splats, self._boxes = splats[:views], workspace.boxes[:views]
        self._lists = workspace.lists[:views]
        self._sorter = Sorter(workspace.items[:, :views])
        self._counts, self._kept = empty(views), empty(views)
        self._starts = empty(views, self._tiles + 1)
        self.left_out = torch.zeros(views, dtype=torch.int64, device=device)
        self._sums = empty(views, self._sorter.blocks, dtype=torch.int64)
        self._shapes = {
            "means": (slots, most, 3),
            "axes": (slots, most, 2, 3),
            "opacities": (slots, most),
            "colors": (slots, most, channels),
            "counts": (slots,),
            "slot_of_view": (views,),
            "world_to_camera": (views, 4, 4),
            "K": (views, 3, 3),
            "out": (views, channels + 2, height, width),
        }
        for name in KERNELS:
            kernel(name, channels, self._splats.device.index)

    def render(
        self,
        means: Tensor,
        axes: Tensor,
        opacities: Tensor,
        colors: Tensor,
        counts: Tensor,
        slot_of_view: Tensor,
        world_to_camera: Tensor,
        K: Tensor,
        out: Tensor,
    ) -> Tensor:
        """Rasterise all views, on torch's current stream.

        All tensors are contiguous and on the device; float32 where nothing else is said.

        Args:
            means: centres in metres, world frame. [slots, most, 3]
            axes: half axes (one sigma) in metres. [slots, most, 2, 3]
            opacities: 0 to 1. [slots, most]
            colors: [slots, most, C]
            counts: how many Gaussians a slot has: its first ones. int32 [slots]
            slot_of_view: whose Gaussians a view shows; none, where there is no such slot.
                int32 [views]
            world_to_camera: OpenCV axes. [views, 4, 4]
            K: intrinsics in pixels; only fx, fy, cx, cy count. [views, 3, 3]
            out: where to write. [views, C + 2, H, W]
        Returns:
            `out`: sum of weight * color, sum of weight * depth (metres), alpha; zeros in a view
            without Gaussians.
        Raises:
            ValueError: shapes, types or devices do not fit.
        """
        gaussians, cameras = [means, axes, opacities, colors], [world_to_camera, K]
        self._check([*gaussians, counts, slot_of_view, *cameras, out])
        slots, most = opacities.shape
        items = self._sorter.buffers
        room = items.shape[2]
        common = [most, room]
        self._launch(
            "project_slots",
            -(-most // THREADS),
            [
                *(slots, most, counts, slot_of_view, *gaussians, *cameras, self._frame),
                *(self._eps2d, self._near, self._splats, self._boxes, room, items[0]),
                self._counts,
            ],
        )
        by_depth = self._sorter.sort(0, DEPTH_BITS, self._counts, self._channels)
        seen = [self._counts, items[by_depth], self._boxes, self._sums]
        blocks = self._sorter.blocks
        self._launch("sum_pairs", blocks, [*common, *seen])
        self._launch(
            "emit_pairs",
            blocks,
            [
                *(*common, self._frame, self._capacity, *seen),
                *(items[1 - by_depth], self._kept, self.left_out),
            ],
        )
        tile_bits = (self._tiles - 1).bit_length()
        by_tile = self._sorter.sort(1 - by_depth, tile_bits, self._kept, self._channels)
        lists = [self._starts, self._lists]
        self._launch(
            "list_tiles",
            blocks,
            [room, self._frame, self._capacity, self._kept, items[by_tile], *lists],
        )
        self._launch(
            "composite_forward",
            self._tiles,
            [most, self._frame, self._capacity, *lists, self._splats, out],
        )
        return out

    def _launch(self, name: str, blocks: int, arguments: list[object]) -> None:
        device = self._splats.device
        launch(name, self._channels, (blocks, len(self._splats)), device, arguments)

    def _check(self, tensors: list[Tensor]) -> None:
        for (name, shape), t in zip(self._shapes.items(), tensors, strict=True):
            dtype = torch.int32 if name in ("counts", "slot_of_view") else torch.float32
            if t.shape != shape or t.dtype != dtype or t.device != self._splats.device:
                raise ValueError(
                    f"GpuSplatter: {name} is {t.dtype} {list(t.shape)} on {t.device}; needs"
                    f" {dtype} {list(shape)} on {self._splats.device}"
                )
            if not t.is_contiguous():
                raise ValueError(f"GpuSplatter: {name} is not contiguous")
