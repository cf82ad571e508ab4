"""Reader of recorded bags: ROS 2 (sqlite3, MCAP), ROS 1, and MCAP files of Foxglove."""

from ros_matching.io.bags.bag_source import FORMAT

__all__ = ["FORMAT"]
