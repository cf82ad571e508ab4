"""Monocular visual odometry."""

from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.result import TrackingCounts, TrackingResult, TrackingStatus
from ros_matching.tracking.visual_odometry import VisualOdometry

__all__ = ["TrackingConfig", "TrackingCounts", "TrackingResult", "TrackingStatus", "VisualOdometry"]
