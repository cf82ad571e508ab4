"""Robust refinement of a relative pose, with its covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Camera, RelativePose, ScaleState
from ros_matching.errors import GeometryError
from ros_matching.geometry.checks import as_correspondences, as_pose, as_weights
from ros_matching.geometry.robust import tukey_cost, tukey_variance, tukey_weight
from ros_matching.geometry.se3 import exp_so3, pose_from, skew
from ros_matching.geometry.two_view import two_view_geometry

MIN_POINTS = 5
_PRIOR_NOISE_PX = 0.5  # of a match, before its residuals are known
_PRIOR_STD_RAD = 1.0  # of direction and rotation, without any match
_CONVERGED_FRACTION = 1e-6  # of the cost; a step that saves less ends the refinement
_MAX_DAMPING = 1e6
_MAX_LEVERAGE = 3.0  # parallax beyond this many times the median does not increase the weight of a match


def refine_relative_pose(
    camera1_from_camera0: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    threshold_px: float = 1.0,
    weights: np.ndarray | None = None,
    iterations: int = 15,
) -> RelativePose | None:
    """The relative pose near ``camera1_from_camera0`` (4, 4) that minimises the robust Sampson error of all matches.

    Levenberg-Marquardt over the direction of translation (2) and the rotation (3), with Tukey's loss, which ignores
    errors beyond twice ``threshold_px``, and bounded leverage. ``points0`` and ``points1`` (M, 2) are pixels,
    ``weights`` (M,) relative inverse variances. The
    inliers of the result are within ``threshold_px``; its covariance, of the direction and the rotation, comes from
    their information and spread. ``None`` if fewer than five matches agree.
    """
    points0, points1 = as_correspondences(points0, points1)
    weights = as_weights(weights, len(points0))
    if len(points0) < MIN_POINTS:
        return None
    minimum = _minimise(camera1_from_camera0, points0, points1, camera0, camera1, threshold_px, weights, iterations)
    inliers = two_view_geometry(minimum.pose, points0, points1, camera0, camera1, threshold_px).inliers
    if np.count_nonzero(inliers & (minimum.weights > 0)) < MIN_POINTS:
        return None
    return RelativePose(minimum.pose, inliers, _covariance(minimum, 2.0 * threshold_px), ScaleState.UP_TO_SCALE)


def refine_motion(
    camera1_from_camera0: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    threshold_px: float = 1.0,
    weights: np.ndarray | None = None,
    iterations: int = 15,
) -> tuple[np.ndarray, np.ndarray] | None:
    """As ``refine_relative_pose``, without triangulation and covariance.

    Returns the pose (4, 4) and the signed Sampson distances (M,) in pixels; ``None`` if fewer than five are within the
    threshold.
    """
    points0, points1 = as_correspondences(points0, points1)
    weights = as_weights(weights, len(points0))
    if len(points0) < MIN_POINTS:
        return None
    minimum = _minimise(camera1_from_camera0, points0, points1, camera0, camera1, threshold_px, weights, iterations)
    near = (np.abs(minimum.residual) <= threshold_px) & (minimum.weights > 0)
    return (minimum.pose, minimum.residual) if np.count_nonzero(near) >= MIN_POINTS else None


@dataclass(frozen=True)
class _Minimum:
    """A minimum of the robust error: residuals (M,) and their derivatives (5, M) at the pose, effective weights."""

    pose: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray


def _minimise(
    camera1_from_camera0: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    threshold_px: float,
    weights: np.ndarray,
    iterations: int,
) -> _Minimum:
    cutoff_px = 2.0 * threshold_px
    rays = camera0.unproject(points0), camera1.unproject(points1)
    pose = as_pose("camera1_from_camera0", camera1_from_camera0)
    length = np.linalg.norm(pose[:3, 3])
    if not length > 0:
        raise GeometryError("camera1_from_camera0 must have a translation, whose direction is refined; got none")
    pose = pose_from(pose[:3, :3], pose[:3, 3] / length)
    residual, jacobian = sampson_residuals_and_jacobian(pose, *rays, camera0, camera1)
    weights = weights * _bounded_leverage(jacobian[:2], np.abs(residual) < cutoff_px)
    cost, damping = weights @ tukey_cost(residual, cutoff_px), 1e-3
    for _ in range(iterations):
        step = _damped_step(residual, jacobian, weights * tukey_weight(residual, cutoff_px), damping)
        candidate = move_relative_pose(pose, step)
        new_residual, new_jacobian = sampson_residuals_and_jacobian(candidate, *rays, camera0, camera1)
        new_cost = weights @ tukey_cost(new_residual, cutoff_px)
        if new_cost > cost:
            damping *= 10.0
            if damping > _MAX_DAMPING:
                break
            continue
        converged = cost - new_cost <= _CONVERGED_FRACTION * cost
        pose, residual, jacobian, cost = candidate, new_residual, new_jacobian, new_cost
        damping *= 0.1
        if converged:
            break
    return _Minimum(pose, residual, jacobian, weights)


def sampson_residuals_and_jacobian(
    camera1_from_camera0: np.ndarray, rays0: np.ndarray, rays1: np.ndarray, camera0: Camera, camera1: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Signed Sampson distances (N,) in pixels of rays (N, 3) with z = 1, and their derivatives (5, N).

    The derivative is by the first two components ``b`` and the last three ``dr`` of ``move_relative_pose``'s step.
    """
    essential, derivatives = _essential_and_derivatives(camera1_from_camera0)
    y0, y1 = rays0.T, rays1.T
    line0, line1 = essential.T @ y1, essential @ y0
    # The normals' lengths count in pixels; the lines' third component has no part in them.
    scaled0 = line0 * np.array([[camera0.fx**-2], [camera0.fy**-2], [0.0]])
    scaled1 = line1 * np.array([[camera1.fx**-2], [camera1.fy**-2], [0.0]])
    squared = np.sum(line0 * scaled0 + line1 * scaled1, axis=0)
    inverse = 1.0 / np.sqrt(np.maximum(squared, 1e-30))  # both points at their epipoles: residual 0
    residual = np.sum(y1 * line1, axis=0) * inverse
    # By the entries of E first: d(y1^T E y0) = y1 y0^T, and half of d(squared) = y1 scaled0^T + scaled1 y0^T.
    correction = residual * inverse
    by_entry = y1[:, None] * (y0 - correction * scaled0) - (correction * scaled1)[:, None] * y0
    return residual, derivatives.reshape(5, 9) @ (by_entry * inverse).reshape(9, -1)


def move_relative_pose(camera1_from_camera0: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The pose after ``step = (b, dr)`` (5,): ``t`` to the direction of ``t + B b``, ``R`` to ``Exp(dr) R``.

    ``B`` (3, 2) is ``tangent_basis(t)``.
    """
    translation = camera1_from_camera0[:3, 3]
    translation = translation + tangent_basis(translation) @ step[:2]
    rotation = exp_so3(step[2:]) @ camera1_from_camera0[:3, :3]
    return pose_from(rotation, translation / np.linalg.norm(translation))


def tangent_basis(direction: np.ndarray) -> np.ndarray:
    """Two unit vectors, the columns of (3, 2), that are orthogonal to each other and to a direction (3,)."""
    cross = skew(direction)  # np.cross is slow on single vectors
    first = cross[:, np.argmin(np.abs(direction))]
    first = first / np.linalg.norm(first)
    second = cross @ first
    return np.column_stack([first, second / np.linalg.norm(second)])


def _essential_and_derivatives(camera1_from_camera0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``[t]x R`` (3, 3) and its derivatives (5, 3, 3) by the step of ``move_relative_pose``."""
    rotation, translation = camera1_from_camera0[:3, :3], camera1_from_camera0[:3, 3]
    cross = skew(translation)
    by_direction = skew(tangent_basis(translation).T) @ rotation
    by_rotation = cross @ skew(np.eye(3)) @ rotation
    return cross @ rotation, np.concatenate([by_direction, by_rotation])


def _damped_step(residual: np.ndarray, jacobian: np.ndarray, weight: np.ndarray, damping: float) -> np.ndarray:
    weighted = jacobian * weight
    information = weighted @ jacobian.T
    # The floor keeps the system regular where a motion is not observed at all.
    floor = 1e-12 * max(np.trace(information), 1e-300)
    information[np.diag_indices(5)] += damping * np.diagonal(information) + floor
    return -np.linalg.solve(information, weighted @ residual)


def _bounded_leverage(by_direction: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Weights (N,) that keep single matches from deciding on the direction of translation.

    A residual's derivative (2, N) by the direction grows with the match's parallax. Wrong matches that lie near their
    epipolar line by chance have far more of it than right ones under a small motion: unbounded, one outweighs hundreds.
    """
    leverage = np.hypot(*by_direction)
    if not near.any():
        return np.ones(len(leverage))
    limit = _MAX_LEVERAGE * np.median(leverage[near])
    return np.minimum(limit / np.maximum(leverage, limit + 1e-300), 1.0) ** 2


def _covariance(minimum: _Minimum, cutoff_px: float) -> np.ndarray:
    """The covariance (6, 6) over ``(dt, dr)``; along ``t``, whose length is fixed, there is none."""
    near = (np.abs(minimum.residual) < cutoff_px) & (minimum.weights > 0)
    residual, jacobian, weight = minimum.residual[near], minimum.jacobian[:, near], minimum.weights[near]
    weight = weight * (len(weight) / weight.sum())
    variance = tukey_variance(np.abs(residual), cutoff_px, weight, 1, 5, _PRIOR_NOISE_PX)
    information = (jacobian * weight) @ jacobian.T / variance + np.eye(5) / _PRIOR_STD_RAD**2
    spread = np.zeros((6, 5))
    spread[:3, :2] = tangent_basis(minimum.pose[:3, 3])
    spread[3:, 2:] = np.eye(3)
    return spread @ np.linalg.inv(information) @ spread.T
