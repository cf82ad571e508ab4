"""Learned visual odometry and dense mapping for ROS 2."""

from ros_matching.matching import load_matcher

__all__ = ["load_matcher"]
__version__ = "0.1.0"
