"""A dense mapper with one point per keyframe: two units before its camera."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ros_matching.datatypes import Keyframe, PointCloud
from ros_matching.geometry.se3 import transform
from ros_matching.mapping import MappingResult, MappingStatus


class WallMapper:
    """Maps every keyframe at once."""

    def __init__(self) -> None:
        self.added: list[int] = []
        self.moved: dict[int, np.ndarray] = {}

    def add(self, keyframe: Keyframe) -> MappingResult:
        self.added.append(keyframe.id)
        point = transform(keyframe.world_from_camera, np.array([[0.0, 0.0, 2.0]]))
        cloud = PointCloud(point, np.zeros((1, 3), np.uint8), np.ones(1))
        return MappingResult(keyframe, MappingStatus.MAPPED, cloud=cloud)

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        self.moved |= poses

    def finish(self) -> list[MappingResult]:
        return []
