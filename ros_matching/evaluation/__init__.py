"""Measuring estimates against ground truth."""

ALIGNMENTS = ("sim3", "se3", "scale", "none")  # see ros_matching.evaluation.trajectory.evaluate_trajectory
