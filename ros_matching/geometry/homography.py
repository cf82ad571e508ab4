"""Homographies: views of one plane, and views that differ by a pure rotation."""

from __future__ import annotations

import cv2
import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.checks import as_correspondences
from ros_matching.geometry.pnp import residuals_and_jacobian
from ros_matching.geometry.robust import tukey_weight
from ros_matching.geometry.se3 import pose_from
from ros_matching.geometry.two_view import TwoViewGeometry, two_view_geometry


def transfer_errors_px(homography: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> np.ndarray:
    """The larger of the distances in image 1 and in image 0 (N,) of matches (N, 2) from a homography (3, 3).

    Infinite for points that it takes to infinity or beyond.
    """
    points0, points1 = as_correspondences(points0, points1)
    forward = np.linalg.norm(map_points(homography, points0) - points1, axis=1)
    backward = np.linalg.norm(map_points(np.linalg.inv(homography), points1) - points0, axis=1)
    error = np.maximum(forward, backward)
    return np.where(np.isnan(error), np.inf, error)


def map_points(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) under a homography (3, 3); NaN for those on its line at infinity."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[:, :2] / np.where(mapped[:, 2:] == 0, np.nan, mapped[:, 2:])


_MIN_POINTS_ROTATION = 2
_SAMPLES = 128  # of two matches each: with 30 % right matches, none is clean once in 200 000 times
_MAX_SCORED = 200  # matches that the samples are scored on
_REFINEMENTS = 8
_CONVERGED_RAD = 1e-7
_SEED = 0


def estimate_rotation(
    points0: np.ndarray, points1: np.ndarray, camera0: Camera, camera1: Camera, threshold_px: float = 2.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """The rotation ``rotation1_from_0`` (3, 3) that explains matched pixels (M, 2) without any translation.

    RANSAC over pairs of viewing rays, then Gauss-Newton on the transfer error with Tukey's loss. Returns it with its
    inliers (M,) bool, within ``threshold_px`` in both images; ``None`` if fewer than two matches agree.
    """
    points0, points1 = as_correspondences(points0, points1)
    if len(points0) < _MIN_POINTS_ROTATION:
        return None
    rays0, rays1 = camera0.unproject(points0), camera1.unproject(points1)
    rotation = _sample(rays0, rays1, points1, camera1, threshold_px)
    rotation = _refine(rotation, rays0, points1, camera1, threshold_px)
    inliers = transfer_errors_px(rotation_homography(rotation, camera0, camera1), points0, points1) <= threshold_px
    return (rotation, inliers) if np.count_nonzero(inliers) >= _MIN_POINTS_ROTATION else None


def rotation_homography(rotation1_from_0: np.ndarray, camera0: Camera, camera1: Camera) -> np.ndarray:
    """The homography (3, 3) of pixels of a pure rotation of the camera, ``K1 R K0^-1``."""
    return camera1.matrix @ rotation1_from_0 @ np.linalg.inv(camera0.matrix)


def _sample(
    rays0: np.ndarray, rays1: np.ndarray, points1: np.ndarray, camera1: Camera, threshold_px: float
) -> np.ndarray:
    """The best rotation (3, 3) of many, each from two matches, by truncated squared error (MSAC)."""
    random = np.random.default_rng(_SEED)
    first = random.integers(len(rays0), size=_SAMPLES)
    second = (first + random.integers(1, len(rays0), size=_SAMPLES)) % len(rays0)
    rotations = _frames(rays1[first], rays1[second]) @ np.swapaxes(_frames(rays0[first], rays0[second]), 1, 2)
    rotations = rotations[np.isfinite(rotations).all(axis=(1, 2))]
    if not len(rotations):
        return np.eye(3)
    scored = random.permutation(len(rays0))[:_MAX_SCORED]
    turned = rotations @ rays0[scored].T
    z = np.where(turned[:, 2] > 0, turned[:, 2], np.nan)
    error_u = turned[:, 0] / z * camera1.fx + (camera1.cx - points1[scored, 0])
    error_v = turned[:, 1] / z * camera1.fy + (camera1.cy - points1[scored, 1])
    truncated = np.fmin(error_u**2 + error_v**2, threshold_px**2)
    return rotations[np.argmin(truncated.sum(axis=1))]


def _frames(rays_a: np.ndarray, rays_b: np.ndarray) -> np.ndarray:
    """Orthonormal frames (N, 3, 3), as columns, that two rays (N, 3) span; NaN for equal rays.

    Sum and difference of unit vectors are orthogonal, so the error is distributed over both rays.
    """
    a = rays_a / np.linalg.norm(rays_a, axis=1, keepdims=True)
    b = rays_b / np.linalg.norm(rays_b, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        middle = (a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)
        across = (a - b) / np.linalg.norm(a - b, axis=1, keepdims=True)
    return np.stack([middle, across, np.cross(middle, across)], axis=2)


def _refine(
    rotation: np.ndarray, rays0: np.ndarray, points1: np.ndarray, camera1: Camera, threshold_px: float
) -> np.ndarray:
    """Gauss-Newton from a rotation (3, 3); the start itself where the matches near it do not determine one."""
    for _ in range(_REFINEMENTS):
        pose = pose_from(rotation, np.zeros(3))
        residual, jacobian = residuals_and_jacobian(pose, rays0, points1, camera1)
        weight = tukey_weight(np.hypot(*residual), 2.0 * threshold_px)
        residual[np.isinf(residual)] = 0.0
        weighted = (jacobian[3:] * weight).reshape(3, -1)
        information = weighted @ jacobian[3:].reshape(3, -1).T
        if np.linalg.cond(information) > 1e9:
            break
        step = -np.linalg.solve(information, weighted @ residual.ravel())
        rotation = cv2.Rodrigues(step)[0] @ rotation
        if np.linalg.norm(step) < _CONVERGED_RAD:
            break
    return rotation


__all__ = [
    "decompose_homography",
    "estimate_homography",
    "estimate_rotation",
    "map_points",
    "rotation_homography",
    "transfer_errors_px",
]

_MIN_POINTS_HOMOGRAPHY = 4
_CONFIDENCE = 0.9999
_RANSAC_ITERATIONS = 2000
_MIN_TRANSLATION = 1e-6  # of the distance of the plane; a homography with less is a rotation


def estimate_homography(
    points0: np.ndarray, points1: np.ndarray, threshold_px: float = 2.0, confidence: float = _CONFIDENCE
) -> tuple[np.ndarray, np.ndarray] | None:
    """The homography (3, 3) that takes pixels of image 0 to image 1, and its inliers (M,) bool.

    Inliers are within ``threshold_px`` by ``transfer_errors_px``. OpenCV's USAC uses a fixed seed. ``None`` with fewer
    than four matches or inliers, or where they do not determine it (all on a line).
    """
    points0, points1 = as_correspondences(points0, points1)
    if len(points0) < _MIN_POINTS_HOMOGRAPHY:
        return None
    homography, _ = cv2.findHomography(
        points0, points1, cv2.USAC_DEFAULT, threshold_px, maxIters=_RANSAC_ITERATIONS, confidence=confidence
    )
    if homography is None or not np.isfinite(homography).all() or abs(np.linalg.det(homography)) < 1e-12:
        return None
    inliers = transfer_errors_px(homography, points0, points1) <= threshold_px
    return (homography, inliers) if np.count_nonzero(inliers) >= _MIN_POINTS_HOMOGRAPHY else None


def decompose_homography(
    homography: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    inliers: np.ndarray,
    threshold_px: float = 2.0,
) -> list[TwoViewGeometry]:
    """The possible motions of a homography (3, 3) of a plane, best first.

    Of the four (Malis and Vargas 2007) those remain that have the plane of the ``inliers`` (M,) in front of both
    cameras; two such motions can only be distinguished by points off the plane. Order is by triangulated matches, each
    of which agrees with the motion within ``threshold_px``. Empty for a rotation, which has no direction of
    translation.
    """
    points0, points1 = as_correspondences(points0, points1)
    if not inliers.any():
        return []
    normalised = np.linalg.inv(camera1.matrix) @ homography @ camera0.matrix
    # The sign that takes rays to rays in front of camera 1, which a homography alone does not have.
    rays0, rays1 = camera0.unproject(points0[inliers]), camera1.unproject(points1[inliers])
    normalised = normalised * np.sign(np.median(np.sum(rays0 @ normalised.T * rays1, axis=1)))
    _, rotations, translations, normals = cv2.decomposeHomographyMat(normalised, np.eye(3))
    views = []
    for rotation, translation, normal in zip(rotations, translations, normals, strict=True):
        length = np.linalg.norm(translation)
        if length < _MIN_TRANSLATION or np.mean(rays0 @ normal.ravel() > 0) < 0.5:
            continue
        pose = pose_from(rotation, translation.ravel() / length)
        views.append(two_view_geometry(pose, points0, points1, camera0, camera1, threshold_px))
    return sorted(views, key=lambda view: -np.count_nonzero(np.isfinite(view.parallax_deg)))
