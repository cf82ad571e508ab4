"""What tracking hands to mapping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.checks import check_pose, check_shape
from ros_matching.datatypes.features import Features
from ros_matching.datatypes.frame import Frame
from ros_matching.datatypes.scale import ScaleState


@dataclass(frozen=True)
class Keyframe:
    """A frame kept for mapping, with the tracker's triangulated points seen in it.

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
