"""The ground below the cameras: a plane with its normal upwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.geometry.se3 import pose_from

_MAX_TILT_DEG = 35.0  # of the ground against the given direction
_SAME_NORMAL_DEG = 10.0
_HORIZONTAL_DEG = 25.0  # normals of points on the ground
_DIRECTIONS = 200  # candidates for the upward direction
_LEVELS = 400  # candidates for the height
_MIN_POINTS = 40
_MIN_FRACTION = 0.01  # of the points, on the ground
_MAX_BELOW = 0.5  # points clearly below the ground for each on it: more, and it is a table
_TOLERANCE = 0.02  # of the median distance of the points
_BELOW = 4  # tolerances
_REFINEMENTS = 4


@dataclass(frozen=True)
class GroundPlane:
    """Points p with ``normal @ p = offset``; ``normal`` (3,) is a unit vector that points up."""

    normal: np.ndarray
    offset: float

    def heights(self, points: np.ndarray) -> np.ndarray:
        """Return the heights (N,) of points (N, 3) above the plane."""
        return points @ self.normal - self.offset

    def world_from_ground(self, forward: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Return the frame (4, 4) on the plane below ``origin`` (3,), with x along ``forward`` (3,) and z up.

        If ``forward`` is vertical, x is any direction on the plane.
        """
        x = forward - (forward @ self.normal) * self.normal
        if not np.linalg.norm(x) > 1e-3:
            axis = np.eye(3)[np.argmin(np.abs(self.normal))]
            x = axis - (axis @ self.normal) * self.normal
        x /= np.linalg.norm(x)
        rotation = np.stack([x, np.cross(self.normal, x), self.normal], axis=1)
        return pose_from(rotation, origin - self.heights(origin[None])[0] * self.normal)

    def differs_from(self, other: GroundPlane, centers: np.ndarray, distance: float) -> bool:
        """Return True if heights of two planes differ by more than a distance at some of the positions (N, 3)."""
        return bool(np.abs(self.heights(centers) - other.heights(centers)).max() > distance)


def fit_ground(
    points: np.ndarray, normals: np.ndarray, centers: np.ndarray, up: np.ndarray, *, is_level: bool
) -> GroundPlane | None:
    """Find the ground below cameras at ``centers`` (K, 3); ``None`` if there is none.

    ``points`` (N, 3) are on surfaces with unit ``normals`` (N, 3), NaN unknown, that point to the camera. ``up`` (3,)
    is a rough direction, or with ``is_level`` the exact one. The ground is the lowest level with enough horizontal
    points and few points below it. Deterministic.
    """
    up = up / np.linalg.norm(up)
    if not is_level:
        up = _upward(normals, up)
    if up is None:
        return None
    with np.errstate(invalid="ignore"):
        is_floor_like = normals @ up > np.cos(np.radians(_HORIZONTAL_DEG))
    is_floor_like &= points @ up < (centers @ up).min()
    if is_floor_like.sum() < _MIN_POINTS:
        return None
    distance = np.median(np.linalg.norm(points - np.median(centers, axis=0), axis=1))
    tolerance = _TOLERANCE * float(distance)
    flat = points[is_floor_like]
    plane = _level(flat, points, up, tolerance)
    for number in range(_REFINEMENTS if plane is not None else 0):
        # First wide, for the tilt, then narrow, without what stands on the ground
        inliers = flat[np.abs(plane.heights(flat)) < tolerance / (1 + number)]
        if len(inliers) < _MIN_POINTS:
            return None
        plane = _refined(inliers, up, is_level=is_level)
    return plane


def _upward(normals: np.ndarray, up: np.ndarray) -> np.ndarray | None:
    """Return the direction that most normals near ``up`` share."""
    with np.errstate(invalid="ignore"):
        near = normals[normals @ up > np.cos(np.radians(_MAX_TILT_DEG))]
    if len(near) < _MIN_POINTS:
        return None
    same = np.cos(np.radians(_SAME_NORMAL_DEG))
    candidates = near[np.linspace(0, len(near) - 1, _DIRECTIONS).astype(int)]
    best = candidates[np.argmax((near @ candidates.T > same).sum(axis=0))]
    for _ in range(_REFINEMENTS):
        best = near[near @ best > same].mean(axis=0)
        best /= np.linalg.norm(best)
    return best


def _level(flat: np.ndarray, points: np.ndarray, up: np.ndarray, tolerance: float) -> GroundPlane | None:
    """Return the lowest level with enough horizontal points (M, 3), and few of all points (N, 3) below it."""
    flat_heights, heights = np.sort(flat @ up), np.sort(points @ up)
    levels = np.quantile(flat_heights, np.linspace(0, 1, _LEVELS))
    on = np.searchsorted(flat_heights, levels + tolerance) - np.searchsorted(flat_heights, levels - tolerance)
    below = np.searchsorted(heights, levels - _BELOW * tolerance)
    is_ground = (on >= max(_MIN_POINTS, _MIN_FRACTION * len(points))) & (below < _MAX_BELOW * on)
    if not is_ground.any():
        return None
    lowest = levels[np.argmax(is_ground)]
    near = (levels >= lowest) & (levels < lowest + _BELOW * tolerance)
    return GroundPlane(up, float(levels[near][np.argmax(on[near])]))


def _refined(inliers: np.ndarray, up: np.ndarray, *, is_level: bool) -> GroundPlane:
    """Return the plane of least squares."""
    center = inliers.mean(axis=0)
    if is_level:
        return GroundPlane(up, float(np.median(inliers @ up)))
    normal = np.linalg.svd(inliers - center, full_matrices=False)[2][2]
    normal = normal if normal @ up > 0 else -normal
    return GroundPlane(normal, float(normal @ center))
