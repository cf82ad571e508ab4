"""Points in space from tracks: each point is observed by two or more posed views of one camera."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.se3 import invert

_STEPS = 5
_DAMPING = 1e-6  # of the trace of the normal matrix
_MIN_DETERMINANT = 1e-9  # of the mean of I - d d^T: below it the rays of a point are parallel


def triangulate_tracks(
    camera: Camera,
    camera_from_world: np.ndarray,
    views: np.ndarray,
    points: np.ndarray,
    points_px: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """World points (``count``, 3) and the reprojection error (O,) in pixels of each observation.

    Observation o is of point ``points`` (O,) at pixel ``points_px`` (O, 2) of the view with the pose
    ``camera_from_world[views[o]]`` (V, 4, 4). The start are the points closest to all rays, the result minimises the
    squared reprojection errors (Gauss-Newton). NaN for points whose rays are parallel or of one view alone; infinite
    errors behind a camera.
    """
    world_from_camera = invert(camera_from_world)
    centers = world_from_camera[views, :3, 3]
    rays = np.einsum("oij,oj->oi", world_from_camera[views, :3, :3], camera.unproject(points_px))
    positions = _closest_to_rays(centers, rays / np.linalg.norm(rays, axis=1, keepdims=True), points, count)
    for _ in range(_STEPS):
        residual, jacobian, _ = _project(camera, camera_from_world[views], positions[points], points_px)
        normal = _summed(np.einsum("oki,okj->oij", jacobian, jacobian), points, count)
        gradient = _summed(np.einsum("oki,ok->oi", jacobian, residual), points, count)
        damping = _DAMPING * np.trace(normal, axis1=1, axis2=2) + 1e-30
        step = np.linalg.solve(normal + damping[:, None, None] * np.eye(3), gradient[..., None])[..., 0]
        positions = positions - step
    residual, _, depth = _project(camera, camera_from_world[views], positions[points], points_px)
    with np.errstate(invalid="ignore"):
        errors = np.where(depth > 0, np.linalg.norm(residual, axis=1), np.inf)
    return positions, np.where(np.isfinite(errors), errors, np.inf)


def _closest_to_rays(centers: np.ndarray, directions: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """The points (``count``, 3) with the least squared distance from all their rays, NaN where that is no point."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    normal = _summed(across, points, count)
    right = _summed(np.einsum("oij,oj->oi", across, centers), points, count)
    observed = np.bincount(points, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        determined = np.linalg.det(normal / observed[:, None, None]) > _MIN_DETERMINANT
    normal = np.where(determined[:, None, None], normal, np.eye(3))
    return np.where(determined[:, None], np.linalg.solve(normal, right[..., None])[..., 0], np.nan)


def _project(
    camera: Camera, camera_from_world: np.ndarray, positions: np.ndarray, points_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals (O, 2), their derivatives by the position (O, 2, 3), both 0 for unknown points, and depths (O,)."""
    rotation = camera_from_world[:, :3, :3]
    x, y, z = (np.einsum("oij,oj->oi", rotation, positions) + camera_from_world[:, :3, 3]).T
    safe = np.where(np.abs(z) > 1e-12, z, 1e-12)
    residual = np.column_stack([camera.fx * x / safe + camera.cx, camera.fy * y / safe + camera.cy]) - points_px
    jacobian = np.stack(
        [
            camera.fx * (rotation[:, 0] - (x / safe)[:, None] * rotation[:, 2]) / safe[:, None],
            camera.fy * (rotation[:, 1] - (y / safe)[:, None] * rotation[:, 2]) / safe[:, None],
        ],
        axis=1,
    )
    unknown = ~np.isfinite(residual).all(axis=1)
    jacobian[unknown] = 0.0
    return np.where(unknown[:, None], 0.0, residual), jacobian, np.where(unknown, -1.0, z)


def _summed(values: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """The sums of the values (O, ...) of each point, (``count``, ...)."""
    total = np.zeros((count, *values.shape[1:]))
    np.add.at(total, points, values)
    return total
