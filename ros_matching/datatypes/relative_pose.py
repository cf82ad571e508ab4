"""The motion between two views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.checks import check_pose, check_shape
from ros_matching.datatypes.scale import ScaleState


@dataclass(frozen=True)
class RelativePose:
    """The motion between two cameras, estimated from ``Matches``.

    ``camera1_from_camera0`` (4, 4); ``inliers`` (M,) bool over the matches; ``covariance`` (6, 6). With
    ``UP_TO_SCALE`` the translation has unit length and its covariance is of the direction alone.
    """

    camera1_from_camera0: np.ndarray
    inliers: np.ndarray
    covariance: np.ndarray
    scale: ScaleState

    def __post_init__(self) -> None:
        check_pose("RelativePose.camera1_from_camera0", self.camera1_from_camera0)
        check_shape("RelativePose.inliers", self.inliers, (len(self.inliers),))
        check_shape("RelativePose.covariance", self.covariance, (6, 6))
