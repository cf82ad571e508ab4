"""What mapping makes: depth maps and clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.camera import Camera
from ros_matching.datatypes.checks import check_shape
from ros_matching.errors import DataTypeError


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
