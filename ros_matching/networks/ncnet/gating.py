"""Consensus as a gate: keypoints match only where their surroundings do.

A match of two keypoints passes where the consensus of the cell of one of them points to the cell of the other, to
within a few cells. One direction is enough: where the scale differs between the images, several cells have one best
cell, and the way back misses most of them. The points remain those of the detector, which are more accurate than those
that can be read from a map of one cell for four pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ros_matching.datatypes import Matches
from ros_matching.networks.selection import with_strongest


class CoarseMap(NamedTuple):
    """The keypoints of an image on its coarse map: ``cells`` (N,), counted row by row, with ``columns`` per row."""

    cells: Tensor
    columns: int


class BestCells(NamedTuple):
    """For each cell of an image the ``cell`` (cells,) of the other that it agrees with best.

    ``agrees`` (cells,) bool: True if there is any.
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
    """Restricts the matches of keypoints: the cell of one must be near the best cell of the other's cell.

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
        cells0, cells1 = self.map0.cells.index_select(0, rows0), self.map1.cells.index_select(0, rows1)
        forth, back = self.forth.of(cells0), self.back.of(cells1)
        agrees_forth = forth.agrees & _is_near(forth.cell, cells1, self.map1.columns, self.reach)
        return agrees_forth | (back.agrees & _is_near(back.cell, cells0, self.map0.columns, self.reach))


def gated(matches: Matches, gate: Gate, least: int = 0) -> Matches:
    """Return the matches that pass the gate, and the best of the others if fewer than ``least`` pass."""
    device = gate.map0.cells.device
    rows = (torch.from_numpy(rows).to(device) for rows in (matches.indices0, matches.indices1))
    passing = with_strongest(gate.lets_through(*rows).cpu().numpy(), matches.scores, least)
    return matches.select(np.flatnonzero(passing))


def _is_near(best: Tensor, cells: Tensor, columns: int, reach: int) -> Tensor:
    """Return True for cells at most ``reach`` rows and columns from the best ones, in a map of ``columns``."""
    best_row, row = best // columns, cells // columns
    near = (best_row - row).abs() <= reach
    return near & ((best - cells - (best_row - row) * columns).abs() <= reach)
