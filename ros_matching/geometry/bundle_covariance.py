"""The joint covariance of the cameras of a bundle adjustment, and of the points given the cameras.

At the optimum the cameras' steps c and the points' steps p have the information matrix ``[[U, W], [W^T, V]]``
(Triggs et al., "Bundle Adjustment - A Modern Synthesis", 1999, section 6). The points depend on the cameras as

    p = -V^-1 W^T c + q,       cov(q) = sigma^2 V^-1,

with q independent of c and between points. The error that all points have in common, which does not average out, is
therefore that of the cameras alone. Their usual covariance, ``sigma^2 S^-1`` with ``S = U - W V^-1 W^T``, assumes
independent and equally noisy observations. Real observations are correlated: the error of a point is similar in all
views, and neighbouring points have similar errors. The true covariance is several times larger. It is estimated by the
cluster-robust (sandwich) covariance ``S^-1 (sum_g s_g s_g^T) S^-1`` (White 1980, Liang and Zeger 1986). The score s_g
is summed over all views of all points of one cell of the image, and the result is multiplied by the correlation between
cells (``geometry.clustered_noise``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem
from ros_matching.geometry.clustered_noise import ClusterSums, clusters_of
from ros_matching.geometry.intrinsics_error import projections_by_intrinsics
from ros_matching.geometry.normal_equations import BundleObservations, Linearisation, Residuals, jacobians
from ros_matching.geometry.robust import cauchy_weight, huber_weight
from ros_matching.geometry.se3 import invert

ROBUST_WEIGHTS = {"huber": huber_weight, "cauchy": cauchy_weight}
_FLAT = 1e-9  # fraction of the largest eigenvalue of the scaled information below which a direction is not observed
_MIN_POINT_CONDITION = 1e-10


@dataclass(frozen=True)
class BundleCovariance:
    """Uncertainty of F free cameras and P points, in the order of the problem.

    ``free_cameras`` (F,) are the rows of the problem's cameras that were not fixed; ``cameras`` (6F, 6F) is the joint
    covariance of their steps ``(v, w)`` of ``X -> Exp(w) X + v``; ``points_by_cameras`` (P, 3, 6F) is the dependence of
    the points on them, and ``points`` (P, 3, 3) the covariance of each point given the cameras. ``std_px`` is the noise
    of one coordinate of an observation on average. Directions that nothing observes, such as the scale where only one
    camera is fixed, have no variance: they are the gauge.

    ``cameras_by_intrinsics`` (6F, 4) and ``points_by_intrinsics`` (P, 3, 4) are the derivatives of steps and points by
    the errors of the intrinsics (``geometry.intrinsics_error``).
    """

    free_cameras: np.ndarray
    cameras: np.ndarray
    points_by_cameras: np.ndarray
    points: np.ndarray
    std_px: float
    cameras_by_intrinsics: np.ndarray
    points_by_intrinsics: np.ndarray

    def rescaled(self, factor: float) -> BundleCovariance:
        """The same of the problem with all its lengths multiplied by ``factor``."""
        steps = step_lengths(factor, len(self.free_cameras))
        return replace(
            self,
            cameras=self.cameras * np.outer(steps, steps),
            points_by_cameras=factor * self.points_by_cameras / steps,
            points=factor**2 * self.points,
            cameras_by_intrinsics=self.cameras_by_intrinsics * steps[:, None],
            points_by_intrinsics=factor * self.points_by_intrinsics,
        )


def step_lengths(factor: float, cameras: int) -> np.ndarray:
    """The factors (6F,) of the steps ``(v, w)`` of F cameras when lengths are multiplied by ``factor``."""
    return np.tile([factor] * 3 + [1.0] * 3, cameras)


def bundle_covariance(
    problem: BundleProblem,
    config: BundleConfig | None = None,
    min_std_px: float = 0.0,
    by_intrinsics: np.ndarray | None = None,
) -> BundleCovariance:
    """The covariance of an adjusted problem, whose cameras and points are at the optimum.

    ``config`` is that of the adjustment, for its robust weights. The noise is never taken to be less than
    ``min_std_px``. ``by_intrinsics`` (C, 6, 4) are the derivatives of the fixed cameras' steps by the errors of the
    intrinsics, zero unless given; those of the others are not read.
    """
    config = config or BundleConfig()
    observations = BundleObservations.of(problem)
    residuals = observations.residuals(problem.camera_from_world, problem.points)
    weight = observations.weights * ROBUST_WEIGHTS[config.loss](residuals.error_px, config.loss_scale_px)
    linear = Linearisation.of(observations, residuals, problem.camera_from_world, weight)
    by_camera, by_point = jacobians(observations, residuals, problem.camera_from_world)
    free, count = observations.free_cameras, len(problem.points)
    unknowns = 6 * len(free)
    freedom = max(2 * len(weight) - unknowns - 3 * count, 1)
    std_px = max(min_std_px, float(np.sqrt(weight @ np.sum(residuals.residual**2, axis=0) / freedom)))
    point_inverse = _inverses(linear.point_blocks)
    cross = _dense_cross(linear, count)
    by_cameras = -(point_inverse @ cross)
    information = cross.reshape(3 * count, unknowns).T @ by_cameras.reshape(3 * count, unknowns)
    for slot in range(len(free)):
        block = slice(6 * slot, 6 * slot + 6)
        information[block, block] += linear.camera_blocks[slot]
    inverse = _observed_inverse(information, _scale_step(problem))
    scores = _scores_by_cluster(observations, by_camera, weight * residuals.residual)
    cameras = scores.common_factor(inverse) * (inverse @ scores.squares() @ inverse)
    # Residuals are too small by the degrees of freedom of the fit: the ratio of unknowns to clusters.
    cameras += unknowns / scores.count * std_px**2 * inverse
    pushes = weight * _residuals_by_intrinsics(problem, observations, residuals, by_camera, by_intrinsics)
    of_cameras, of_points = _gradients(observations, by_camera, by_point, pushes)
    camera_steps = -inverse @ (of_cameras + np.einsum("pac,pak->ck", by_cameras, of_points, optimize=True))
    return BundleCovariance(
        free,
        cameras,
        by_cameras,
        std_px**2 * point_inverse,
        std_px,
        camera_steps,
        by_cameras @ camera_steps - point_inverse @ of_points,
    )


def _scores_by_cluster(observations: BundleObservations, by_camera: np.ndarray, pushes: np.ndarray) -> ClusterSums:
    """The gradients (6F,) of the cost by the free cameras, summed over the points of each cluster.

    ``by_camera`` (6, 2, O) are derivatives of the residuals, ``pushes`` (2, O) the weighted residuals. At the optimum
    the gradient by a point is zero, so that its elimination changes nothing. A point belongs to the cluster of its
    first observation.
    """
    products = np.einsum("inj,nj->ij", by_camera, pushes)
    _, first = np.unique(observations.point_index, return_index=True)
    scores = np.zeros((len(first), 6 * len(observations.free_cameras)))
    for slot, camera in enumerate(observations.free_cameras):
        part = slice(observations.starts[camera], observations.starts[camera + 1])
        np.add.at(scores[:, 6 * slot : 6 * slot + 6], observations.point_index[part], products[:, part].T)
    return ClusterSums.of(scores, clusters_of(observations.points_px[:, first].T, observations.camera.width))


def _residuals_by_intrinsics(
    problem: BundleProblem,
    observations: BundleObservations,
    residuals: Residuals,
    by_camera: np.ndarray,
    by_intrinsics: np.ndarray | None,
) -> np.ndarray:
    """Derivatives (4, 2, O) of the residuals by the errors of the intrinsics, which moved the fixed cameras as well."""
    derivatives = projections_by_intrinsics(observations.camera, residuals.xy)
    if by_intrinsics is None:
        return derivatives
    for camera in np.flatnonzero(problem.fixed_cameras):
        part = slice(observations.starts[camera], observations.starts[camera + 1])
        derivatives[:, :, part] += np.tensordot(by_intrinsics[camera].T, by_camera[:, :, part], 1)
    return derivatives


def _gradients(
    observations: BundleObservations, by_camera: np.ndarray, by_point: np.ndarray, pushes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients (6F, K) by the free cameras and (P, 3, K) by the points of weighted residuals (K, 2, O)."""
    of_cameras = [
        np.einsum("ino,kno->ik", by_camera[:, :, start:end], pushes[:, :, start:end], optimize=True)
        for start, end in zip(
            observations.starts[observations.free_cameras],
            observations.starts[observations.free_cameras + 1],
            strict=True,
        )
    ]
    products = np.einsum("ino,kno->iko", by_point, pushes, optimize=True)
    rows, count = observations.point_index, observations.point_count
    of_points = np.array([[np.bincount(rows, column, count) for column in row] for row in products])
    return np.reshape(of_cameras, (-1, len(pushes))), of_points.transpose(2, 0, 1)


def _dense_cross(linear: Linearisation, count: int) -> np.ndarray:
    """W transposed as (P, 3, 6F): zero where a camera does not observe a point."""
    observations = linear.observations
    dense = np.zeros((count, 3, 6 * len(observations.free_cameras)))
    for slot, camera in enumerate(observations.free_cameras):
        rows = observations.point_index[observations.starts[camera] : observations.starts[camera + 1]]
        dense[rows, :, 6 * slot : 6 * slot + 6] = linear.cross[slot].transpose(2, 1, 0)
    return dense


def _inverses(blocks: np.ndarray) -> np.ndarray:
    """Inverses (P, 3, 3) of symmetric blocks, their smallest eigenvalues limited to a fraction of the largest."""
    values, vectors = np.linalg.eigh(blocks)
    values = np.maximum(values, np.maximum(_MIN_POINT_CONDITION * values[:, -1:], 1e-300))
    return (vectors / values[:, None]) @ vectors.swapaxes(1, 2)


def _scale_step(problem: BundleProblem) -> np.ndarray:
    """The step (6F,) of the free cameras that changes nothing but the scale; zero where two cameras hold it."""
    fixed = np.flatnonzero(problem.fixed_cameras)
    poses = problem.camera_from_world[~problem.fixed_cameras]
    if len(fixed) != 1:
        return np.zeros(6 * len(poses))
    center = invert(problem.camera_from_world[fixed[0]])[:3, 3]
    away = poses[:, :3, 3] + poses[:, :3, :3] @ center
    return np.column_stack([away, np.zeros_like(away)]).ravel()


def _observed_inverse(information: np.ndarray, gauge: np.ndarray) -> np.ndarray:
    """The pseudo-inverse of a symmetric matrix, whatever the units of its rows: flat directions get no variance.

    Rounding, and points that hardly have a depth, leave the ``gauge`` a curvature of any size: it is flat by decree.
    """
    if not len(information):
        return information
    diagonal = np.diagonal(information)
    known = diagonal > _FLAT * diagonal.max()
    scale = np.where(known, 1.0 / np.sqrt(np.where(known, diagonal, 1.0)), 0.0)
    across = _without(gauge * np.sqrt(np.where(known, diagonal, 0.0)))
    values, vectors = np.linalg.eigh(across @ (information * np.outer(scale, scale)) @ across)
    observed = values > _FLAT * values[-1]
    half = _without(gauge) @ (scale[:, None] * vectors[:, observed] / np.sqrt(values[observed]))
    return half @ half.T


def _without(direction: np.ndarray) -> np.ndarray:
    """The projection (N, N) that removes the component along a direction (N,); the identity if that is zero."""
    power = direction @ direction
    return np.eye(len(direction)) - (np.outer(direction, direction) / power if power > 0 else 0.0)
