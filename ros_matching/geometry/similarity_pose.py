"""The similarity between two views of a place that was mapped twice, from landmarks of either map in the other view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.pnp import residuals_and_jacobian, tukey_cutoff_px
from ros_matching.geometry.robust import huber_weight, tukey_weight
from ros_matching.geometry.se3 import exp_so3, pose_from, skew, transform
from ros_matching.geometry.sim3 import invert_similarity

_ITERATIONS = 12
_DRAWN_IN = 4  # iterations with Huber's loss, which draws a distant start in
_DAMPING = 1e-9
_MAX_SCALE_STEP = 1.0  # change of the logarithm of the scale beyond which the iteration diverges
_CONVERGED = 1e-8  # length of a step
_PRIOR_NOISE_PX = 0.5


@dataclass(frozen=True)
class SharedView:
    """Landmarks of one map observed in a view of the other: ``points`` (N, 3) in the camera of their own view.

    ``pixels`` (N, 2) are where the other view observes them.
    """

    points: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class SimilarityEstimate:
    """``first_from_second`` (4, 4), a similarity of the cameras' coordinates, each in the unit of its own map.

    ``inliers_first`` and ``inliers_second`` are masks of the landmarks of either map; ``covariance`` (7, 7) over
    ``(dt, dr, ds)``.
    """

    first_from_second: np.ndarray
    inliers_first: np.ndarray
    inliers_second: np.ndarray
    covariance: np.ndarray

    @property
    def inliers(self) -> int:
        """Number of inliers of both maps."""
        return int(np.count_nonzero(self.inliers_first) + np.count_nonzero(self.inliers_second))


def refine_similarity(
    first_from_second: np.ndarray, of_first: SharedView, of_second: SharedView, camera: Camera, threshold_px: float
) -> SimilarityEstimate | None:
    """Minimise the robust reprojection errors of both maps' landmarks in the other's view, from a start (4, 4).

    ``of_first`` are landmarks of the first map in the second view, ``of_second`` the opposite. Gauss-Newton, with
    Huber's loss, then Tukey's. ``None`` if the landmarks do not determine the similarity.
    """
    similarity = first_from_second
    for iteration in range(_ITERATIONS):
        residual, jacobian = _linearised(similarity, of_first, of_second, camera)
        error = np.hypot(*residual)
        residual[:, np.isinf(error)] = 0.0
        if iteration < _DRAWN_IN:
            weight = huber_weight(error, threshold_px)
        else:
            weight = tukey_weight(error, tukey_cutoff_px(error, threshold_px))
        weighted = (jacobian * weight).reshape(7, -1)
        information = weighted @ jacobian.reshape(7, -1).T
        diagonal = np.einsum("ii->i", information)
        if not diagonal.min() > 0:
            return None
        diagonal *= 1.0 + _DAMPING
        try:
            step = -np.linalg.solve(information, weighted @ residual.ravel())
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all() or abs(step[6]) > _MAX_SCALE_STEP:
            return None
        similarity = _moved(similarity, step)
        if np.abs(step).max() < _CONVERGED:
            break
    return _evaluated(similarity, of_first, of_second, camera, threshold_px)


def _linearised(
    similarity: np.ndarray, of_first: SharedView, of_second: SharedView, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (2, N) in pixels, first those in the second view, and their derivatives (7, 2, N).

    The derivative is by ``(v, w, a)`` of ``S -> [exp(a) Exp(w), v] S``. In the first view X = S p moves by
    v + w x X + a X; in the second, Z = S^-1 q moves as if q moved by the opposite.
    """
    inverse = invert_similarity(similarity)
    residual0, jacobian0 = residuals_and_jacobian(inverse, of_first.points, of_first.pixels, camera)
    by_point = -np.einsum("jcn,ji->icn", jacobian0[:3], inverse[:3, :3])
    residual1, jacobian1 = residuals_and_jacobian(similarity, of_second.points, of_second.pixels, camera)
    moved = transform(similarity, of_second.points)
    jacobians = [
        np.concatenate([by, np.cross(points, by, axisa=1, axisb=0).transpose(2, 0, 1), _along(by, points)])
        for by, points in ((by_point, of_first.points), (jacobian1[:3], moved))
    ]
    return np.concatenate([residual0, residual1], axis=1), np.concatenate(jacobians, axis=2)


def _along(by_point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Derivative (1, 2, N) by the scale of points (N, 3), from that by the points (3, 2, N)."""
    return np.einsum("icn,ni->cn", by_point, points)[None]


def _moved(similarity: np.ndarray, step: np.ndarray) -> np.ndarray:
    return pose_from(np.exp(step[6]) * exp_so3(step[3:6]), step[:3]) @ similarity


def _evaluated(
    similarity: np.ndarray, of_first: SharedView, of_second: SharedView, camera: Camera, threshold_px: float
) -> SimilarityEstimate | None:
    residual, jacobian = _linearised(similarity, of_first, of_second, camera)
    error = np.hypot(*residual)
    inliers = error <= threshold_px
    count = np.count_nonzero(inliers)
    if 2 * count < 8:
        return None
    jacobian = jacobian[:, :, inliers].reshape(7, -1)
    information = jacobian @ jacobian.T
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(information), 1e-300))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    if not values[0] > 1e-12 * values[-1]:
        return None
    half = vectors / np.sqrt(values) * scale[:, None]
    variance = (np.sum(error[inliers] ** 2) + 5 * _PRIOR_NOISE_PX**2) / (2 * count - 7 + 5)
    # From (v, w, a) in the camera's axes to (dt, dr, ds) of the similarity itself
    to_delta = np.eye(7)
    to_delta[:3, 3:6], to_delta[:3, 6] = -skew(similarity[:3, 3]), similarity[:3, 3]
    covariance = variance * (to_delta @ half @ half.T @ to_delta.T)
    split = len(of_first.points)
    return SimilarityEstimate(similarity, inliers[:split], inliers[split:], covariance)
