"""A bounded map of points, at most one per voxel, each of which belongs to the keyframe that observed it first.

Points are stored in the coordinates of their keyframe's camera, so that a corrected pose moves them. The table is
sorted by voxel number for binary search. The number packs the three indices of the voxel and the number of the
tracker's map: points of two maps, whose relative pose is unknown, are never merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import PointCloud
from ros_matching.mapping.keyframe_poses import KeyframePoses

_BITS = 19  # of each index: a quarter of a million voxels to either side of the origin
_MAPS = 1 << 6  # that are distinguished; the tracker keeps fewer
_ROW = np.dtype(
    [
        ("voxel", np.int64),
        ("point", np.float32, 3),  # in the camera of its keyframe
        ("keyframe", np.int32),  # slot
        ("observed", np.int32),  # number of the last insertion that observed it
        ("count", np.int32),  # of observations
        ("color", np.uint8, 3),
        ("confidence", np.float32),
    ]
)
_MAX_COUNT = 20  # observations from which on the weight of a new one is constant
_KEPT_FRACTION = 0.9  # of the limit, when points exceed it


@dataclass(frozen=True, eq=False)
class VoxelArrays:
    """The contents of a map: of N points, in the cameras of their keyframes, and of the K keyframes.

    ``keyframe`` (N,) are rows of the keyframes, ``observed`` (N,) numbers of insertions, ``poses`` (K, 4, 4)
    similarities ``world_from_camera``, and ``maps`` (K,) numbers of the odometry's maps.
    """

    voxel_size: float
    points: np.ndarray
    colors: np.ndarray
    confidence: np.ndarray
    keyframe: np.ndarray
    observed: np.ndarray
    count: np.ndarray
    ids: np.ndarray
    poses: np.ndarray
    maps: np.ndarray


class VoxelMap:
    """``insert`` a keyframe's points, ``move`` keyframes, ``cloud`` for all points in the world."""

    def __init__(self, voxel_size: float, max_points: int, radius: float = 0.0) -> None:
        """Points beyond ``radius`` of the newest keyframe are removed; 0: no limit."""
        self.voxel_size = voxel_size
        self._max_points, self._radius = max_points, radius
        self._table = np.zeros(0, _ROW)
        self._keyframes = KeyframePoses()
        self._insertions = 0

    @classmethod
    def restored(cls, arrays: VoxelArrays, max_points: int, radius: float = 0.0) -> VoxelMap:
        """Make the map that ``arrays`` were taken from."""
        restored = cls(arrays.voxel_size, max_points, radius)
        slots = [restored._keyframes.add(*row) for row in zip(arrays.ids, arrays.poses, arrays.maps, strict=True)]
        rows = np.zeros(len(arrays.points), _ROW)
        rows["point"], rows["color"], rows["confidence"] = arrays.points, arrays.colors, arrays.confidence
        rows["keyframe"] = np.asarray(slots, np.int32)[arrays.keyframe]
        rows["observed"], rows["count"] = arrays.observed, arrays.count
        rows["voxel"] = restored._voxels(rows)
        rows = rows[rows["voxel"] >= 0]
        restored._table = _first_of_each_voxel(rows[np.lexsort((-rows["count"], rows["voxel"]))])
        restored._insertions = int(rows["observed"].max(initial=0))
        return restored

    def arrays(self) -> VoxelArrays:
        """Return the contents, for ``restored``."""
        table = self._table
        slots, keyframe = np.unique(table["keyframe"], return_inverse=True)
        return VoxelArrays(
            self.voxel_size,
            table["point"].copy(),
            table["color"].copy(),
            table["confidence"].copy(),
            keyframe.astype(np.int32),
            table["observed"].copy(),
            table["count"].copy(),
            *self._keyframes.rows(slots),
        )

    def __len__(self) -> int:
        return len(self._table)

    @property
    def nbytes(self) -> int:
        """The memory of the points."""
        return self._table.nbytes

    def insert(
        self, keyframe_id: int, world_from_camera: np.ndarray, points: PointCloud, map_id: int = 0
    ) -> PointCloud:
        """Add points in camera coordinates; return those of new voxels, in the world.

        ``world_from_camera`` (4, 4) is rigid or a similarity. The points of a voxel are averaged, if they are of one
        map.
        """
        self._insertions += 1
        rows = self._rows(self._keyframes.add(keyframe_id, world_from_camera, map_id), points)
        row, known = self._find(rows["voxel"])
        self._average(row[known], rows[known])
        new = rows[~known]
        self._table = np.insert(self._table, row[~known], new)
        cloud = self._cloud(new)
        self._remove_excess(world_from_camera[:3, 3])
        return cloud

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Update the poses of keyframes, rigid or similarities; points that move into an occupied voxel are merged."""
        moved = self._keyframes.move(poses)
        rows = np.flatnonzero(moved[self._table["keyframe"]]) if moved.any() else np.zeros(0, np.intp)
        voxels = self._voxels(self._table[rows])
        changed = voxels != self._table["voxel"][rows]
        if not changed.any():
            return
        arriving = self._table[rows[changed]]
        arriving["voxel"] = voxels[changed]
        self._table = np.delete(self._table, rows[changed])
        order = np.lexsort((-arriving["count"], arriving["voxel"]))
        self._insert_moved(_first_of_each_voxel(arriving[order]))

    def cloud(self, min_count: int = 1) -> PointCloud:
        """Return all points that at least ``min_count`` keyframes have observed, in the world."""
        return self._cloud(self._table[self._table["count"] >= min_count])

    def _rows(self, slot: int, points: PointCloud) -> np.ndarray:
        """Return points as rows of the table, sorted, with the most confident point of each voxel."""
        rows = np.zeros(len(points), _ROW)
        rows["point"], rows["color"], rows["confidence"] = points.points, points.colors, points.confidence
        rows["keyframe"], rows["observed"], rows["count"] = slot, self._insertions, 1
        rows["voxel"] = self._voxels(rows)
        rows = rows[rows["voxel"] >= 0]
        return _first_of_each_voxel(rows[np.lexsort((-rows["confidence"], rows["voxel"]))])

    def _find(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of voxels (N,) in the table, existing or to insert, and which exist (N,) bool."""
        row = np.searchsorted(self._table["voxel"], voxels)
        known = np.zeros(len(voxels), bool)
        inside = row < len(self._table)
        known[inside] = self._table["voxel"][row[inside]] == voxels[inside]
        return row, known

    def _insert_moved(self, rows: np.ndarray) -> None:
        """Insert sorted rows of different voxels; of two points in a voxel, the one with more observations stays."""
        rows = rows[rows["voxel"] >= 0]
        row, known = self._find(rows["voxel"])
        row_known, rivals = row[known], rows[known]
        wins = rivals["count"] > self._table["count"][row_known]
        self._table[row_known[wins]] = rivals[wins]
        self._table = np.insert(self._table, row[~known], rows[~known])

    def _average(self, row: np.ndarray, rows: np.ndarray) -> None:
        """Average rows into those at ``row``, which are of the same voxels."""
        old = self._table[row]
        weight = (1 / (np.minimum(old["count"], _MAX_COUNT) + 1))[:, None]
        before = self._world(old)
        points = before + weight * (self._world(rows) - before)
        colors = old["color"] + weight * (rows["color"].astype(np.float64) - old["color"])
        old["point"] = self._keyframes.local(points, old["keyframe"])
        old["color"] = np.rint(colors).astype(np.uint8)
        old["confidence"] = np.maximum(old["confidence"], rows["confidence"])
        old["observed"] = self._insertions
        old["count"] += 1
        self._table[row] = old

    def _remove_excess(self, center: np.ndarray) -> None:
        """Remove points that are too far away, and the least recently observed above the limit."""
        if self._radius:
            far = np.linalg.norm(self._world(self._table) - center, axis=1) > self._radius
            self._table = self._table[~far]
        if len(self._table) > self._max_points:
            excess = len(self._table) - int(_KEPT_FRACTION * self._max_points)
            oldest = np.argpartition(self._table["observed"], excess)[:excess]
            self._table = np.delete(self._table, oldest)
        self._keyframes.keep(self._table["keyframe"])

    def _voxels(self, rows: np.ndarray) -> np.ndarray:
        """Return the voxel numbers (N,) of rows; -1 beyond the range of the index."""
        index = np.floor(self._world(rows) / self.voxel_size).astype(np.int64) + (1 << (_BITS - 1))
        countable = ((index >= 0) & (index < 1 << _BITS)).all(axis=1)
        number = self._keyframes.maps(rows["keyframe"]) % _MAPS
        for axis in range(3):
            number = number << _BITS | index[:, axis]
        return np.where(countable, number, -1)

    def _world(self, rows: np.ndarray) -> np.ndarray:
        """The points (N, 3) of rows in the world."""
        return self._keyframes.world(rows["point"], rows["keyframe"])

    def _cloud(self, rows: np.ndarray) -> PointCloud:
        return PointCloud(self._world(rows), rows["color"], rows["confidence"])


def _first_of_each_voxel(rows: np.ndarray) -> np.ndarray:
    """Return the first row of each voxel, of rows sorted by voxel."""
    return rows[np.diff(rows["voxel"], prepend=-2) != 0]
