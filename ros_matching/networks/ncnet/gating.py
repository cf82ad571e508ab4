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

    @property
    def places(self) -> Tensor:
        """Row and column (cells, 2) of every cell."""
        number = torch.arange(self.rows * self.columns, device=self.cells.device)
        return torch.stack([number // self.columns, number % self.columns], dim=1)


def gate(consensus: Tensor, map0: CoarseMap, map1: CoarseMap, reach: int) -> Tensor:
    """Which keypoints (N0, N1) bool may match, by the consensus (cells of image 0, cells of image 1), not negative.

    The cell of each is at most ``reach`` rows and columns from the best cell of the other.
    """
    forth = _near(consensus, map1, reach)
    back = _near(consensus.T, map0, reach).T
    return (forth & back)[map0.cells][:, map1.cells]


def nearest_allowed(descriptors0: Tensor, descriptors1: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of unit vectors (N0, D) and (N1, D), the nearest of all that are ``allowed`` (N0, N1) to each.

    Of every one of (N0, D): the nearest, whether it is that one's nearest, and the ratio of their distance to that of
    the next best partner that is allowed to either of them, which is taken to be no farther than ``_RIVAL_COSINE``.
    """
    cosines = (descriptors0 @ descriptors1.mT).masked_fill_(~allowed, -torch.inf)
    best, column = cosines.max(dim=1)
    row = cosines.argmax(dim=0)
    mutual = (row[column] == torch.arange(len(column), device=column.device)) & best.isfinite()
    cosines.scatter_(1, column[:, None], -torch.inf)
    rival = torch.maximum(cosines.amax(dim=1), cosines.amax(dim=0)[column]).clamp(min=_RIVAL_COSINE)
    return column, mutual, distance_ratio(best, rival)


def _near(consensus: Tensor, other: CoarseMap, reach: int) -> Tensor:
    """Which cells of the other image are within reach of the best one of each cell, if it has any; (cells, cells)."""
    best, cell = consensus.max(dim=1)
    distance = (other.places[cell][:, None] - other.places).abs().amax(dim=2)
    return (distance <= reach) & (best > 0)[:, None]
