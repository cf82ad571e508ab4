"""Monocular visual odometry."""
