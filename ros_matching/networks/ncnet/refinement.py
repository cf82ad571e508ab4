"""Finding a descriptor again on a fine map, near where it is expected, to a fraction of a cell."""

from __future__ import annotations

import torch
from torch import Tensor


def refine(descriptors: Tensor, fine: Tensor, expected: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Where the descriptors (N, D) are most alike the map, near the expected places, and how alike; (N, 2) and (N,).

    ``fine`` (rows, columns, D) and ``descriptors`` are unit vectors, ``expected`` (N, 2) is x and y in cells. Searched
    are 2 radius + 1 cells each way, moved inwards at the border of the map. The place is that of the largest cosine,
    moved to the top of the quadratic surface through it and its neighbours. If it is at the rim of the window, the true
    place may lie outside: the cosine is given as -1 then.
    """
    rows, columns, _ = fine.shape
    device = expected.device
    limits = expected.new_tensor([columns - 1 - radius, rows - 1 - radius])
    centre = torch.minimum(expected.round().clamp(min=radius), limits).long()
    steps = torch.arange(-radius, radius + 1, device=device)
    side = len(steps)
    window = (centre[:, 1, None, None] + steps[:, None]) * columns + centre[:, 0, None, None] + steps
    around = fine.flatten(0, 1).index_select(0, window.flatten()).reshape(len(descriptors), side * side, -1)
    with torch.autocast(device_type=device.type, enabled=False):  # a fraction of a cell needs all the digits
        cosines = (descriptors[:, None] @ around.mT)[:, 0]
    _, best = cosines.max(dim=1)
    row, column = best // side, best % side
    inside = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
    best = row.clamp(1, side - 2) * side + column.clamp(1, side - 2)

    near = (steps[radius - 1 : radius + 2, None] * side + steps[radius - 1 : radius + 2]).flatten()
    patches = cosines.gather(1, best[:, None] + near).unflatten(1, (3, 3))
    place = centre + torch.stack([column, row], dim=1) - radius + peak_fraction(patches)
    peak = patches[:, 1, 1]
    return place, torch.where(inside, peak, -torch.ones_like(peak))


def peak_fraction(patches: Tensor) -> Tensor:
    """Where the quadratic surface through (N, 3, 3) values with the largest in the middle has its top, (N, 2) x and y.

    From central differences, with the mixed one: on random fields parabolas in x and in y alone err by a fifth more.
    Within one step; 0 where there is no top.
    """
    left, right, above, below = patches[:, 1, 0], patches[:, 1, 2], patches[:, 0, 1], patches[:, 2, 1]
    peak = patches[:, 1, 1]
    x, y = (right - left) / 2, (below - above) / 2
    xx, yy = left + right - 2 * peak, above + below - 2 * peak
    xy = (patches[:, 0, 0] + patches[:, 2, 2] - patches[:, 0, 2] - patches[:, 2, 0]) / 4
    determinant = xx * yy - xy.square()
    top = torch.stack([xy * y - yy * x, xy * x - xx * y], dim=1) / determinant[:, None]
    return torch.where((determinant > 0)[:, None], top, torch.zeros_like(top)).clamp(-1, 1)
