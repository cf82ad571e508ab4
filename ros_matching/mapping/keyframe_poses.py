"""The keyframes that own the points of a map, by small numbers, so that a point finds its pose without a search."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ros_matching.geometry.se3 import invert

_NOBODY = -1


class Owners:
    """Poses and map numbers of keyframes, each in a slot; the slot of a forgotten keyframe goes to the next one."""

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}  # by id
        self._ids = np.zeros(0, np.int64)  # by slot
        self._poses = np.zeros((0, 4, 4))
        self._maps = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, id: int, world_from_camera: np.ndarray, map_id: int) -> int:
        """Note a keyframe, known or not; its slot."""
        slot = self._slots.get(id)
        if slot is None:
            slot = self._slots[id] = self._free_slot()
        self._ids[slot], self._poses[slot], self._maps[slot] = id, world_from_camera, map_id
        return slot

    def move(self, poses: Mapping[int, np.ndarray]) -> np.ndarray:
        """Give keyframes other poses; per slot (K,) bool, whether its pose is another one now."""
        moved = np.zeros(len(self._ids), bool)
        for id, pose in poses.items():
            slot = self._slots.get(id)
            if slot is not None and not np.array_equal(self._poses[slot], pose):
                self._poses[slot], moved[slot] = pose, True
        return moved

    def keep(self, slots: np.ndarray) -> None:
        """Forget the keyframes in all but these slots (N,), with repetitions."""
        used = np.bincount(slots, minlength=len(self._ids)) > 0
        self._slots = {id: slot for id, slot in self._slots.items() if used[slot]}
        self._ids[~used] = _NOBODY

    def maps(self, slots: np.ndarray) -> np.ndarray:
        """The numbers (N,) of the maps that the keyframes in slots (N,) are in."""
        return self._maps[slots]

    def world(self, points: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Points (N, 3), each in the camera in its slot, in the world."""
        return _transformed(self._poses, points, slots)

    def local(self, points: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the world, each in the camera in its slot."""
        return _transformed(invert(self._poses), points, slots)

    def _free_slot(self) -> int:
        free = np.flatnonzero(self._ids == _NOBODY)
        if len(free):
            return int(free[0])
        count = len(self._ids)
        room = max(8, count)
        self._ids = np.concatenate([self._ids, np.full(room, _NOBODY)])
        self._poses = np.concatenate([self._poses, np.tile(np.eye(4), (room, 1, 1))])
        self._maps = np.concatenate([self._maps, np.zeros(room, np.int64)])
        return count


def _transformed(poses: np.ndarray, points: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Column by column: a matrix for each point would take more memory than the points."""
    moved = poses[slots, :3, 3]
    for column in range(3):
        moved += poses[slots, :3, column] * points[:, column, None]
    return moved
