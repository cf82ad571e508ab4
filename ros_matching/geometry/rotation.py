"""The turn between two views from the same place."""

from __future__ import annotations

import cv2
import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.checks import as_correspondences
from ros_matching.geometry.planar import transfer_errors_px
from ros_matching.geometry.pnp import residuals_and_jacobian
from ros_matching.geometry.robust import tukey_weight
from ros_matching.geometry.se3 import pose_from

MIN_POINTS = 2
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
    inliers (M,) bool, within ``threshold_px`` in both images; ``None`` where fewer than two matches agree.
    """
    points0, points1 = as_correspondences(points0, points1)
    if len(points0) < MIN_POINTS:
        return None
    rays0, rays1 = camera0.unproject(points0), camera1.unproject(points1)
    rotation = _sample(rays0, rays1, points1, camera1, threshold_px)
    rotation = _refine(rotation, rays0, points1, camera1, threshold_px)
    inliers = transfer_errors_px(rotation_homography(rotation, camera0, camera1), points0, points1) <= threshold_px
    return (rotation, inliers) if np.count_nonzero(inliers) >= MIN_POINTS else None


def rotation_homography(rotation1_from_0: np.ndarray, camera0: Camera, camera1: Camera) -> np.ndarray:
    """The homography (3, 3) of pixels that a turn of the camera causes, ``K1 R K0^-1``."""
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

    Sum and difference of unit vectors are orthogonal, so the error of both rays is shared.
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
