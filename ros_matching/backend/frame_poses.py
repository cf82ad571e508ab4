"""Poses of frames relative to keyframes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.geometry.se3 import pose_from, quaternion_from_rotation, rotation_from_quaternion

_NO_KEYFRAME = -1


class FramePoses:
    """Poses of all tracked frames relative to a keyframe each, in its first unit; 72 bytes a frame."""

    def __init__(self) -> None:
        self._ids = np.zeros((0, 2), np.int64)  # stamp, keyframe
        self._values = np.zeros((0, 7))  # translation, quaternion
        self._count = 0
        self._first_free = 0  # frames from here wait for their first keyframe

    def __len__(self) -> int:
        return self._count

    def add(self, stamp_ns: int, world_from_camera: np.ndarray, keyframe: MapKeyframe | None) -> None:
        """Add a frame; ``None`` for a pose before the first keyframe, to which it will refer."""
        if self._count == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros((self._count + 64, 2), np.int64)])
            self._values = np.concatenate([self._values, np.zeros((self._count + 64, 7))])
        self._ids[self._count] = stamp_ns, _NO_KEYFRAME
        self._values[self._count] = _packed(world_from_camera)
        self._count += 1
        if keyframe is None:
            return
        for row in range(self._first_free, self._count):
            relative = keyframe.camera_from_world @ _unpacked(self._values[row])
            relative[:3, 3] /= keyframe.unit
            self._ids[row, 1], self._values[row] = keyframe.id, _packed(relative)
        self._first_free = self._count

    def in_map(self, slam_map: SlamMap, numbers: Collection[int] | None = None) -> list[tuple[int, np.ndarray]]:
        """Return stamps and poses ``map_from_camera`` (4, 4); frames of unknown keyframes are left out.

        ``numbers`` are the odometry maps whose frames are returned, ``None`` for all.
        """
        found = []
        for (stamp_ns, id), values in zip(self._ids[: self._count].tolist(), self._values, strict=False):
            placed = slam_map.pose_of(id)
            if placed is None or (numbers is not None and slam_map.map_number_of(id) not in numbers):
                continue
            pose, scale = placed
            relative = _unpacked(values)
            relative[:3, 3] *= scale
            found.append((stamp_ns, pose @ relative))
        return found


def _packed(pose: np.ndarray) -> np.ndarray:
    return np.concatenate([pose[:3, 3], quaternion_from_rotation(pose[:3, :3])])


def _unpacked(values: np.ndarray) -> np.ndarray:
    return pose_from(rotation_from_quaternion(values[3:]), values[:3])
