"""Map scale from the height of the camera above the ground, a plane among the landmarks.

Any large level plane below the camera counts as the ground if few points lie below it. A camera that observes a table
top and never the floor measures its height above the table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.robust import tukey_weight
from ros_matching.geometry.se3 import transform
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_measurement import LocalizedView, NoMeasurement, ScaleMeasurement

_KEYFRAMES = 8  # newest keyframes whose landmarks are used
_TRIALS = 300
_TOLERANCE = 0.03  # inlier distance from the plane, as a fraction of the height of the camera above it
_MIN_SPREAD = 0.004  # smallest standard deviation of the points about the plane, as the same fraction
_MIN_POINTS = 25
_MAX_BELOW = 0.05  # largest fraction of points below the ground: reflections and errors
_MIN_EXTENT = 0.25  # smallest standard deviation of the points along the plane, in heights
_MAX_DISTANCE = 8.0  # horizontal distance of points, in heights: farther ones are observed at a grazing angle
_MAX_STD = 0.05


class GroundScaleSource:
    """Fits a plane to the landmarks below the camera, and compares its distance with the height of the camera."""

    name = "height"

    def __init__(self, config: ScaleConfig, down: Callable[[], np.ndarray | None]) -> None:
        """``down`` returns the direction (3,) of gravity in the camera, ``None`` while it is unknown."""
        self._config = config
        self._down = down
        self.shared_std = config.height_sigma

    def reset(self) -> None:
        """Do nothing: the source keeps no state."""

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Measure the scale from the ratio of the two heights."""
        down = self._down()
        if down is None:
            return NoMeasurement("the extrinsics of the camera on the robot are unknown", pending=True)
        recent = [keyframe.observed for keyframe in local_map.keyframes[-_KEYFRAMES:]]
        observed = np.unique(np.concatenate(recent)) if recent else np.zeros(0, np.intp)
        points = transform(view.camera_from_world, local_map.positions_of(observed))
        plane = find_ground(points, down / np.linalg.norm(down), np.radians(self._config.ground_tilt_deg))
        if plane is None:
            return NoMeasurement("no ground found: no level plane among the landmarks below the camera")
        height, std = plane
        if std > _MAX_STD * height:
            return NoMeasurement(f"the height above the ground is too uncertain: standard deviation {std / height:.0%}")
        log_std = float(np.hypot(std / height, self.shared_std))
        return ScaleMeasurement(float(np.log(self._config.camera_height_m / height)), log_std)


def find_ground(points: np.ndarray, down: np.ndarray, max_tilt: float) -> tuple[float, float] | None:
    """Return the distance of the origin from the ground among points (N, 3), with its standard deviation, or ``None``.

    ``down`` (3,) is a unit vector; the normal of the ground differs from it by at most ``max_tilt`` radians.
    """
    across = np.linalg.svd(down[None])[2][1:]
    # Horizontal coordinates x, y, and depth below the origin
    local = points @ np.vstack([across, down]).T
    below = local[local[:, 2] > 0]
    if len(below) < _MIN_POINTS:
        return None
    slopes = _best_plane(local, below, np.tan(max_tilt))
    return None if slopes is None else _refined(below, slopes)


def _best_plane(local: np.ndarray, below: np.ndarray, max_slope: float) -> np.ndarray | None:
    """Find depth = a x + b y + c with most inliers and few points below it (RANSAC); returns (a, b, c)."""
    rng = np.random.default_rng(len(below))
    triples = below[rng.integers(0, len(below), (_TRIALS, 3))]
    matrices = np.concatenate([triples[..., :2], np.ones((_TRIALS, 3, 1))], axis=2)
    regular = np.abs(np.linalg.det(matrices)) > 1e-9
    if not regular.any():
        return None
    planes = np.linalg.solve(matrices[regular], triples[regular][..., 2:])[..., 0]
    planes = planes[(np.hypot(planes[:, 0], planes[:, 1]) < max_slope) & (planes[:, 2] > 0)]
    if not len(planes):
        return None
    residuals = local[:, 2] - _depths(planes, local)  # (P, N)
    tolerance, distance = _TOLERANCE * planes[:, 2:], np.hypot(local[:, 0], local[:, 1])
    near = distance < _MAX_DISTANCE * planes[:, 2:]
    inliers = np.count_nonzero((np.abs(residuals) < tolerance) & near, axis=1)
    # The error of the plane grows with the distance
    lower = np.count_nonzero(residuals > np.maximum(3 * tolerance, _TOLERANCE * distance), axis=1)
    inliers[lower > _MAX_BELOW * len(local)] = 0
    best = int(np.argmax(inliers))
    return planes[best] if inliers[best] >= _MIN_POINTS else None


def _refined(below: np.ndarray, plane: np.ndarray) -> tuple[float, float] | None:
    """Distance and its standard deviation after a robust fit to all points near the plane."""
    tolerance = 1.5 * _TOLERANCE * plane[2]
    below = below[np.hypot(below[:, 0], below[:, 1]) < _MAX_DISTANCE * plane[2]]
    design = np.column_stack([below[:, :2], np.ones(len(below))])
    for _ in range(10):
        residual = below[:, 2] - design @ plane
        near = np.abs(residual) < tolerance
        spread = 1.4826 * np.median(np.abs(residual[near])) if near.any() else tolerance
        weights = tukey_weight(residual, 4.685 * max(spread, _MIN_SPREAD * plane[2]))
        normal = design.T @ (weights[:, None] * design)
        if np.linalg.cond(normal) > 1e12:
            return None
        plane = np.linalg.solve(normal, design.T @ (weights * below[:, 2]))
    inliers = weights > 0
    if np.count_nonzero(inliers) < _MIN_POINTS or not plane[2] > 0:
        return None
    spread = np.linalg.svd(below[inliers, :2] - below[inliers, :2].mean(axis=0), compute_uv=False)[-1]
    if spread / np.sqrt(np.count_nonzero(inliers)) < _MIN_EXTENT * plane[2]:
        return None
    residual = below[:, 2] - design @ plane
    variance = np.sum(weights * residual**2) / np.sum(weights)
    # c is the depth of the plane below the origin, its distance is c times the cosine of the tilt
    cosine = 1 / np.sqrt(1 + plane[0] ** 2 + plane[1] ** 2)
    return float(plane[2] * cosine), float(np.sqrt(variance * np.linalg.inv(normal)[2, 2]) * cosine)


def _depths(planes: np.ndarray, local: np.ndarray) -> np.ndarray:
    return planes[:, :2] @ local[:, :2].T + planes[:, 2:]
