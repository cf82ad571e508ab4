"""Trajectories and covariances against ground truth."""
