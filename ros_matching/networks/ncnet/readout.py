"""Matches read from the filtered correlation, as the authors do it: best cells, fine offsets, point transfer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ros_matching.networks.ncnet.network import FilteredCorrelation


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
