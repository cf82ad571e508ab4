"""Epipolar geometry: ``x1^T F x0 = 0`` for pixels, ``y1^T E y0 = 0`` for viewing rays, of images 0 and 1."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.errors import GeometryError
from ros_matching.geometry.checks import as_correspondences, as_weights
from ros_matching.geometry.se3 import skew

_MIN_POINTS = 8


def essential_from_pose(camera1_from_camera0: np.ndarray) -> np.ndarray:
    """The essential matrix (3, 3) ``[t]x R`` of unit translation; a pose without translation has none and raises."""
    translation = camera1_from_camera0[:3, 3]
    length = np.linalg.norm(translation)
    if not (np.isfinite(length) and length > 0):
        raise GeometryError(f"an essential matrix needs a translation other than zero, got {translation.tolist()}")
    return skew(translation / length) @ camera1_from_camera0[:3, :3]


def fundamental_from_essential(essential: np.ndarray, camera0: Camera, camera1: Camera) -> np.ndarray:
    """The fundamental matrix (3, 3) for pixels of the two cameras, ``K1^-T E K0^-1``."""
    return np.linalg.inv(camera1.matrix).T @ essential @ np.linalg.inv(camera0.matrix)


def essential_from_fundamental(fundamental: np.ndarray, camera0: Camera, camera1: Camera) -> np.ndarray:
    """The essential matrix (3, 3) nearest to ``K1^T F K0``."""
    return nearest_essential(camera1.matrix.T @ fundamental @ camera0.matrix)


def nearest_essential(matrix: np.ndarray) -> np.ndarray:
    """The essential matrix (3, 3) with singular values 1, 1, 0 nearest in direction to ``matrix``."""
    u, _, vt = np.linalg.svd(matrix)
    return u[:, :2] @ vt[:2]


def sampson_distance_px(fundamental: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> np.ndarray:
    """First-order distances (N,) in pixels of matches (N, 2) from the epipolar geometry.

    The distance is that of the match, a point of R^4, from the nearest exact match: both images share the correction
    (Hartley and Zisserman, "Multiple View Geometry", eq. 11.9, its square root). 0 where both points are epipoles.
    """
    points0, points1 = as_correspondences(points0, points1)
    residual, line0, line1 = _epipolar_terms(fundamental, points0, points1)
    scale = np.sqrt(np.sum(line0**2, axis=1) + np.sum(line1**2, axis=1))
    return np.divide(np.abs(residual), scale, out=np.zeros_like(scale), where=scale > 0)


def symmetric_epipolar_distance_px(fundamental: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> np.ndarray:
    """Distances (N,) in pixels of matches (N, 2) from their epipolar lines, root of the sum of both images' squares.

    Hartley and Zisserman, eq. 11.10, its square root. Infinite where a point is the epipole of its image but the
    other is not on the line, and 0 where both are epipoles.
    """
    points0, points1 = as_correspondences(points0, points1)
    residual, line0, line1 = _epipolar_terms(fundamental, points0, points1)
    with np.errstate(divide="ignore"):
        inverse = 1.0 / np.sum(line0**2, axis=1) + 1.0 / np.sum(line1**2, axis=1)
    return np.where(residual == 0, 0.0, np.abs(residual)) * np.where(residual == 0, 0.0, np.sqrt(inverse))


def _epipolar_terms(
    fundamental: np.ndarray, points0: np.ndarray, points1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``x1^T F x0`` (N,) and the normals (N, 2) of the epipolar lines in image 0 and in image 1."""
    line1 = points0 @ fundamental[:, :2].T + fundamental[:, 2]
    line0 = points1 @ fundamental[:2] + fundamental[2]
    return np.sum(points1 * line1[:, :2], axis=1) + line1[:, 2], line0[:, :2], line1[:, :2]


def weighted_eight_point(
    points0: np.ndarray, points1: np.ndarray, weights: np.ndarray | None = None, *, essential: bool = False
) -> np.ndarray | None:
    """The matrix (3, 3) that minimises ``sum(w * (x1^T F x0)^2)`` over matches (N, 2), rank 2 enforced.

    Of pixels it is the fundamental matrix, of unit Frobenius norm; of normalised coordinates and with ``essential`` it
    is the essential matrix (singular values 1, 1, 0). Hartley's normalisation uses the weights as well. The entry of
    largest magnitude is positive, so equal input gives equal output. ``None`` for fewer than eight matches of weight
    above zero, or where they leave more than one solution (all on one plane or line, for example).
    """
    points0, points1 = as_correspondences(points0, points1)
    weights = as_weights(weights, len(points0))
    if np.count_nonzero(weights) < _MIN_POINTS:
        return None
    normal0, normal1 = _hartley_normalisation(points0, weights), _hartley_normalisation(points1, weights)
    if normal0 is None or normal1 is None:
        return None
    y0, y1 = points0 * normal0[0, 0] + normal0[:2, 2], points1 * normal1[0, 0] + normal1[:2, 2]
    x, y, u, v = *y1.T, *y0.T
    design = np.stack([x * u, x * v, x, y * u, y * v, y, u, v, np.ones_like(u)], axis=1)
    _, singular, vt = np.linalg.svd(np.sqrt(weights / weights.sum())[:, None] * design, full_matrices=len(x) < 9)
    if singular[7] < 1e-9 * singular[0]:
        return None
    matrix = normal1.T @ _rank_two(vt[-1].reshape(3, 3)) @ normal0
    matrix = nearest_essential(matrix) if essential else matrix / np.linalg.norm(matrix)
    return matrix * np.sign(matrix.flat[np.argmax(np.abs(matrix))])


def _hartley_normalisation(points: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """The similarity (3, 3) to weighted centroid 0 and root mean square distance sqrt(2); ``None`` for one point."""
    centroid = np.average(points, axis=0, weights=weights)
    spread = np.sqrt(np.average(np.sum((points - centroid) ** 2, axis=1), weights=weights))
    if not spread > 1e-12 * (1.0 + np.abs(centroid).max()):
        return None
    scale = np.sqrt(2.0) / spread
    return np.array([[scale, 0.0, -scale * centroid[0]], [0.0, scale, -scale * centroid[1]], [0.0, 0.0, 1.0]])


def _rank_two(matrix: np.ndarray) -> np.ndarray:
    u, singular, vt = np.linalg.svd(matrix)
    return (u[:, :2] * singular[:2]) @ vt[:2]
