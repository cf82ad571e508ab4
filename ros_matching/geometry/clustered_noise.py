"""Clustered noise: sums of squares over image points whose errors are correlated with those of their neighbours.

Blur, a rolling shutter, a surface at a wrong depth and repeated detections displace whole regions of an image together.
A sum of squares over single points assumes independent errors and is too small. Points are therefore summed by clusters
first, the cells of a grid. The correlation that remains between cells is a single factor: the ratio of the covariance
of Conley ("GMM estimation with cross sectional dependence", 1999) to that of independent cells. An image contains too
few independent regions to estimate it by direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_COLUMNS = 40  # in a row of the image
_RANGE = 4.0  # standard deviation of the weights of neighbouring cells, in columns
_MAX_OVERLAP = 0.7  # of the neighbourhoods of all cells; beyond it the points are too close together for an estimate


def clusters_of(points_px: np.ndarray, width: int) -> np.ndarray:
    """Column and row (N, 2) of the grid's cells in which points (N, 2) of an image lie, whose pixels are square."""
    return np.maximum(points_px * (_COLUMNS / width), 0.0).astype(np.intp)


@dataclass(frozen=True)
class ClusterSums:
    """Vectors summed by cluster: ``sums`` (R, C, D) of the grid's cells, and ``occupied`` (R, C) bool."""

    sums: np.ndarray
    occupied: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, clusters: np.ndarray) -> ClusterSums:
        """Sum vectors (N, D) by their clusters (N, 2)."""
        columns, rows = clusters.T
        shape = (int(rows.max(initial=0)) + 1, int(columns.max(initial=0)) + 1)
        cells = rows * shape[1] + columns
        size = shape[0] * shape[1]
        sums = np.stack([np.bincount(cells, column, size) for column in vectors.T], axis=1)
        return cls(sums.reshape(*shape, -1), np.bincount(cells, minlength=size).reshape(shape) > 0)

    @property
    def count(self) -> int:
        """The number of clusters."""
        return int(np.count_nonzero(self.occupied))

    def squares(self) -> np.ndarray:
        """The sum (D, D) of the squares of all clusters."""
        flat = self.sums.reshape(-1, self.sums.shape[2])
        return flat.T @ flat

    def common_factor(self, metric: np.ndarray) -> float:
        """The factor of ``squares``, at least 1, for the errors that neighbouring clusters have in common.

        ``metric`` (D, D) weights the squares, such as the inverse of their covariance. The vectors are assumed to sum
        up to zero, as at the optimum of a cost.
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
    """The weights (count, count) of the cells of a line as neighbours of each other."""
    cells = np.arange(count)
    return np.exp(-0.5 * ((cells[:, None] - cells) / _RANGE) ** 2)
