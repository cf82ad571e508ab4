"""Keyframes, which tracking hands to mapping, and the depth maps and clouds that mapping makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.arrays import check_pose, check_shape
from ros_matching.datatypes.camera import Camera
from ros_matching.datatypes.features import Features, ScaleState
from ros_matching.datatypes.frame import Frame
from ros_matching.errors import DataTypeError


@dataclass(frozen=True)
class Keyframe:
    """A frame kept for mapping, with the tracker's triangulated points observed in it.

    ``world_from_camera`` (4, 4) in the tracker's world and unit; ``sparse_points_px`` (S, 2) with ``sparse_depths``
    (S,) along z; ``sparse_point_ids`` (S,) int64, where known, is the same in all keyframes that observe the same
    landmark. ``features`` is ``None`` where only the image travels (over ROS). Between keyframes of different
    ``map_id`` place and unit are guesses; ``id`` counts through all maps.
    """

    id: int
    frame: Frame
    world_from_camera: np.ndarray
    sparse_points_px: np.ndarray
    sparse_depths: np.ndarray
    scale: ScaleState
    features: Features | None = None
    map_id: int = 0
    sparse_point_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_pose("Keyframe.world_from_camera", self.world_from_camera)
        count = len(self.sparse_depths)
        check_shape("Keyframe.sparse_points_px", self.sparse_points_px, (count, 2))
        check_shape("Keyframe.sparse_depths", self.sparse_depths, (count,))
        if self.sparse_point_ids is not None:
            check_shape("Keyframe.sparse_point_ids", self.sparse_point_ids, (count,))


@dataclass(frozen=True)
class PointCloud:
    """Coloured points: ``points`` (N, 3) float, ``colors`` (N, 3) uint8 RGB, ``confidence`` (N,) in [0, 1]."""

    points: np.ndarray
    colors: np.ndarray
    confidence: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.points)
        check_shape("PointCloud.points", self.points, (count, 3))
        check_shape("PointCloud.colors", self.colors, (count, 3))
        if self.colors.dtype != np.uint8:
            raise DataTypeError(f"PointCloud.colors must be uint8 RGB, got {self.colors.dtype}")
        check_shape("PointCloud.confidence", self.confidence, (count,))

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class DepthMap:
    """Dense depth of one camera image: ``depth`` (H, W) along z, NaN unknown, and ``confidence`` (H, W) in [0, 1]."""

    depth: np.ndarray
    confidence: np.ndarray
    camera: Camera

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        check_shape("DepthMap.depth", self.depth, shape)
        check_shape("DepthMap.confidence", self.confidence, shape)
