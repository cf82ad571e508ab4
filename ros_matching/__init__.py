"""Learned visual odometry and dense mapping for ROS 2."""

from pkgutil import extend_path

# `ros_matching.msg` is generated and lies where colcon installed it, this code perhaps in a source tree: see both.
__path__ = extend_path(__path__, __name__)

from ros_matching.matching import load_matcher

__all__ = ["load_matcher"]
__version__ = "0.1.0"
