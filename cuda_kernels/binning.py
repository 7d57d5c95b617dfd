"""Which Gaussians each tile of the picture must composite, in plain torch operations.

The CPU's driver does the same in C++ (src/cpu_splat.cpp); this runs on any device, and nothing in
it is slower for more views.
"""

import torch
from torch import Tensor

from cuda_kernels.layout import tile_grid


def bin_gaussians(
    boxes: Tensor, depths: Tensor, width: int, height: int, capacity: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """List, per tile of 16 x 16 pixels, the Gaussians that touch it, front to back.

    Equal depths: lower index first. Waits for the device once, to learn how long the lists are.

    Args:
        boxes: left, top, right, bottom in cells of 4 x 4 pixels, right and bottom exclusive; all 0
            where a Gaussian is not in the picture. int32 [V, N, 4]
        depths: metres, of any value where the box is empty. [V, N]
        width: of the picture, pixels.
        height: of the picture, pixels.
        capacity: the most pairs (Gaussian, tile) of a view; the farthest Gaussians beyond are left
            out. Default: no limit.
    Returns:
        starts: where in its view's list the Gaussians of a tile begin; the last is the length of
            the list. int32 [V, tiles + 1]
        lists: indices of Gaussians, tile by tile, row by row; zeros after a view's last. L is the
            length of the longest, at least 1. int32 [V, L]
        pairs: how long the lists would be without a limit. int64 [V]
    """
    V, N = depths.shape
    columns, rows = tile_grid(width, height)
    tiles = columns * rows
    if V * N == 0:
        starts = boxes.new_zeros(V, tiles + 1)
        return starts, boxes.new_zeros(V, 1), boxes.new_zeros(V, dtype=torch.int64)

    left, top = boxes[..., 0] >> 2, boxes[..., 1] >> 2
    across, down = ((boxes[..., 2] + 3) >> 2) - left, ((boxes[..., 3] + 3) >> 2) - top
    touched = across * down  # [V, N], 0 for those that are not in the picture
    pairs = touched.sum(1)

    order = torch.where(touched > 0, depths, torch.inf).sort(dim=1, stable=True).indices
    touched = touched.gather(1, order)
    if capacity is not None:
        touched = torch.where(touched.cumsum(1) <= capacity, touched, 0)
    kept = touched.sum(1)
    total, longest = torch.stack([kept.sum(), kept.amax()]).tolist()

    # From here on one entry per pair, view by view and front to back.
    row = torch.repeat_interleave(touched.flatten(), output_size=total)  # [total], into [V * N]
    within = torch.arange(total, device=row.device)
    within -= (touched.flatten().cumsum(0) - touched.flatten())[row]
    gaussian = order.flatten()[row]
    view = torch.div(row, N, rounding_mode="floor")
    at = view * N + gaussian
    wide = across.flatten()[at]
    x = left.flatten()[at] + within % wide
    y = top.flatten()[at] + torch.div(within, wide, rounding_mode="floor")
    tile = view * tiles + y * columns + x

    # Stable: within a tile the order stays from front to back. Half as many bits, half the passes.
    tile = tile.to(torch.int32 if V * tiles < 2**31 else torch.int64)
    tile, by_tile = tile.sort(stable=True)
    every = torch.arange(V * tiles + 1, device=tile.device, dtype=tile.dtype)
    bounds = torch.searchsorted(tile, every)  # a view's list follows that of the view before
    begin, end = bounds[:-1].view(V, tiles), bounds[1:].view(V, tiles)
    starts = torch.cat([begin, end[:, -1:]], 1) - begin[:, :1]

    lists = boxes.new_zeros(V, max(1, longest))
    filled = torch.arange(lists.shape[1], device=lists.device) < kept[:, None]
    lists.masked_scatter_(filled, gaussian[by_tile].int())
    return starts.int(), lists, pairs
