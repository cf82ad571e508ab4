"""Points in space from two views, and how well points fit a view."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.checks import as_correspondences, as_points, as_pose, require_length
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential
from ros_matching.geometry.se3 import angle_between_deg, invert, transform

_MIN_SINE_OF_PARALLAX = 1e-6  # rays closer to parallel than this meet at infinity


def triangulate(
    camera0: Camera,
    camera1: Camera,
    camera0_from_world: np.ndarray,
    camera1_from_world: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
) -> np.ndarray:
    """World points (N, 3) of corresponding pixels (N, 2) of two views of known poses.

    The pixels are first moved, by the least squared distance, onto the epipolar geometry (``correct_matches``), then
    their rays meet exactly. NaN where they meet behind a camera or at infinity; cameras at the same position give no
    depth.
    """
    points0, points1 = as_correspondences(points0, points1)
    world_from_camera0 = invert(as_pose("camera0_from_world", camera0_from_world))
    camera1_from_camera0 = as_pose("camera1_from_world", camera1_from_world) @ world_from_camera0
    points = triangulate_relative(camera0, camera1, camera1_from_camera0, points0, points1)
    return transform(world_from_camera0, points)


def triangulate_relative(
    camera0: Camera, camera1: Camera, camera1_from_camera0: np.ndarray, points0: np.ndarray, points1: np.ndarray
) -> np.ndarray:
    """Points (N, 3) in the coordinates of camera 0; otherwise as ``triangulate``."""
    points0, points1 = as_correspondences(points0, points1)
    translation = camera1_from_camera0[:3, 3]
    if not np.linalg.norm(translation) > 0:
        return np.full((len(points0), 3), np.nan)
    essential = essential_from_pose(camera1_from_camera0)
    points0, points1 = correct_matches(fundamental_from_essential(essential, camera0, camera1), points0, points1)
    rays0 = camera0.unproject(points0)
    turned = rays0 @ camera1_from_camera0[:3, :3].T
    depth0, depth1, parallel = _ray_depths(turned, camera1.unproject(points1), translation)
    in_front = (depth0 > 0) & (depth1 > 0) & ~parallel
    return np.where(in_front[:, None], depth0[:, None] * rays0, np.nan)


def correct_matches(fundamental: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move matches (N, 2) by the least squared distance so that they satisfy ``x1^T F x0 = 0``.

    Two iterations reach the optimum to machine precision for any sensible match (Lindstrom, "Triangulation Made
    Easy", CVPR 2010, ``niter2``). NaN at the epipole of both images, where no direction is given.
    """
    homogeneous0 = np.column_stack([points0, np.ones(len(points0))])
    homogeneous1 = np.column_stack([points1, np.ones(len(points1))])
    block = fundamental[:2, :2]
    normal1 = (homogeneous0 @ fundamental.T)[:, :2]  # of the epipolar line in image 1
    normal0 = (homogeneous1 @ fundamental)[:, :2]
    a = np.sum(normal1 @ block * normal0, axis=1)
    b = 0.5 * np.sum(normal0**2 + normal1**2, axis=1)
    c = np.sum(homogeneous1 @ fundamental * homogeneous0, axis=1)
    d = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        step = c / (b + d)
        new_normal0 = normal0 - (step[:, None] * normal1) @ block
        new_normal1 = normal1 - (step[:, None] * normal0) @ block.T
        step = step * 2.0 * d / np.sum(new_normal0**2 + new_normal1**2, axis=1)
    return points0 - step[:, None] * new_normal0, points1 - step[:, None] * new_normal1


def _ray_depths(
    turned0: np.ndarray, rays1: np.ndarray, translation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depths (N,) with ``depth1 * rays1 = depth0 * turned0 + translation``, and where the rays are parallel."""
    cross = np.cross(turned0, rays1)
    squared = np.sum(cross**2, axis=1)
    lengths = np.sum(turned0**2, axis=1) * np.sum(rays1**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth0 = np.sum(np.cross(rays1, translation) * cross, axis=1) / squared
        depth1 = np.sum(np.cross(turned0, translation) * cross, axis=1) / squared
    return depth0, depth1, ~(squared > _MIN_SINE_OF_PARALLAX**2 * lengths)


def parallax_deg(points_world: np.ndarray, center0: np.ndarray, center1: np.ndarray) -> np.ndarray:
    """Angles (N,) in degrees at points (N, 3) between the rays to two camera centres (3,); NaN for unknown points."""
    return angle_between_deg(points_world - center0, points_world - center1)


def reprojection_errors_px(
    points_world: np.ndarray, points_px: np.ndarray, camera: Camera, camera_from_world: np.ndarray
) -> np.ndarray:
    """Distances (N,) between observed pixels (N, 2) and projected points (N, 3).

    Infinite for points behind the camera or unknown (NaN), so that no threshold takes them.
    """
    points_px = as_points("points_px", points_px, 2)
    require_length("points_world", points_world, len(points_px))
    projected = camera.project(transform(as_pose("camera_from_world", camera_from_world), points_world))
    error = np.linalg.norm(projected - points_px, axis=1)
    return np.where(np.isnan(error), np.inf, error)


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
