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
    """World points (N, 3) of corresponding pixels (N, 2) of two posed views.

    The pixels are first moved, by the least squared distance, onto the epipolar geometry (``correct_matches``), then
    their rays meet exactly. NaN where they meet behind a camera or at infinity; cameras in the same place see no depth.
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
    seen = (depth0 > 0) & (depth1 > 0) & ~parallel
    return np.where(seen[:, None], depth0[:, None] * rays0, np.nan)


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
    """The angles (N,) in degrees under which points (N, 3) see two camera centres (3,); NaN for unknown points."""
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
