"""The scale of the map: sources that measure it, and the estimator that combines them."""

from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_sources import make_scale_estimator
from ros_matching.scale.wheel_scale import WheelOdometry

__all__ = ["ScaleConfig", "WheelOdometry", "make_scale_estimator"]
