"""Place recognition: the keyframes whose images are most similar to another, by one descriptor for each image."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ros_matching.atlas.slam_map import SlamMap


class PlaceIndex:
    """Place descriptors of keyframes, unit vectors (P,), searched by one matrix product.

    For 100 000 keyframes, more than the memory of a computer holds as a map, a search takes some ten milliseconds:
    approximate search would save nothing.
    """

    def __init__(self) -> None:
        self._vectors = np.zeros((0, 0), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._rows: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, id: int, vector: np.ndarray) -> None:
        """Add a keyframe with a unit vector (P,), or replace its vector."""
        row = self._rows.get(id, len(self._rows))
        if row == len(self._ids):
            room = np.zeros((2 * row + 64, len(vector)), np.float32)
            if row:
                room[:row] = self._vectors
            self._vectors = room
            self._ids = np.concatenate([self._ids, np.zeros(len(room) - row, np.int64)])
        self._vectors[row], self._ids[row] = vector, id
        self._rows[id] = row

    def remove(self, id: int) -> None:
        """Remove a keyframe, if it is there."""
        if id not in self._rows:
            return
        row, last = self._rows.pop(id), len(self._rows)
        if row != last:
            moved = int(self._ids[last])
            self._vectors[row], self._ids[row] = self._vectors[last], moved
            self._rows[moved] = row

    def synchronize(self, slam_map: SlamMap) -> None:
        """Add the keyframes of a map that have a descriptor, and remove those that it no longer has."""
        for id in [id for id in self._rows if id not in slam_map]:
            self.remove(id)
        for id in slam_map.ids:
            if id not in self._rows and len(slam_map.keyframe(id).place_descriptor):
                self.add(id, slam_map.keyframe(id).place_descriptor)

    def search(
        self, vector: np.ndarray, count: int, excluded: Collection[int] = (), min_similarity: float = -1.0
    ) -> list[tuple[int, float]]:
        """Return up to ``count`` keyframes that are not ``excluded``: (id, cosine), the most similar first."""
        size = len(self._rows)
        if not size:
            return []
        similarity = self._vectors[:size] @ vector
        wanted = min(count + len(excluded), size)
        rows = np.argpartition(-similarity, wanted - 1)[:wanted]
        rows = rows[np.lexsort((self._ids[rows], -similarity[rows]))]
        found = [(int(self._ids[row]), float(similarity[row])) for row in rows]
        return [(id, value) for id, value in found if id not in excluded and value >= min_similarity][:count]
