"""Occupancy grids from depth maps: free space along viewing rays, obstacles at their ends.

A keyframe votes for voxels above the ground, in layers: every surface point for its own (hit), every viewing ray for
those that it crosses (miss). A voxel is occupied by the sum of its log odds, as in OctoMap (Hornung et al. 2013). A
cell of the grid is occupied if a voxel above it is, and free if the others are known well enough: so a ray above a box
does not clear the box. Votes are exact sums, so that those of a keyframe can be taken back when its pose is corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ros_matching.datatypes import Camera, DepthMap, OccupancyGrid
from ros_matching.datatypes.grid import FREE, OCCUPIED, UNKNOWN
from ros_matching.geometry.se3 import invert, transform
from ros_matching.geometry.sim3 import rigid_part, similarity_from
from ros_matching.mapping.config import GridConfig
from ros_matching.mapping.ground_plane import GroundPlane, fit_ground

_HIT, _MISS = 0.85, 0.2  # log odds of a vote; OctoMap has 0.85 and 0.4, which loses thin surfaces such as tables
_FLOOR = 0  # layer of the ground
_KNOWN_FRACTION = 0.5  # of the layers of a free cell
_LAYERS = 10  # between min_height and max_height, at most
_SAMPLES = 400  # points of a keyframe that the ground is fitted to
_NORMAL_PX = 4  # to the neighbours that a normal is computed from
_MAX_JUMP = 0.3  # relative difference of depth to these
_RAYS_STRIDE = 2  # pixels between two rays, along rows and columns
_BITS = 24  # of a cell's index along a side
_OFFSET = 1 << (_BITS - 1)


@dataclass(eq=False)
class _Scan:
    """Depth of a keyframe, its pose as a similarity, and the votes at that pose; ``None`` until they are cast."""

    depth: np.ndarray
    camera: Camera
    world_from_camera: np.ndarray
    samples: np.ndarray  # points and their normals (N, 2, 3) in the camera
    votes: _Votes | None = None


@dataclass(frozen=True)
class _Votes:
    """Numbers of voxels (N,), sorted, with the sums of hits and misses (N,)."""

    voxels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    hits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    misses: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))


class OccupancyMapper:
    """``add`` depth maps of keyframes, ``move`` keyframes, ``grid`` for the current grid.

    ``up`` (3,) points upwards in the world: roughly with ``ground`` plane, else exactly; without it, it is opposite to
    the mean y axis of the cameras. Not for several threads at once.
    """

    def __init__(self, config: GridConfig | None = None, up: Sequence[float] | None = None) -> None:
        self.config = config or GridConfig()
        self.reason = "there is no depth map yet"
        self._up = None if up is None else np.asarray(up, np.float64)
        self._layers = max(1, min(_LAYERS, round((self.config.max_height - self.config.min_height) / self._voxel)))
        self.clear()

    @property
    def _voxel(self) -> float:
        return self.config.resolution

    def clear(self) -> None:
        """Remove all keyframes."""
        self._scans: dict[int, _Scan] = {}
        self._total = _Votes()
        self._ground: GroundPlane | None = None
        self._frame: np.ndarray | None = None  # world_from_ground
        self._has_fixed_votes = False

    def add(self, id: int, depth_map: DepthMap, world_from_camera: np.ndarray, scale: float = 1.0) -> None:
        """Add the depth map of a keyframe, NaN unknown, at its pose (4, 4); ``scale`` is as in ``DenseMapper.move``."""
        depth = np.asarray(depth_map.depth, np.float32) / np.float32(scale)
        pose = similarity_from(world_from_camera, scale)
        if id in self._scans:
            self._take_back(self._scans.pop(id))
        self._scans[id] = _Scan(depth.astype(np.float16), depth_map.camera, pose, _samples(depth, depth_map.camera))
        if len(self._scans) > self.config.max_keyframes:
            self._fix_oldest()

    def move(self, poses: Mapping[int, np.ndarray], scales: Mapping[int, float] | None = None) -> None:
        """Correct poses ``world_from_camera`` (4, 4) of keyframes by their ids, as ``DenseMapper.move``."""
        for id in poses.keys() & self._scans.keys():
            scan, pose = self._scans[id], similarity_from(poses[id], (scales or {}).get(id, 1.0))
            if not np.array_equal(pose, scan.world_from_camera) and self._moves_cells(scan, pose):
                self._take_back(scan)
                scan.world_from_camera = pose

    def grid(self) -> OccupancyGrid | None:
        """Return the grid, or ``None`` for the ``reason``: no depth, or no ground."""
        if not self._scans:
            self.reason = "there is no depth map yet"
            return None
        ground = self._current_ground()
        if ground is None:
            self.reason = (
                "no ground was found below the cameras; give its height (ground: known, floor_height) or the level "
                "(ground: height)"
            )
            return None
        self._set_ground(ground)
        self._cast_votes()
        return self._decided()

    def _moves_cells(self, scan: _Scan, pose: np.ndarray) -> bool:
        """Return True if a corrected pose moves points by more than half a cell."""
        if scan.votes is None or not len(scan.samples):
            return True
        before, after = transform(scan.world_from_camera, scan.samples[:, 0]), transform(pose, scan.samples[:, 0])
        return bool(np.abs(after - before).max() > 0.5 * self.config.resolution)

    def _current_ground(self) -> GroundPlane | None:
        """Return the ground as configured, fitted to all keyframes if it is not known."""
        if self._has_fixed_votes:
            return self._ground
        scans = self._scans.values()
        centers = np.array([scan.world_from_camera[:3, 3] for scan in scans])
        up = self._up
        if up is None:
            up = -np.sum([scan.world_from_camera[:3, 1] for scan in scans], axis=0)
        if self.config.ground == "known":
            up = up / np.linalg.norm(up)
            return GroundPlane(up, self.config.floor_height)
        points = np.concatenate([transform(scan.world_from_camera, scan.samples[:, 0]) for scan in scans])
        normals = np.concatenate([scan.samples[:, 1] @ rigid_part(scan.world_from_camera)[:3, :3].T for scan in scans])
        fitted = fit_ground(points, normals, centers, up, is_level=self.config.ground == "height")
        # A small change is not worth casting all votes again
        if fitted is None or self._ground is None:
            return fitted or self._ground
        if self._ground.differs_from(fitted, points, 0.5 * self.config.min_height):
            return fitted
        return self._ground

    def _set_ground(self, ground: GroundPlane) -> None:
        """Set the ground; on a new one, all votes are cast again."""
        if ground is self._ground:
            return
        if (
            self._ground is None
            or not np.array_equal(ground.normal, self._ground.normal)
            or ground.offset != self._ground.offset
        ):
            self._total = _Votes()
            for scan in self._scans.values():
                scan.votes = None
            first = next(iter(self._scans.values())).world_from_camera
            if self._up is None:  # the frame starts below the first camera, and looks along it
                self._frame = ground.world_from_ground(first[:3, 2], first[:3, 3])
            else:  # like the fixed frame, on the ground
                self._frame = ground.world_from_ground(np.array([1.0, 0.0, 0.0]), np.zeros(3))
        self._ground = ground

    def _cast_votes(self) -> None:
        new = [scan for scan in self._scans.values() if scan.votes is None]
        for scan in new:
            scan.votes = self._votes(scan)
        self._total = _summed([self._total, *(scan.votes for scan in new)])

    def _take_back(self, scan: _Scan) -> None:
        """Take back the votes of a keyframe."""
        if scan.votes is not None:
            votes, scan.votes = scan.votes, None
            self._total = _summed([self._total, _Votes(votes.voxels, -votes.hits, -votes.misses)])

    def _fix_oldest(self) -> None:
        """Forget the depth of the oldest keyframe; its votes stay, and with them the ground."""
        if self._ground is None and (ground := self._current_ground()) is not None:
            self._set_ground(ground)
        scan = self._scans.pop(next(iter(self._scans)))
        if self._ground is not None:
            self._has_fixed_votes = True
            if scan.votes is None:
                self._total = _summed([self._total, self._votes(scan)])

    def _votes(self, scan: _Scan) -> _Votes:
        """Return the votes of a keyframe, at most one hit or miss for a voxel."""
        config = self.config
        depth = scan.depth.astype(np.float32)
        ground_from_camera = invert(self._frame) @ scan.world_from_camera
        center = ground_from_camera[:3, 3]
        points = transform(ground_from_camera, _points(depth, scan.camera, np.flatnonzero(np.isfinite(depth))))
        near = np.linalg.norm(points - center, axis=1) <= config.max_range
        hits = self._voxels(points[near])
        rays = depth[::_RAYS_STRIDE, ::_RAYS_STRIDE]
        rows, columns = np.nonzero(np.isfinite(rays))
        ends = transform(
            ground_from_camera,
            _points(depth, scan.camera, (_RAYS_STRIDE * rows) * depth.shape[1] + _RAYS_STRIDE * columns),
        )
        crossed = np.setdiff1d(self._voxels(self._crossed(center, ends)), hits)
        voxels = np.concatenate([hits, crossed])
        order = np.argsort(voxels, kind="stable")
        is_hit = np.arange(len(voxels)) < len(hits)
        return _Votes(voxels[order], is_hit[order].astype(np.int32), (~is_hit[order]).astype(np.int32))

    def _crossed(self, center: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return points (N, 3) on the rays from the camera to surfaces: half a cell apart, between the heights."""
        config = self.config
        lengths = np.linalg.norm(ends - center, axis=1)
        ends, lengths = ends[lengths > 1e-9], lengths[lengths > 1e-9]
        directions = (ends - center) / lengths[:, None]
        # A ray ends before the surface: points next to it may be in its voxel
        last = np.minimum(lengths - 1.5 * config.resolution, config.max_range)
        with np.errstate(divide="ignore", invalid="ignore"):
            limits = (np.array([[config.min_height], [config.max_height]]) - center[2]) / directions[:, 2]
        between = config.min_height < center[2] < config.max_height
        level = ~np.isfinite(limits).all(axis=0)
        enters = np.where(level, 0.0 if between else np.inf, limits.min(axis=0))
        leaves = np.where(level, np.inf, limits.max(axis=0))
        start, stop = np.maximum(enters, 0.0), np.minimum(leaves, last)
        step = 0.5 * config.resolution
        counts = np.where(stop > start, np.floor((stop - start) / step) + 1, 0).astype(np.int64)
        ray = np.repeat(np.arange(len(ends)), counts)
        number = np.arange(len(ray)) - np.repeat(np.cumsum(counts) - counts, counts)
        return center + (start[ray] + step * number)[:, None] * directions[ray]

    def _voxels(self, points: np.ndarray) -> np.ndarray:
        """Return the sorted numbers of the voxels that contain points (N, 3), of the ground and the layers above."""
        config = self.config
        height = (config.max_height - config.min_height) / self._layers
        layer = np.floor((points[:, 2] - config.min_height) / height).astype(np.int64) + 1
        layer[np.abs(points[:, 2]) < config.min_height] = _FLOOR
        inside = (points[:, 2] > -config.min_height) & (layer <= self._layers) & (layer >= 0)
        index = np.floor(points[:, :2] / config.resolution).astype(np.int64) + _OFFSET
        inside &= ((index >= 0) & (index < 2 * _OFFSET)).all(axis=1)
        index, layer = index[inside], layer[inside]
        return np.unique(((index[:, 1] << _BITS) | index[:, 0]) * (self._layers + 1) + layer)

    def _decided(self) -> OccupancyGrid | None:
        """Return the cells by the votes of the voxels above them."""
        total, layers = self._total, self._layers + 1
        known = (total.hits > 0) | (total.misses > 0)
        cell, layer = total.voxels[known] // layers, total.voxels[known] % layers
        hits, misses = total.hits[known], total.misses[known]
        if not len(cell):
            self.reason = "no surface and no viewing ray is between the ground and the height of the robot"
            return None
        x, y = (cell & ((1 << _BITS) - 1)) - _OFFSET, (cell >> _BITS) - _OFFSET
        low, high = self._limits(x, y)
        inside = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
        x, y, layer, hits, misses = (each[inside] for each in (x, y, layer, hits, misses))
        odds = _HIT * hits - _MISS * misses
        is_obstacle = (layer != _FLOOR) & (odds > 0) & (hits >= self.config.min_hits)
        is_clear = (layer != _FLOOR) & (odds < 0)
        shape = (high[1] - low[1] + 1, high[0] - low[0] + 1)
        place = (y - low[1]) * shape[1] + x - low[0]
        size = shape[0] * shape[1]
        obstacles = np.bincount(place, is_obstacle, size) > 0
        clear = np.bincount(place, is_clear, size)
        floor = np.bincount(place, (layer == _FLOOR) & (hits > 0), size) > 0
        unsure = np.bincount(place, (layer != _FLOOR) & (hits > 0) & ~is_obstacle & (odds >= 0), size) > 0
        is_free = ~obstacles & ~unsure & ((floor & (clear > 0)) | (clear >= _KNOWN_FRACTION * self._layers))
        cells = np.full(size, UNKNOWN, np.int8)
        cells[is_free], cells[obstacles] = FREE, OCCUPIED
        origin = self.config.resolution * low.astype(np.float64)
        return OccupancyGrid(cells.reshape(shape), self.config.resolution, origin, self._frame)

    def _limits(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and last cell (2,), at most ``max_side`` around the newest keyframe."""
        newest = next(reversed(self._scans.values())).world_from_camera[:3, 3]
        center = np.floor(transform(invert(self._frame), newest[None])[0, :2] / self.config.resolution).astype(int)
        half = self.config.max_side // 2
        low = np.maximum([x.min(), y.min()], center - half)
        high = np.minimum([x.max(), y.max()], center + half - 1)
        return low, np.maximum(high, low)


def _points(depth: np.ndarray, camera: Camera, places: np.ndarray) -> np.ndarray:
    """Return the points (N, 3) in the camera of pixels by their number, row by row."""
    rows, columns = np.divmod(places, depth.shape[1])
    return camera.unproject(np.column_stack([columns, rows]).astype(np.float64)) * depth[rows, columns, None]


def _samples(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Return points spread over a depth map and their unit normals (N, 2, 3), NaN where they are unknown."""
    known = np.flatnonzero(np.isfinite(depth))
    places = known[np.linspace(0, len(known) - 1, min(_SAMPLES, len(known))).astype(int)] if len(known) else known
    rows, columns = np.divmod(places, depth.shape[1])
    sides = []
    for down, right in ((0, _NORMAL_PX), (0, -_NORMAL_PX), (_NORMAL_PX, 0), (-_NORMAL_PX, 0)):
        row, column = np.clip(rows + down, 0, depth.shape[0] - 1), np.clip(columns + right, 0, depth.shape[1] - 1)
        sides.append(_points(depth, camera, row * depth.shape[1] + column))
    points = _points(depth, camera, places)
    normals = np.cross(sides[2] - sides[3], sides[0] - sides[1])  # down x right: to the camera
    jump = np.abs(np.stack(sides)[..., 2] - points[:, 2]).max(axis=0)
    lengths = np.linalg.norm(normals, axis=1)
    smooth = (jump < _MAX_JUMP * points[:, 2]) & (lengths > 1e-12)
    normals = np.where(smooth[:, None], normals / np.where(smooth, lengths, 1)[:, None], np.nan)
    return np.stack([points, normals], axis=1)


def _summed(votes: Sequence[_Votes]) -> _Votes:
    """Return the sums of votes, without voxels that nobody votes for."""
    voxels, row = np.unique(np.concatenate([each.voxels for each in votes]), return_inverse=True)
    hits, misses = (
        np.bincount(row, np.concatenate([getattr(each, name) for each in votes]), len(voxels)).astype(np.int32)
        for name in ("hits", "misses")
    )
    kept = (hits != 0) | (misses != 0)
    return _Votes(voxels[kept], hits[kept], misses[kept])
