"""Monocular visual odometry."""

from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.result import TrackingCounts, TrackingResult, TrackingStatus
from ros_matching.tracking.scale_anchors import make_scale_estimator
from ros_matching.tracking.scale_config import ScaleConfig
from ros_matching.tracking.scale_wheel import WheelOdometry
from ros_matching.tracking.visual_odometry import VisualOdometry

__all__ = [
    "ScaleConfig",
    "TrackingConfig",
    "TrackingCounts",
    "TrackingResult",
    "TrackingStatus",
    "VisualOdometry",
    "WheelOdometry",
    "make_scale_estimator",
]
