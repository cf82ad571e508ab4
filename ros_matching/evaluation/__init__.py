"""Measuring estimates against ground truth."""

ALIGNMENTS = (
    "sim3",
    "se3",
    "scale",
    "none",
)  # see ros_matching.evaluation.trajectory.trajectory_errors.evaluate_trajectory
