"""The ROS 2 nodes; the only folder that imports ROS."""
