"""Matches from filtered correlations: cells of the maps, their best counterparts, and sub-cell positions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ros_matching.networks.ncnet.network import FilteredCorrelation

SAMPLINGS = ("published", "aligned")


class MapGrid(NamedTuple):
    """A descriptor map of ``rows`` x ``columns`` cells, one for ``stride`` x ``stride`` pixels of the image.

    Cells lie where the extractor reads the descriptors of its keypoints. With ``sampling`` "aligned", cell centres are
    the centres of their pixels. With "published", PoSFeat's, pixel x of an image W = stride w wide is read at
    x w / (W - 1) - 1/2 (it takes -1 and 1 for the centres of the outer pixels when it normalises coordinates and for
    their outer edges when it samples, and was trained so): up to half a pixel away from that.
    """

    rows: int
    columns: int
    stride: int
    sampling: str = "published"

    def from_px(self, points_px: Tensor) -> Tensor:
        """Map coordinates (..., 2), x and y with cell centres at integers, of pixels."""
        if self.sampling == "aligned":
            return (points_px + 0.5) / self.stride - 0.5
        return points_px * points_px.new_tensor(self._cells_per_px) - 0.5

    def to_px(self, points: Tensor) -> Tensor:
        """Pixels (..., 2) of map coordinates."""
        if self.sampling == "aligned":
            return (points + 0.5) * self.stride - 0.5
        return (points + 0.5) / points.new_tensor(self._cells_per_px)

    @property
    def _cells_per_px(self) -> tuple[float, float]:
        return self.columns / (self.columns * self.stride - 1), self.rows / (self.rows * self.stride - 1)


class CellMatches(NamedTuple):
    """For every cell of one map, in row-major order, its best cell in the other; all (b, N).

    Coordinates of both in [0, 1], or [-1, 1] if centred, where the ends are the centres of the first and last cell.
    """

    x_a: Tensor
    y_a: Tensor
    x_b: Tensor
    y_b: Tensor
    score: Tensor


def read_matches(
    filtered: FilteredCorrelation, *, pool: int = 1, from_a: bool = False, softmax: bool = True, centred: bool = True
) -> CellMatches:
    """The best cell of A for every cell of B or, if ``from_a``, of B for every cell of A.

    ``softmax``: the score is the maximum of the softmax over all candidates, otherwise the maximum itself. ``pool`` is
    that of the network: with offsets, coordinates are those of the fine cells that attained the maximum.
    """
    scores = filtered.scores[:, 0]
    batch, *sides = scores.shape
    table = scores.reshape(batch, sides[0] * sides[1], sides[2] * sides[3])
    if from_a:
        table = table.transpose(1, 2)
    score, best = (table.softmax(dim=1) if softmax else table).max(dim=1)
    own = torch.arange(table.shape[2], device=scores.device).expand_as(best)
    a, b = (own, best) if from_a else (best, own)
    cells = [a // sides[1], a % sides[1], b // sides[3], b % sides[3]]
    if filtered.offsets is not None:
        item = torch.arange(batch, device=scores.device)[:, None]
        cells = [
            cell * pool + offset[item, 0, cells[0], cells[1], cells[2], cells[3]]
            for cell, offset in zip(cells, filtered.offsets, strict=True)
        ]
    y_a, x_a, y_b, x_b = (
        torch.linspace(-1 if centred else 0, 1, side * pool, device=scores.device, dtype=scores.dtype)[cell]
        for cell, side in zip(cells, sides, strict=True)
    )
    return CellMatches(x_a, y_a, x_b, y_b, score)


def transfer_points(matches: CellMatches, points_b: Tensor, sides_b: tuple[int, int]) -> Tensor:
    """Carry points (b, 2, P) of image B, centred x and y, to image A: bilinear between the matches of the cells of B.

    ``matches`` are those of every cell of B, centred; ``sides_b`` is (hB, wB). Points outside [-1, 1] continue the
    outermost cells (the authors' code indexes out of range).
    """
    height, width = sides_b
    x = (points_b[:, 0] + 1) / 2 * (width - 1)
    y = (points_b[:, 1] + 1) / 2 * (height - 1)
    column = x.floor().long().clamp(0, width - 2)
    row = y.floor().long().clamp(0, height - 2)
    u, v = x - column, y - row
    positions = torch.stack([matches.x_a, matches.y_a], dim=1)

    def of_cell(row: Tensor, column: Tensor) -> Tensor:
        return positions.gather(2, (row * width + column)[:, None].expand(-1, 2, -1))

    upper = of_cell(row, column) * (1 - u)[:, None] + of_cell(row, column + 1) * u[:, None]
    lower = of_cell(row + 1, column) * (1 - u)[:, None] + of_cell(row + 1, column + 1) * u[:, None]
    return upper * (1 - v)[:, None] + lower * v[:, None]


def transfer_points_nearest(matches: CellMatches, points_b: Tensor) -> Tensor:
    """Carry points (b, 2, P) of image B to where the match of the nearest cell of B lies in image A."""
    distance = (points_b[:, 0, :, None] - matches.x_b[:, None]).square()
    distance = distance + (points_b[:, 1, :, None] - matches.y_b[:, None]).square()
    nearest = distance.argmin(dim=-1)
    return torch.stack([matches.x_a.gather(1, nearest), matches.y_a.gather(1, nearest)], dim=1)


def refine(descriptors: Tensor, fine: Tensor, expected: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Find descriptors (N, D) on a map near expected positions; returns positions (N, 2) and cosines (N,).

    ``fine`` (rows, columns, D) and ``descriptors`` are unit vectors, ``expected`` (N, 2) is x and y in cells. Searched
    are 2 radius + 1 cells each way, moved inwards at the border of the map. The position is that of the largest cosine,
    moved to the top of the quadratic surface through it and its neighbours. If it is at the rim of the window, the true
    position may lie outside: the cosine is set to -1.
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
    position = centre + torch.stack([column, row], dim=1) - radius + peak_fraction(patches)
    peak = patches[:, 1, 1]
    return position, torch.where(inside, peak, -torch.ones_like(peak))


def peak_fraction(patches: Tensor) -> Tensor:
    """Return the maximum (N, 2), x and y, of the quadratic surface through values (N, 3, 3), the largest at the centre.

    From central differences, including the mixed one. Within one step; 0 if there is no maximum.
    """
    left, right, above, below = patches[:, 1, 0], patches[:, 1, 2], patches[:, 0, 1], patches[:, 2, 1]
    peak = patches[:, 1, 1]
    x, y = (right - left) / 2, (below - above) / 2
    xx, yy = left + right - 2 * peak, above + below - 2 * peak
    xy = (patches[:, 0, 0] + patches[:, 2, 2] - patches[:, 0, 2] - patches[:, 2, 0]) / 4
    determinant = xx * yy - xy.square()
    top = torch.stack([xy * y - yy * x, xy * x - xx * y], dim=1) / determinant[:, None]
    return torch.where((determinant > 0)[:, None], top, torch.zeros_like(top)).clamp(-1, 1)
