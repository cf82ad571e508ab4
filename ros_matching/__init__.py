"""Learned visual odometry and dense mapping for ROS 2."""

__version__ = "0.1.0"
