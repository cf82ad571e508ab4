"""Landmarks of a local map: positions and descriptors by id, as rows of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import concatenated
from ros_matching.geometry.se3 import transform

if TYPE_CHECKING:
    from ros_matching.datatypes import Array


class LocalLandmarks:
    """Landmarks in the order of their ``ids`` (N,), with ``positions`` (N, 3) and ``descriptors`` (N, D).

    ``descriptors`` are of the array type and device of the features; ``None`` before the first landmark. The ids of new
    landmarks start at ``next_id``.
    """

    def __init__(self, next_id: int) -> None:
        self.ids = np.zeros(0, np.int64)
        self.positions = np.zeros((0, 3))
        self.descriptors: Array | None = None
        self.next_id = next_id

    def __len__(self) -> int:
        return len(self.ids)

    def copy(self) -> LocalLandmarks:
        """Return an independent copy; ids are shared, as they are never changed in place."""
        copy = LocalLandmarks(self.next_id)
        copy.ids, copy.positions, copy.descriptors = self.ids, self.positions.copy(), self.descriptors
        if isinstance(self.descriptors, np.ndarray):
            copy.descriptors = self.descriptors.copy()
        elif self.descriptors is not None:
            copy.descriptors = self.descriptors.clone()
        return copy

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the rows (K,) of landmarks (K,), which must be in the map."""
        return np.searchsorted(self.ids, ids)

    def known(self, ids: np.ndarray) -> np.ndarray:
        """Return True (K,) where a landmark (K,) is in the map; ``NO_LANDMARK`` never is."""
        if not len(self):
            return np.zeros(len(ids), dtype=bool)
        rows = np.minimum(self.rows(ids), len(self) - 1)
        return self.ids[rows] == ids

    def append(self, positions: np.ndarray, descriptors: Array) -> np.ndarray:
        """Add landmarks (N, 3) with descriptors (N, D); returns their ids (N,)."""
        ids = self.next_id + np.arange(len(positions))
        self.next_id += len(positions)
        self.ids = np.concatenate([self.ids, ids])
        self.positions = np.concatenate([self.positions, positions])
        self.descriptors = descriptors if self.descriptors is None else concatenated(self.descriptors, descriptors)
        return ids

    def select(self, kept: np.ndarray) -> None:
        """Keep the landmarks where a mask (N,) is True."""
        self.ids, self.positions = self.ids[kept], self.positions[kept]
        if self.descriptors is not None:
            self.descriptors = self.descriptors[kept]

    def add_all(self, other: LocalLandmarks) -> None:
        """Add the landmarks of another map, which lies in the same world and has other ids."""
        ids = np.concatenate([self.ids, other.ids])
        order = np.argsort(ids)
        self.ids = ids[order]
        self.positions = np.concatenate([self.positions, other.positions])[order]
        self.descriptors = concatenated(self.descriptors, other.descriptors)[order]
        self.next_id = max(self.next_id, other.next_id)

    def rescale(self, factor: float, about: np.ndarray) -> None:
        """Multiply all lengths by ``factor``; the point ``about`` (3,) of the world is fixed."""
        self.positions = about + factor * (self.positions - about)

    def transform(self, new_from_old: np.ndarray) -> None:
        """Apply a rigid transform (4, 4) of the world."""
        self.positions = transform(new_from_old, self.positions)
