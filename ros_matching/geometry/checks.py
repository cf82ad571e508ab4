"""Checks of points, poses and weights that all routines of this folder share."""

from __future__ import annotations

import numpy as np

from ros_matching.errors import GeometryError


def as_points(name: str, points: np.ndarray, dimension: int) -> np.ndarray:
    """The points as a contiguous float64 array (N, dimension); another shape or a non-finite value raises."""
    array = np.ascontiguousarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise GeometryError(f"{name} must have shape (N, {dimension}), got {array.shape}")
    if not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise GeometryError(
            f"{name} must be finite, but {len(rows)} of {len(array)} rows are not (first: {rows[0]}); "
            "leave unknown points out"
        )
    return array


def as_pose(name: str, pose: np.ndarray) -> np.ndarray:
    """The transform as a float64 array (4, 4); another shape or a non-finite value raises ``GeometryError``."""
    pose = np.asarray(pose, dtype=np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise GeometryError(f"{name} must be a finite (4, 4) transform, got {pose.tolist()}")
    return pose


def as_correspondences(points0: np.ndarray, points1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corresponding pixels of two images, (N, 2) each."""
    points0, points1 = as_points("points0", points0, 2), as_points("points1", points1, 2)
    require_length("points1", points1, len(points0))
    return points0, points1


def as_weights(weights: np.ndarray | None, count: int) -> np.ndarray:
    """Weights (N,), at least zero and finite; ones where there are none."""
    if weights is None:
        return np.ones(count)
    weights = np.asarray(weights, dtype=np.float64)
    require_length("weights", weights, count)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise GeometryError("weights must be a (N,) array of finite numbers, none below zero")
    return weights


def require_length(name: str, array: np.ndarray, count: int) -> None:
    """Raise ``GeometryError`` unless the array has ``count`` rows."""
    if len(array) != count:
        raise GeometryError(f"{name} must have {count} rows, one for each point, got {len(array)}")
