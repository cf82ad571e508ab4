"""Consensus as a gate: keypoints match only where their surroundings do.

Of the keypoints of two images, those pairs are let through whose coarse cells agree by consensus, in both directions,
to within a few cells. Of the mutual nearest neighbours among all, the others are taken away; and keypoints that look
like several are matched where one of these alone is let through, or is much nearer than the others that are. The points
stay what the detector found, which is more accurate than what can be read from a map of one cell for four pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ros_matching.networks.posfeat.nearest import distance_ratio

_RIVAL_COSINE = 0.5  # of the rival that a partner is held against where no other is let through


class CoarseMap(NamedTuple):
    """The keypoints of an image on its coarse map: their ``cells`` (N,), counted row by row, of rows x columns."""

    cells: Tensor
    rows: int
    columns: int


class BestCells(NamedTuple):
    """For each cell of an image the ``cell`` (cells,) of the other that it agrees with best.

    ``agrees`` (cells,) bool: whether there is any.
    """

    cell: Tensor
    agrees: Tensor

    def of(self, cells: Tensor) -> BestCells:
        """Those of some cells (P,)."""
        return BestCells(self.cell.index_select(0, cells), self.agrees.index_select(0, cells))


def best_cells(consensus: Tensor) -> BestCells:
    """From consensus (cells, cells of the other image), not negative."""
    best, cell = consensus.max(dim=1)
    return BestCells(cell, best > 0)


class Gate(NamedTuple):
    """Which keypoints of two images may match: the cell of each is near the best one of the other's cell.

    ``forth`` are the best cells of image 1 for those of image 0, ``back`` the other way round; near is at most
    ``reach`` rows and columns away.
    """

    map0: CoarseMap
    map1: CoarseMap
    forth: BestCells
    back: BestCells
    reach: int

    def lets_through(self, rows0: Tensor, rows1: Tensor) -> Tensor:
        """Return (P,) bool for P pairs of keypoints."""
        return self._joins(self.map0.cells.index_select(0, rows0), self.map1.cells.index_select(0, rows1))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """All pairs of keypoints that are let through, rows (P,) of each image."""
        cells0, cells1 = self._joined_cells()
        first0, counts0, order0 = _by_cell(self.map0)
        first1, counts1, order1 = _by_cell(self.map1)
        place0, joined = _ranges(first0[cells0], counts0[cells0])  # keypoints of image 0 with a cell of image 1
        cells1 = cells1.index_select(0, joined)
        place1, source = _ranges(first1.index_select(0, cells1), counts1.index_select(0, cells1))
        return order0.index_select(0, place0).index_select(0, source), order1.index_select(0, place1)

    def _joined_cells(self) -> tuple[Tensor, Tensor]:
        """All pairs of cells whose keypoints may match: of those around the best one of each cell of image 0."""
        device = self.forth.cell.device
        steps = torch.arange(-self.reach, self.reach + 1, device=device)
        row = (self.forth.cell // self.map1.columns)[:, None, None] + steps[:, None]
        column = (self.forth.cell % self.map1.columns)[:, None, None] + steps
        inside = (row >= 0) & (row < self.map1.rows) & (column >= 0) & (column < self.map1.columns)
        cells1 = (row * self.map1.columns + column)[inside]
        cells0 = torch.arange(len(self.forth.cell), device=device)[:, None, None].expand_as(inside)[inside]
        joined = self._joins(cells0, cells1)
        return cells0[joined], cells1[joined]

    def _joins(self, cells0: Tensor, cells1: Tensor) -> Tensor:
        forth, back = self.forth.of(cells0), self.back.of(cells1)
        near = _is_near(forth.cell, cells1, self.map1.columns, self.reach)
        return near & _is_near(back.cell, cells0, self.map0.columns, self.reach) & forth.agrees & back.agrees


class CandidateMatches(NamedTuple):
    """Pairs of keypoints, rows (M,) of each image, and the ``ratio`` (M,) of the distance to that of the next best."""

    rows0: Tensor
    rows1: Tensor
    ratio: Tensor


def mutual_nearest(cosines: Tensor, rows0: Tensor, rows1: Tensor, counts: tuple[int, int]) -> CandidateMatches:
    """Of so many unit vectors of either image, those that are each other's nearest among the given pairs (P,).

    In ascending order of image 0. The ratio is that to the next best partner of either, which is taken to be no farther
    than ``_RIVAL_COSINE``; what is another one's nearest counts for it alone.
    """
    best0, best1 = _maxima(cosines, rows0, counts[0]), _maxima(cosines, rows1, counts[1])
    nearest0 = _first(cosines == best0.index_select(0, rows0), rows0, rows1, counts)
    nearest1 = _first(cosines == best1.index_select(0, rows1), rows1, rows0, counts[::-1])
    is_nearest0 = nearest0.index_select(0, rows0) == rows1
    mutual = (is_nearest0 & (nearest1.index_select(0, rows1) == rows0)).nonzero()[:, 0]
    mutual = mutual[rows0[mutual].argsort()]
    matched0, matched1 = rows0[mutual], rows1[mutual]
    others = cosines.masked_fill(is_nearest0, -torch.inf)
    rival = torch.maximum(_maxima(others, rows0, counts[0])[matched0], _maxima(others, rows1, counts[1])[matched1])
    return CandidateMatches(matched0, matched1, distance_ratio(cosines[mutual], rival.clamp(min=_RIVAL_COSINE)))


def _by_cell(coarse: CoarseMap) -> tuple[Tensor, Tensor, Tensor]:
    """Where the keypoints of each cell begin in the order of cells, and their number, (cells,); and that order (N,)."""
    counts = torch.bincount(coarse.cells, minlength=coarse.rows * coarse.columns)
    return counts.cumsum(0) - counts, counts, coarse.cells.argsort(stable=True)


def _ranges(first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers (P,) of K ranges, from ``first`` on and ``counts`` of them each, and which range each is of."""
    source = torch.repeat_interleave(counts)
    shift = first - (counts.cumsum(0) - counts)
    return torch.arange(len(source), device=source.device) + shift.index_select(0, source), source


def _is_near(best: Tensor, cells: Tensor, columns: int, reach: int) -> Tensor:
    """Which cells are at most ``reach`` rows and columns from the best ones, of a map of so many columns."""
    best_row, row = best // columns, cells // columns
    near = (best_row - row).abs() <= reach
    return near & ((best - cells - (best_row - row) * columns).abs() <= reach)


def _maxima(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """The largest of the values (P,) of each row, (count,); minus infinity where there is none."""
    return values.new_full((count,), -torch.inf).scatter_reduce_(0, rows, values, "amax")


def _first(chosen: Tensor, rows: Tensor, columns: Tensor, counts: tuple[int, int]) -> Tensor:
    """The first column (rows,) of the chosen pairs (P,) of each row; the number of columns where there is none."""
    candidates = torch.where(chosen, columns, counts[1])
    return columns.new_full((counts[0],), counts[1]).scatter_reduce_(0, rows, candidates, "amin")
