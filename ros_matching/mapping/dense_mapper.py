"""Dense mapping: ``DenseMapper(estimator).add(keyframe)`` for one keyframe after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ros_matching.datatypes import Camera, DepthMap, Keyframe, PointCloud, ScaleState
from ros_matching.errors import GeometryError
from ros_matching.geometry.checks import as_pose
from ros_matching.geometry.sim3 import similarity_from
from ros_matching.mapping.config import MappingConfig
from ros_matching.mapping.depth_consistency import depth_points, filter_depth
from ros_matching.mapping.depth_pyramid import merge_levels
from ros_matching.mapping.plane_filling import fill_planes
from ros_matching.mapping.result import MappingCounts, MappingResult, MappingStatus
from ros_matching.mapping.view_selection import choose_views, depth_range, sparse_points
from ros_matching.mapping.voxel_map import VoxelArrays, VoxelMap
from ros_matching.networks import DEPTH_NETWORKS
from ros_matching.networks.pbs_mvsnet.estimator import DepthEstimator, DepthPyramid
from ros_matching.stages import StageTimer

_USABLE = 0.99  # of the pixels that a pixel of a depth map covers
_VOXELS_IN_DEPTH = 100  # default voxel size as a fraction of the first depths


class PyramidEstimator(Protocol):
    """Estimates depth at all levels of the pyramid; see ``networks.pbs_mvsnet.estimator.DepthEstimator``."""

    def estimate_pyramid(
        self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]
    ) -> DepthPyramid:
        """Return the depth maps of the reference, from coarse to fine."""


@dataclass(eq=False)
class _View:
    """A keyframe in the window with its state of processing."""

    keyframe: Keyframe
    scale: float = 1.0  # of the lengths in it, since it was added
    depth_range: tuple[float, float] | None = None
    sources: int = 0
    pyramid: DepthPyramid | None = None
    refused: str = ""
    is_done: bool = False

    def correct(self, pose: np.ndarray, scale: float) -> None:
        """Set the pose (4, 4), and the factor on all lengths since the keyframe was added."""
        factor, self.scale = scale / self.scale, scale
        depths = self.keyframe.sparse_depths * factor
        self.keyframe = replace(self.keyframe, world_from_camera=pose, sparse_depths=depths)
        if self.depth_range is not None:
            self.depth_range = self.depth_range[0] * factor, self.depth_range[1] * factor
        if self.pyramid is not None:
            levels = tuple(replace(level, depth=level.depth * np.float32(factor)) for level in self.pyramid.levels)
            self.pyramid = replace(self.pyramid, levels=levels, world_from_camera=pose)


class DenseMapper:
    """Converts keyframes to depth maps and one bounded cloud, in the world and the unit of the keyframes' poses.

    A keyframe's depth is estimated when ``delay`` later ones exist, and compared with its neighbours' when theirs
    is; so ``add`` reports on an earlier keyframe than that added, and every keyframe is reported as MAPPED or REFUSED
    once. Constant memory and time. One thread at a time, but ``cloud`` may be called from another one meanwhile.
    """

    def __init__(self, estimator: PyramidEstimator, config: MappingConfig | None = None) -> None:
        self.config = config or MappingConfig()
        self.estimator = estimator
        self._stages = StageTimer()
        self._views: deque[_View] = deque(maxlen=config.window)
        self._map: VoxelMap | None = None
        self._map_lock = threading.Lock()
        self._unit: ScaleState | None = None  # of the map

    def add(self, keyframe: Keyframe) -> MappingResult:
        """Add a keyframe, and map the one that now has enough later keyframes.

        Never raises for an unusable keyframe: the result is REFUSED with a reason. Keyframes are compared and
        fused with those of the same ``map_id`` alone. An id that does not increase, of a tracker that was reset, and
        another unit of length (``ScaleState.shares_unit``) clear the map and all keyframes first.
        """
        reason = _defect(keyframe, self.config)
        if not reason and not self._views and self._unit is not None and not self._unit.shares_unit(keyframe.scale):
            reason = f"the map that was loaded is {self._unit.value}, and this keyframe {keyframe.scale.value}"
        if reason:
            return self._result(_View(keyframe), MappingStatus.REFUSED, reason)
        if self._views and not _continues(self._views[-1].keyframe, keyframe):
            self.clear()
        self._views.append(_View(keyframe))
        self._unit = keyframe.scale
        result = self._step(len(self._views) - 1 - self.config.delay)
        later = 2 * self.config.delay
        return result or self._result(self._views[-1], MappingStatus.WAITING, f"for {later} later keyframes")

    def finish(self) -> list[MappingResult]:
        """Map the keyframes that wait for later ones, at the end of a sequence."""
        count, delay = len(self._views), self.config.delay
        results = [self._step(row) for row in range(count - delay, count + delay)]
        return [result for result in results if result is not None]

    def move(self, poses: Mapping[int, np.ndarray], scales: Mapping[int, float] | None = None) -> None:
        """Correct poses ``world_from_camera`` (4, 4) of keyframes by their ids; their points move with them.

        ``scales`` are the factors on all lengths of keyframes since they were added, 1 where there is none: the points
        are rescaled about their camera. Unknown ids are ignored. Raises ``GeometryError`` for a pose or scale that is
        not finite.
        """
        poses = {id: as_pose(f"the pose of keyframe {id}", pose) for id, pose in poses.items()}
        factors = {id: _as_scale(id, (scales or {}).get(id, 1.0)) for id in poses}
        for view in self._views:
            if view.keyframe.id in poses:
                view.correct(poses[view.keyframe.id], factors[view.keyframe.id])
        if self._map is not None:
            with self._map_lock:
                self._map.move({id: similarity_from(pose, factors[id]) for id, pose in poses.items()})

    def cloud(self) -> PointCloud:
        """Return the whole map, one point per voxel that ``min_observations`` keyframes have observed, in the world."""
        map = self._map
        if map is None:
            return PointCloud(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
        with self._map_lock:
            return map.cloud(self.config.min_observations)

    def clear(self) -> None:
        """Remove the map and all keyframes."""
        self._views.clear()
        self._map = self._unit = None

    def arrays(self) -> tuple[VoxelArrays, ScaleState] | None:
        """Return the contents of the map and its unit, to go on later with ``restore``; ``None`` if it is empty."""
        with self._map_lock:
            return None if not self._map or self._unit is None else (self._map.arrays(), self._unit)

    def restore(self, arrays: VoxelArrays, unit: ScaleState) -> None:
        """Continue a map: its keyframes can be moved by their ids, new ones are added to it.

        Until the first keyframe in its unit, all are refused.
        """
        self.clear()
        self._map = VoxelMap.restored(arrays, self.config.max_points, self.config.radius)
        self._unit = unit

    @property
    def nbytes(self) -> int:
        """The memory of the map's points."""
        return 0 if self._map is None else self._map.nbytes

    def _step(self, row: int) -> MappingResult | None:
        """Estimate the depth of one keyframe of the window, and finish the one ``delay`` before it."""
        if 0 <= row < len(self._views):
            self._estimate(self._views[row])
        row -= self.config.delay
        if not 0 <= row < len(self._views) or self._views[row].is_done:
            return None
        view = self._views[row]
        view.is_done = True
        return self._finish(view)

    def _estimate(self, view: _View) -> None:
        """Estimate the depth pyramid of a keyframe from its best neighbours, or set the reason if it has none."""
        if view.pyramid is not None:
            return
        # Select the source views
        others = [other for other in self._views if other is not view]
        neighbours, view.refused = self._neighbours(view, others, self.config.views - 1)
        sources = [other.keyframe for other in neighbours]
        if not sources:
            return
        # Determine the depth range from sparse points
        view.depth_range, view.refused = depth_range(view.keyframe, sources, self.config)
        if view.depth_range is None:
            return
        # Estimate depth
        view.sources = len(sources)
        with self._stages("depth"):
            pyramid = self.estimator.estimate_pyramid(view.keyframe, sources, view.depth_range)
            view.pyramid = _masked(pyramid, view.keyframe.frame.mask)

    def _neighbours(self, view: _View, others: Sequence[_View], count: int) -> tuple[list[_View], str]:
        """Return up to ``count`` of the others with enough overlap, best first, and the reason if there are none."""
        others = [other for other in others if other.keyframe.map_id == view.keyframe.map_id]
        with self._stages("select"):
            rows, reason = choose_views(view.keyframe, [other.keyframe for other in others], count, self.config)
        return [others[row] for row in rows], reason

    def _finish(self, view: _View) -> MappingResult:
        """Repair a keyframe's depth by its coarse levels, filter it, fill its holes, and add it to the map."""
        if view.pyramid is None:
            return self._result(view, MappingStatus.REFUSED, view.refused)
        # Select the views to compare with
        estimated = [other for other in self._views if other is not view and other.pyramid is not None]
        others, _ = self._neighbours(view, estimated, self.config.max_compared)
        if len(others) < self.config.min_consistent:
            return self._result(
                view,
                MappingStatus.REFUSED,
                f"its depth can only be compared with that of {len(others)} other keyframes, and "
                f"{self.config.min_consistent} have to agree",
            )
        # Replace unconfident depths by coarse ones, keep the consistent depths, fill holes in planes
        with self._stages("filter"):
            view.pyramid = merge_levels(view.pyramid, [other.pyramid for other in others], self.config)
            maps = [(other.pyramid.finest, other.keyframe.world_from_camera) for other in others]
            depth_map, counts = filter_depth(view.pyramid.finest, view.keyframe.world_from_camera, maps, self.config)
            if self.config.max_plane_error:
                frame = view.keyframe.frame
                usable = None if frame.mask is None else _usable(frame.mask, depth_map.camera)
                depth_map = fill_planes(depth_map, frame.image, usable, self.config.max_plane_error)
                counts = replace(counts, filled=int(np.isfinite(depth_map.depth).sum()) - counts.consistent)
        # Fuse them with the map
        with self._stages("fuse"):
            cloud = self._fuse(view, depth_map)
        counts = replace(counts, sources=view.sources)
        return self._result(view, MappingStatus.MAPPED, "", counts, depth_map=depth_map, cloud=cloud)

    def _fuse(self, view: _View, depth_map: DepthMap) -> PointCloud:
        """Add a filtered depth map to the map; return its new points."""
        if self._map is None:
            size = self.config.voxel_size or float(np.median(view.keyframe.sparse_depths)) / _VOXELS_IN_DEPTH
            self._map = VoxelMap(size, self.config.max_points, self.config.radius)
        points = depth_points(depth_map, view.keyframe)
        pose = view.keyframe.world_from_camera
        if view.scale != 1.0:
            points, pose = replace(points, points=points.points / view.scale), similarity_from(pose, view.scale)
        with self._map_lock:
            return self._map.insert(view.keyframe.id, pose, points, view.keyframe.map_id)

    def _result(
        self,
        view: _View,
        status: MappingStatus,
        reason: str,
        counts: MappingCounts | None = None,
        *,
        depth_map: DepthMap | None = None,
        cloud: PointCloud | None = None,
    ) -> MappingResult:
        return MappingResult(
            keyframe=view.keyframe,
            status=status,
            reason=reason,
            depth_map=depth_map,
            cloud=cloud,
            depth_range=view.depth_range,
            counts=replace(
                counts or MappingCounts(),
                points=0 if cloud is None else len(cloud),
                map_points=0 if self._map is None else len(self._map),
            ),
            stage_ms=self._stages.take(),
        )


def load_dense_mapper(
    device: str = "auto",
    config: MappingConfig | None = None,
    *,
    weights: Path | str | None = None,
    network: str = DEPTH_NETWORKS[0],
) -> DenseMapper:
    """Load a mapper on ``device``: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    ``weights`` is a file for ``network``, by default that of the package. Raises ``CheckpointError`` if weights are
    missing or damaged, and ``ConfigError`` if the device is not available.
    """
    from ros_matching.networks.checkpoint import load_named, weights_file
    from ros_matching.networks.engines import torch_device

    config = config or MappingConfig()
    where = torch_device(device)
    loaded = load_named(Path(weights) if weights else weights_file(network), network)
    return DenseMapper(DepthEstimator(loaded.to(where), config), config)


def _as_scale(id: int, scale: float) -> float:
    if not (np.isfinite(scale) and scale > 0):
        raise GeometryError(f"the scale of keyframe {id} must be a positive number, got {scale}")
    return float(scale)


def _masked(pyramid: DepthPyramid, mask: np.ndarray | None) -> DepthPyramid:
    """Return the depth maps without depth where the mask (H, W) of the image excludes it."""
    if mask is None:
        return pyramid
    levels = []
    for level in pyramid.levels:
        usable = _usable(mask, level.camera)
        depth = np.where(usable, level.depth, np.float32(np.nan))
        levels.append(replace(level, depth=depth, confidence=np.where(usable, level.confidence, 0)))
    return replace(pyramid, levels=tuple(levels))


def _usable(mask: np.ndarray, camera: Camera) -> np.ndarray:
    """Return (h, w) bool, True for the pixels of a depth map that a mask (H, W) does not exclude."""
    size = camera.width, camera.height
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > _USABLE


def _continues(last: Keyframe, keyframe: Keyframe) -> bool:
    """Return True if a keyframe continues the run of the last, in the same unit."""
    return keyframe.id > last.id and last.scale.shares_unit(keyframe.scale)


def _defect(keyframe: Keyframe, config: MappingConfig) -> str:
    """Return the reason why a keyframe cannot be used; empty if it can."""
    if not np.isfinite(keyframe.world_from_camera).all():
        return "its pose is not finite"
    if not keyframe.frame.camera.is_pinhole:
        model = keyframe.frame.camera.distortion_model.value
        return f"its image has {model} distortion; undistort it first (ros_matching.geometry.distortion.Undistorter)"
    count = len(sparse_points(keyframe))
    if count < config.min_sparse_points:
        return f"it has {count} sparse points with a depth, and {config.min_sparse_points} are needed"
    return ""
