"""The poses of the keyframes that map points belong to, in a table by slots.

A pose is a similarity (4, 4) ``[s R, t; 0, 1]``: where loops are closed, the points of a keyframe are also rescaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ros_matching.geometry.sim3 import invert_similarity

_FREE = np.iinfo(np.int64).min


class KeyframePoses:
    """Pose and map number of keyframes, each in a slot; slots of removed keyframes are reused."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}  # by id
        self._ids = np.zeros(0, np.int64)  # by slot
        self._poses = np.zeros((0, 4, 4))
        self._maps = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, id: int, world_from_camera: np.ndarray, map_id: int) -> int:
        """Add or update a keyframe; return its slot."""
        id = int(id)
        slot = self._slots.get(id)
        if slot is None:
            slot = self._slots[id] = self._free_slot()
        self._ids[slot], self._poses[slot], self._maps[slot] = id, world_from_camera, map_id
        return slot

    def move(self, poses: Mapping[int, np.ndarray]) -> np.ndarray:
        """Update the poses of keyframes; return the slots (K,) bool whose pose has changed."""
        moved = np.zeros(len(self._ids), bool)
        for id, pose in poses.items():
            slot = self._slots.get(id)
            if slot is not None and not np.array_equal(self._poses[slot], pose):
                self._poses[slot], moved[slot] = pose, True
        return moved

    def keep(self, slots: np.ndarray) -> None:
        """Remove the keyframes in all other than these slots (N,), which may repeat."""
        used = np.bincount(slots, minlength=len(self._ids)) > 0
        self._slots = {id: slot for id, slot in self._slots.items() if used[slot]}
        self._ids[~used] = _FREE

    def rows(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids (K,), poses (K, 4, 4) and map numbers (K,) of the keyframes in slots (K,)."""
        return self._ids[slots], self._poses[slots], self._maps[slots]

    def maps(self, slots: np.ndarray) -> np.ndarray:
        """Return the map numbers (N,) of the keyframes in slots (N,)."""
        return self._maps[slots]

    def world(self, points: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Transform points (N, 3) from the cameras in slots (N,) to the world."""
        return _transformed(self._poses, points, slots)

    def local(self, points: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Transform points (N, 3) from the world to the cameras in slots (N,)."""
        return _transformed(invert_similarity(self._poses), points, slots)

    def _free_slot(self) -> int:
        free = np.flatnonzero(self._ids == _FREE)
        if len(free):
            return int(free[0])
        count = len(self._ids)
        room = max(8, count)
        self._ids = np.concatenate([self._ids, np.full(room, _FREE)])
        self._poses = np.concatenate([self._poses, np.tile(np.eye(4), (room, 1, 1))])
        self._maps = np.concatenate([self._maps, np.zeros(room, np.int64)])
        return count


def _transformed(poses: np.ndarray, points: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Transform points column by column; a matrix per point would need more memory than the points."""
    moved = poses[slots, :3, 3]
    for column in range(3):
        moved += poses[slots, :3, column] * points[:, column, None]
    return moved
