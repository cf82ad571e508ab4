"""Covariances of the tracker's poses and motions."""
