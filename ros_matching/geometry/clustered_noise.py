"""Sums of squares over the points of an image whose errors are alike where they are near each other.

Detectors find a thing twice, and blur, a rolling shutter or a surface at a wrong depth put whole surroundings off
together. A sum of squares over single points takes them for independent, and promises too much. So points are added up
by place first, the cells of a grid; and what that leaves is told by one factor: how much more sums over wider
surroundings scatter than those of independent places would (the covariance of Conley, "GMM estimation with cross
sectional dependence", 1999, against the one by cells). It is one number for all directions, as there are too few
independent surroundings in an image to tell more.

How far it reaches: the residuals of landmarks are correlated by 0.1 at a twentieth of the image's width and up to a
fifth of it in real video (hololens_000, redkitchen), and not beyond a fortieth in rendered one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_COLUMNS = 40  # in a row of the image
_REACH = 4.0  # standard deviation of the surroundings' weights, in columns
_MAX_OVERLAP = 0.7  # of all surroundings with each other: beyond it the points lie too near each other to tell


def places_of(points_px: np.ndarray, width: int) -> np.ndarray:
    """Column and row (N, 2) of the grid's cells in which points (N, 2) of an image lie, whose pixels are square."""
    return np.maximum(points_px * (_COLUMNS / width), 0.0).astype(np.intp)


@dataclass(frozen=True)
class PlaceSums:
    """Vectors added up by place: ``sums`` (R, C, D), and ``occupied`` (R, C) where there are any."""

    sums: np.ndarray
    occupied: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, places: np.ndarray) -> PlaceSums:
        """Of vectors (N, D) at places (N, 2)."""
        columns, rows = places.T
        shape = (int(rows.max(initial=0)) + 1, int(columns.max(initial=0)) + 1)
        cells = rows * shape[1] + columns
        size = shape[0] * shape[1]
        sums = np.stack([np.bincount(cells, column, size) for column in vectors.T], axis=1)
        return cls(sums.reshape(*shape, -1), np.bincount(cells, minlength=size).reshape(shape) > 0)

    @property
    def count(self) -> int:
        """How many places there are."""
        return int(np.count_nonzero(self.occupied))

    def squares(self) -> np.ndarray:
        """The sum (D, D) of the squares of all places."""
        flat = self.sums.reshape(-1, self.sums.shape[2])
        return flat.T @ flat

    def common_factor(self, metric: np.ndarray) -> float:
        """By what errors that neighbouring places have in common multiply ``squares``, at least 1.

        ``metric`` (D, D) is what the squares are measured with, such as the inverse of their covariance. The vectors
        are taken to add up to zero, as at the optimum of a cost.
        """
        rows, columns = self.occupied.shape
        around = np.tensordot(_weights(rows), self.sums, 1)  # (R, C, D)
        around = np.matmul(_weights(columns), around)
        overlap = np.sum(self.occupied * (_weights(rows) @ self.occupied @ _weights(columns))) / max(self.count, 1) ** 2
        measured = (self.sums.reshape(-1, len(metric)) @ metric).ravel()
        near, single = around.ravel() @ measured, self.sums.ravel() @ measured
        if not single > 0:
            return 1.0
        return max(float(near / single) / (1.0 - min(overlap, _MAX_OVERLAP)), 1.0)


@lru_cache(maxsize=32)
def _weights(count: int) -> np.ndarray:
    """How much cells of a line (count,) count as surroundings of each other."""
    cells = np.arange(count)
    return np.exp(-0.5 * ((cells[:, None] - cells) / _REACH) ** 2)
