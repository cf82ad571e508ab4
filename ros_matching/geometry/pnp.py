"""The pose of a camera from points whose positions in the world are known."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.checks import as_points, as_pose, as_weights, require_length
from ros_matching.geometry.robust import huber_weight, tukey_variance, tukey_weight
from ros_matching.geometry.se3 import pose_from

MIN_POINTS = 4  # three leave up to four solutions
_MIN_DEPTH = 1e-9  # nearer than this, in the world's unit, counts as behind the camera
_PRIOR_NOISE_PX = 0.5  # of one coordinate of a point, before its residuals are known
_CONVERGED_PX = 5e-3  # image motion of a step below which the refinement has converged
_DRAWN_IN = 0.25  # image motion of a step, as a fraction of the threshold, below which the start is close enough
_DAMPING = 1e-9  # relative; keeps a step finite where a motion is not observed, and is nothing elsewhere
_MAX_CONDITION = 1e12  # of the scaled information matrix; beyond it some motion is not observed
_MAX_FRACTION = 0.05  # of the information on the camera position that one point may have
_MIN_EXPLAINED = 0.5  # fraction of the points that a predicted pose must explain to be accepted without RANSAC
_MEDIAN_STDS = 1.1774  # the median length of a two-dimensional normal error, in standard deviations of each axis
_CUTOFF_STDS = 5.0  # Tukey's loss with this keeps nearly all of the efficiency of least squares
_MIN_CUTOFF_FRACTION = 0.2  # of the usual cutoff, however well the points fit
_RANSAC_ITERATIONS = 500
_RANSAC_CONFIDENCE = 0.9999


@dataclass(frozen=True)
class PnpEstimate:
    """A camera's pose from points: ``camera_from_world`` (4, 4) and ``inliers`` (N,) bool.

    ``covariance`` (6, 6) is of ``world_from_camera``, over ``(dt, dr)`` as in ``datatypes``. ``rmse_px`` is the root
    mean square distance of the inliers in the image.
    """

    camera_from_world: np.ndarray
    inliers: np.ndarray
    covariance: np.ndarray
    rmse_px: float


def estimate_pnp(
    points_world: np.ndarray,
    points_px: np.ndarray,
    camera: Camera,
    threshold_px: float = 2.0,
    initial: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    ransac_iterations: int = _RANSAC_ITERATIONS,
) -> PnpEstimate | None:
    """Estimate the pose of a camera from world points (N, 3) observed at pixels (N, 2), some of them wrong.

    ``initial``, a predicted ``camera_from_world`` (4, 4), is refined first and taken if it explains half of the points;
    otherwise RANSAC with minimal samples of AP3P (Ke and Roumeliotis 2017) starts from nothing. Of its pose and the
    prediction, each refined with and without drawing it in, the one with most inliers wins: many points that are wrong
    together draw a good start away. Inliers project within ``threshold_px``. ``weights`` (N,) are relative inverse
    variances. ``None`` if fewer than four points agree or they do not determine a pose.
    """
    points_world, points_px, weights = _checked(points_world, points_px, weights)
    predicted = None
    if initial is not None:
        predicted = refine_pose(initial, points_world, points_px, camera, threshold_px, weights)
        if predicted is not None and predicted.inliers.mean() >= _MIN_EXPLAINED:
            return predicted
    sampled = _ransac(points_world, points_px, camera, threshold_px, ransac_iterations)
    found = [predicted]
    for start, draw_in in ((initial, False), (sampled, False), (sampled, True)):
        if start is not None:
            found.append(refine_pose(start, points_world, points_px, camera, threshold_px, weights, draw_in=draw_in))
    found = [estimate for estimate in found if estimate is not None]
    return max(found, key=lambda estimate: np.count_nonzero(estimate.inliers), default=None)


def refine_pose(
    camera_from_world: np.ndarray,
    points_world: np.ndarray,
    points_px: np.ndarray,
    camera: Camera,
    threshold_px: float,
    weights: np.ndarray | None = None,
    iterations: int = 10,
    *,
    draw_in: bool = True,
) -> PnpEstimate | None:
    """The pose near ``camera_from_world`` (4, 4) that minimises the robust reprojection error.

    Gauss-Newton, first with Huber's loss, which draws a distant start in, then with Tukey's, which leaves outliers out.
    Without ``draw_in`` only the latter, for a start within twice the threshold. Arguments otherwise as
    ``estimate_pnp``; ``None`` if fewer than four points agree at the end or they do not determine a pose.
    """
    points_world, points_px, weights = _checked(points_world, points_px, weights)
    pose = as_pose("camera_from_world", camera_from_world)
    if len(points_world) < MIN_POINTS:
        return None
    drawing_in = draw_in
    for iteration in range(iterations):
        residual, jacobian = residuals_and_jacobian(pose, points_world, points_px, camera)
        error = np.hypot(*residual)
        residual[np.isinf(residual)] = 0.0  # behind the camera: no derivative, no pull
        robust = (
            huber_weight(error, threshold_px)
            if drawing_in
            else tukey_weight(error, tukey_cutoff_px(error, threshold_px))
        )
        step = _solve(residual, jacobian, bounded_leverage(weights * robust, jacobian[0, 0]))
        if step is None:
            return None
        pose = _move_camera(pose, step)
        moved_px = np.abs(step @ jacobian.reshape(6, -1)).max()
        if not drawing_in and moved_px < _CONVERGED_PX:
            break
        drawing_in = drawing_in and moved_px > _DRAWN_IN * threshold_px and iteration + 1 < iterations // 2
    return _evaluate(pose, points_world, points_px, camera, threshold_px, weights)


def tukey_cutoff_px(error: np.ndarray, threshold_px: float) -> float:
    """The error beyond which a point has no weight: the tail of the noise, estimated by the median.

    At most twice the threshold; less if the points fit much better than the threshold, so that outliers below it are
    rejected too.
    """
    inlying = error[error <= threshold_px]
    if not len(inlying):
        return 2.0 * threshold_px
    std = np.median(inlying) / _MEDIAN_STDS
    return float(np.clip(_CUTOFF_STDS * std, 2.0 * _MIN_CUTOFF_FRACTION * threshold_px, 2.0 * threshold_px))


def residuals_and_jacobian(
    camera_from_world: np.ndarray, points_world: np.ndarray, points_px: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Reprojection residuals (2, N) in pixels, u then v, and their derivatives (6, 2, N).

    The derivative is by ``(v, w)`` of ``X -> Exp(w) X + v``, applied to points in camera coordinates: unlike a change
    of ``camera_from_world`` in the world's axes it does not depend on where the world's origin is. Points behind the
    camera get an infinite residual and no derivative.
    """
    x, y, z = camera_from_world[:3, :3] @ points_world.T + camera_from_world[:3, 3:]
    behind = z <= _MIN_DEPTH
    inverse = np.divide(1.0, z, out=np.zeros_like(z), where=~behind)
    x *= inverse
    y *= inverse
    fx_x, fy_y = camera.fx * x, camera.fy * y
    residual = np.stack([fx_x + (camera.cx - points_px[:, 0]), fy_y + (camera.cy - points_px[:, 1])])
    jacobian = np.zeros((6, 2, len(x)))
    jacobian[0, 0], jacobian[1, 1] = camera.fx * inverse, camera.fy * inverse
    jacobian[2, 0], jacobian[2, 1] = -fx_x * inverse, -fy_y * inverse
    jacobian[3, 0], jacobian[3, 1] = -fx_x * y, -camera.fy - fy_y * y
    jacobian[4, 0], jacobian[4, 1] = camera.fx + fx_x * x, fy_y * x
    jacobian[5, 0], jacobian[5, 1] = -camera.fx * y, camera.fy * x
    if behind.any():
        residual[:, behind] = np.inf
        jacobian[:, :, behind] = 0.0
    return residual, jacobian


def _solve(residual: np.ndarray, jacobian: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """The Gauss-Newton step (6,); ``None`` if no point has a weight."""
    weighted = (jacobian * weight).reshape(6, -1)
    information = weighted @ jacobian.reshape(6, -1).T
    diagonal = np.einsum("ii->i", information)
    if not diagonal.min() > 0:
        return None
    diagonal *= 1.0 + _DAMPING
    return -np.linalg.solve(information, weighted @ residual.ravel())


def bounded_leverage(weight: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """Limit the weights (N,) so that no single point determines the camera position.

    The information of a point grows with the square of its inverse depth (N,), in any unit. One landmark that is
    wrongly triangulated close to the camera outweighs hundreds of others, which then miss their pixels by less than the
    threshold.
    """
    information = weight * inverse_depth**2
    fraction = max(_MAX_FRACTION, 2.0 / len(weight))
    limit = fraction * information.sum()
    for _ in range(3):  # lower weights lower the sum, and the limit is a fraction of it
        limit = fraction * np.minimum(information, limit).sum()
    return weight * (limit / np.maximum(information, limit)) if limit > 0 else weight


def _inverse(information: np.ndarray) -> np.ndarray | None:
    """The inverse of a symmetric (6, 6) matrix; ``None`` if it is singular, whatever the units of its rows."""
    diagonal = np.diagonal(information)
    if not (np.isfinite(information).all() and (diagonal > 0).all()):
        return None
    scale = 1.0 / np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    if values[0] * _MAX_CONDITION < values[-1]:
        return None
    half = vectors / np.sqrt(values) * scale[:, None]
    return half @ half.T


def _move_camera(camera_from_world: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The pose after ``X -> Exp(w) X + v`` in camera coordinates, ``step = (v, w)``."""
    return pose_from(cv2.Rodrigues(step[3:])[0], step[:3]) @ camera_from_world


def _evaluate(
    pose: np.ndarray,
    points_world: np.ndarray,
    points_px: np.ndarray,
    camera: Camera,
    threshold_px: float,
    weights: np.ndarray,
) -> PnpEstimate | None:
    """The estimate of a final pose: inliers, their rmse, and the covariance from their information."""
    residual, jacobian = residuals_and_jacobian(pose, points_world, points_px, camera)
    squared = residual[0] ** 2 + residual[1] ** 2
    inliers = squared <= threshold_px**2
    count = np.count_nonzero(inliers & (weights > 0))
    if count < MIN_POINTS:
        return None
    jacobian = jacobian[:, :, inliers]
    weight = weights[inliers] * (count / weights[inliers].sum())
    error = np.sqrt(squared)
    variance = tukey_variance(error, tukey_cutoff_px(error, threshold_px), weights, 2, 6, _PRIOR_NOISE_PX)
    weight = bounded_leverage(weight, jacobian[0, 0])
    covariance = _inverse((jacobian * weight).reshape(6, -1) @ jacobian.reshape(6, -1).T)
    if covariance is None:
        return None
    # The camera moves against the points: world_from_camera gets dt = -R^T v and dr = -R^T w.
    to_world = np.zeros((6, 6))
    to_world[:3, :3] = to_world[3:, 3:] = pose[:3, :3].T
    rmse_px = float(np.sqrt(squared[inliers].mean()))
    return PnpEstimate(pose, inliers, variance * (to_world @ covariance @ to_world.T), rmse_px)


def _ransac(
    points_world: np.ndarray, points_px: np.ndarray, camera: Camera, threshold_px: float, iterations: int
) -> np.ndarray | None:
    """A ``camera_from_world`` (4, 4) from minimal samples; OpenCV uses a fixed seed."""
    if len(points_world) < MIN_POINTS:
        return None
    found, rotation, translation, _ = cv2.solvePnPRansac(
        points_world,
        points_px,
        camera.matrix,
        None,
        iterationsCount=iterations,
        reprojectionError=threshold_px,
        confidence=_RANSAC_CONFIDENCE,
        flags=cv2.SOLVEPNP_AP3P,
    )
    if not found or not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    return pose_from(cv2.Rodrigues(rotation)[0], translation.ravel())


def _checked(
    points_world: np.ndarray, points_px: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points_world, points_px = as_points("points_world", points_world, 3), as_points("points_px", points_px, 2)
    require_length("points_px", points_px, len(points_world))
    return points_world, points_px, as_weights(weights, len(points_world))
