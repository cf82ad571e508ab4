"""Landmarks of a map that is kept: positions by id, in arrays that grow."""

from __future__ import annotations

import numpy as np


class LandmarkTable:
    """Landmarks by id; each follows its ``anchor``, the keyframe that observed it first.

    Arrays are in the order of ids. New ids are mostly the largest: they are appended in amortised constant time.
    """

    def __init__(self) -> None:
        self._size = 0
        self._ids = np.zeros(0, np.int64)
        self._positions = np.zeros((0, 3))
        self._anchors = np.zeros(0, np.int64)
        self._observers = np.zeros(0, np.int32)

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> np.ndarray:
        """Ids (N,) int64, increasing."""
        return self._ids[: self._size]

    @property
    def positions(self) -> np.ndarray:
        """Positions (N, 3) in the map."""
        return self._positions[: self._size]

    @property
    def anchors(self) -> np.ndarray:
        """Ids (N,) of the keyframes that the landmarks follow."""
        return self._anchors[: self._size]

    @property
    def observers(self) -> np.ndarray:
        """Numbers (N,) of keyframes that observe the landmarks."""
        return self._observers[: self._size]

    @property
    def nbytes(self) -> int:
        """Memory of the landmarks."""
        return sum(array.nbytes for array in (self.ids, self.positions, self.anchors, self.observers))

    def known(self, ids: np.ndarray) -> np.ndarray:
        """True (K,) where a landmark (K,) is in the table."""
        if not self._size:
            return np.zeros(len(ids), dtype=bool)
        return self.ids[np.minimum(np.searchsorted(self.ids, ids), self._size - 1)] == ids

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Rows (K,) of known landmarks (K,)."""
        return np.searchsorted(self.ids, ids)

    def positions_of(self, ids: np.ndarray) -> np.ndarray:
        """Positions (K, 3) of known landmarks (K,)."""
        return self.positions[self.rows(ids)]

    def put(self, ids: np.ndarray, positions: np.ndarray, anchors: np.ndarray | int) -> None:
        """Set the positions (K, 3) of different landmarks (K,); new ones follow ``anchors``, (K,) or one for all.

        New ones have no observers.
        """
        known = self.known(ids)
        self.positions[self.rows(ids[known])] = positions[known]
        order = np.argsort(ids[~known])
        anchors = np.broadcast_to(anchors, len(ids))
        self._insert(ids[~known][order], positions[~known][order], anchors[~known][order])

    def move(self, ids: np.ndarray, positions: np.ndarray) -> None:
        """Set the positions (K, 3) of known landmarks (K,)."""
        self.positions[self.rows(ids)] = positions

    def extend(self, ids: np.ndarray, positions: np.ndarray, anchors: np.ndarray) -> None:
        """Add landmarks (K,) with positions (K, 3) and anchors (K,); ids increasing and larger than all before."""
        self._insert(ids, positions, anchors)

    def observe(self, ids: np.ndarray, change: int) -> None:
        """Add ``change`` to the numbers of observers of different landmarks (K,)."""
        self.observers[self.rows(ids)] += change

    def set_anchor(self, ids: np.ndarray, anchor: int) -> None:
        """Let landmarks (K,) follow a keyframe."""
        self.anchors[self.rows(ids)] = anchor

    def remove_unobserved(self) -> None:
        """Remove landmarks without observers."""
        kept = self.observers > 0
        for name in ("_ids", "_positions", "_anchors", "_observers"):
            setattr(self, name, getattr(self, name)[: self._size][kept])
        self._size = int(np.count_nonzero(kept))

    def copy(self) -> LandmarkTable:
        """Return an independent copy."""
        copy = LandmarkTable()
        copy._size = self._size
        copy._ids, copy._positions = self.ids.copy(), self.positions.copy()
        copy._anchors, copy._observers = self.anchors.copy(), self.observers.copy()
        return copy

    def _insert(self, ids: np.ndarray, positions: np.ndarray, anchors: np.ndarray) -> None:
        count, size = len(ids), self._size
        if not count:
            return
        values = ids, positions, anchors, np.zeros(count, np.int32)
        names = ("_ids", "_positions", "_anchors", "_observers")
        if size and ids[0] < self._ids[size - 1]:
            places = np.searchsorted(self.ids, ids)
            for name, value in zip(names, values, strict=True):
                setattr(self, name, np.insert(getattr(self, name)[:size], places, value, axis=0))
        else:
            for name, value in zip(names, values, strict=True):
                array = getattr(self, name)
                if size + count > len(array):
                    room = np.zeros((2 * (size + count), *array.shape[1:]), array.dtype)
                    room[:size] = array[:size]
                    setattr(self, name, room)
                getattr(self, name)[size : size + count] = value
        self._size = size + count
