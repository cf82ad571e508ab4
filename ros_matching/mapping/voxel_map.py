"""A bounded map of points, at most one a voxel, each of which belongs to the keyframe that saw it first.

Points are kept in the coordinates of their keyframe's camera, so that a corrected pose moves them. A voxel is found by
its number, which packs its three indices and that of the tracker's map: points of two maps, whose places fit together
by a guess only, are never made one. The table is sorted by it, so that look-ups are binary searches.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ros_matching.datatypes import PointCloud
from ros_matching.mapping.keyframe_poses import Owners

_BITS = 19  # of each index: a quarter of a million voxels to either side of the origin
_MAPS = 1 << 6  # that are told apart; the tracker keeps fewer
_ROW = np.dtype(
    [
        ("voxel", np.int64),
        ("point", np.float32, 3),  # in the camera of its owner
        ("owner", np.int32),  # its slot
        ("seen", np.int32),  # at which insertion last
        ("count", np.int32),  # how often
        ("color", np.uint8, 3),
        ("confidence", np.float32),
    ]
)
_MAX_COUNT = 20  # sightings after which a new one weighs no less
_SHARE_KEPT = 0.9  # of the most points, when there are more


class VoxelMap:
    """``insert`` a keyframe's points, ``move`` keyframes, ``cloud`` for all points in the world."""

    def __init__(self, voxel_size: float, max_points: int, radius: float = 0.0) -> None:
        """Beyond ``radius`` of the newest keyframe points are forgotten; 0: they are not."""
        self.voxel_size = voxel_size
        self._max_points, self._radius = max_points, radius
        self._table = np.zeros(0, _ROW)
        self._owners = Owners()
        self._insertions = 0

    def __len__(self) -> int:
        return len(self._table)

    @property
    def nbytes(self) -> int:
        """The memory of the points."""
        return self._table.nbytes

    def insert(self, owner: int, world_from_camera: np.ndarray, seen: PointCloud, map_id: int = 0) -> PointCloud:
        """Add what a camera saw, in its coordinates; returned are the points of voxels that had none, in the world.

        In a voxel that has a point the two are averaged, if they are of one map.
        """
        self._insertions += 1
        rows = self._rows(self._owners.add(owner, world_from_camera, map_id), seen)
        place, known = self._find(rows["voxel"])
        self._average(place[known], rows[known])
        new = rows[~known]
        self._table = np.insert(self._table, place[~known], new)
        cloud = self._cloud(new)
        self._forget(world_from_camera[:3, 3])
        return cloud

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Give owners new poses; the points of theirs that come into a voxel with another's are merged."""
        moved = self._owners.move(poses)
        rows = np.flatnonzero(moved[self._table["owner"]]) if moved.any() else np.zeros(0, np.intp)
        voxels = self._voxels(self._table[rows])
        changed = voxels != self._table["voxel"][rows]
        if not changed.any():
            return
        arriving = self._table[rows[changed]]
        arriving["voxel"] = voxels[changed]
        self._table = np.delete(self._table, rows[changed])
        order = np.lexsort((-arriving["count"], arriving["voxel"]))
        self._settle(_first_of_each_voxel(arriving[order]))

    def cloud(self, min_count: int = 1) -> PointCloud:
        """All points that were seen by at least so many keyframes, in the world."""
        return self._cloud(self._table[self._table["count"] >= min_count])

    def _rows(self, owner: int, seen: PointCloud) -> np.ndarray:
        """What is seen as rows of the table, in order: of each voxel the most confident point."""
        rows = np.zeros(len(seen), _ROW)
        rows["point"], rows["color"], rows["confidence"] = seen.points, seen.colors, seen.confidence
        rows["owner"], rows["seen"], rows["count"] = owner, self._insertions, 1
        rows["voxel"] = self._voxels(rows)
        rows = rows[rows["voxel"] >= 0]
        return _first_of_each_voxel(rows[np.lexsort((-rows["confidence"], rows["voxel"]))])

    def _find(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where voxels (N,) are in the table, or would have to be, and whether they are."""
        place = np.searchsorted(self._table["voxel"], voxels)
        known = np.zeros(len(voxels), bool)
        inside = place < len(self._table)
        known[inside] = self._table["voxel"][place[inside]] == voxels[inside]
        return place, known

    def _settle(self, rows: np.ndarray) -> None:
        """Put rows of different voxels, in order, into the table; where a voxel has one, the more often seen stays."""
        rows = rows[rows["voxel"] >= 0]
        place, known = self._find(rows["voxel"])
        place_known, rivals = place[known], rows[known]
        wins = rivals["count"] > self._table["count"][place_known]
        self._table[place_known[wins]] = rivals[wins]
        self._table = np.insert(self._table, place[~known], rows[~known])

    def _average(self, place: np.ndarray, rows: np.ndarray) -> None:
        """Merge rows into those at ``place``, which are of the same voxels."""
        old = self._table[place]
        weight = (1 / (np.minimum(old["count"], _MAX_COUNT) + 1))[:, None]
        before = self._world(old)
        points = before + weight * (self._world(rows) - before)
        colors = old["color"] + weight * (rows["color"].astype(np.float64) - old["color"])
        old["point"] = self._owners.local(points, old["owner"])
        old["color"] = np.rint(colors).astype(np.uint8)
        old["confidence"] = np.maximum(old["confidence"], rows["confidence"])
        old["seen"] = self._insertions
        old["count"] += 1
        self._table[place] = old

    def _forget(self, center: np.ndarray) -> None:
        """Drop what is too far away, and what was seen least recently when there is too much."""
        if self._radius:
            far = np.linalg.norm(self._world(self._table) - center, axis=1) > self._radius
            self._table = self._table[~far]
        if len(self._table) > self._max_points:
            excess = len(self._table) - int(_SHARE_KEPT * self._max_points)
            oldest = np.argpartition(self._table["seen"], excess)[:excess]
            self._table = np.delete(self._table, oldest)
        self._owners.keep(self._table["owner"])

    def _voxels(self, rows: np.ndarray) -> np.ndarray:
        """The numbers (N,) of the voxels of rows; -1 for those too far from the origin to be counted."""
        index = np.floor(self._world(rows) / self.voxel_size).astype(np.int64) + (1 << (_BITS - 1))
        countable = ((index >= 0) & (index < 1 << _BITS)).all(axis=1)
        number = self._owners.maps(rows["owner"]) % _MAPS
        for axis in range(3):
            number = number << _BITS | index[:, axis]
        return np.where(countable, number, -1)

    def _world(self, rows: np.ndarray) -> np.ndarray:
        """The points (N, 3) of rows in the world."""
        return self._owners.world(rows["point"], rows["owner"])

    def _cloud(self, rows: np.ndarray) -> PointCloud:
        return PointCloud(self._world(rows), rows["color"], rows["confidence"])


def _first_of_each_voxel(rows: np.ndarray) -> np.ndarray:
    """Of rows sorted by voxel, the first of each."""
    return rows[np.diff(rows["voxel"], prepend=-2) != 0]
