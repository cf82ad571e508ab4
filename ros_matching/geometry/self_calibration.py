"""Self-calibration: errors of the intrinsics that the images themselves show.

A bundle adjustment under wrong intrinsics absorbs most of their effect in poses and points; the rest remains in the
residuals, as only the true intrinsics explain rotations, near and far points and the edges of the image alike. One
Gauss-Newton step for the intrinsics, with all cameras and points of a window free, measures them. The gradient is
summed over the observations of a point and the cells of the image, as in ``geometry.bundle_covariance``, since their
errors are correlated. Far from the true intrinsics the step is too short, by up to a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem
from ros_matching.geometry.bundle_covariance import ROBUST_WEIGHTS, bundle_covariance
from ros_matching.geometry.clustered_noise import ClusterSums, clusters_of
from ros_matching.geometry.intrinsics_error import COUNT, IntrinsicsStds, projections_by_intrinsics
from ros_matching.geometry.normal_equations import BundleObservations, jacobians

_MOST_POINTS = 1200  # of a window: more make it slower, and hardly more certain
# Prior of the errors: they are not larger than this
_PRIOR = IntrinsicsStds(focal=0.1, center=0.05, radial=0.3)


@dataclass(frozen=True)
class IntrinsicsEvidence:
    """Normal equations of the errors of the intrinsics in one window, with poses and points eliminated.

    ``information`` (4, 4) and ``gradient`` (4,) in units of the noise; ``variance`` (4, 4) is that of the gradient, and
    ``prior_stds`` (4,) bound the errors.
    """

    information: np.ndarray
    gradient: np.ndarray
    variance: np.ndarray
    prior_stds: np.ndarray


def intrinsics_evidence(problem: BundleProblem, config: BundleConfig) -> IntrinsicsEvidence:
    """Return the evidence of an adjusted problem of N cameras; its fixed cameras are free but for the first."""
    fixed = np.zeros(len(problem.fixed_cameras), dtype=bool)
    fixed[0] = True
    problem = replace(_with_fewer_points(problem), fixed_cameras=fixed)
    response = bundle_covariance(problem, config)
    observations = BundleObservations.of(problem)
    residuals = observations.residuals(problem.camera_from_world, problem.points)
    weight = observations.weights * ROBUST_WEIGHTS[config.loss](residuals.error_px, config.loss_scale_px)
    weight = weight / response.std_px**2
    by_camera, by_point = jacobians(observations, residuals, problem.camera_from_world)
    derivatives = projections_by_intrinsics(problem.camera, residuals.xy)
    steps = np.zeros((len(fixed), 6, COUNT))
    steps[observations.free_cameras] = response.cameras_by_intrinsics.reshape(-1, 6, COUNT)
    derivatives += np.einsum("oik,ino->kno", steps[observations.camera_index], by_camera, optimize=True)
    of_points = response.points_by_intrinsics[observations.point_index]
    derivatives += np.einsum("oik,ino->kno", of_points, by_point, optimize=True)
    information = np.einsum("kno,lno->kl", weight * derivatives, derivatives, optimize=True)
    scores = np.einsum("kno,no->ok", derivatives, weight * residuals.residual, optimize=True)
    points, first, rows = np.unique(observations.point_index, return_index=True, return_inverse=True)
    by_track = np.zeros((len(points), COUNT))
    np.add.at(by_track, rows, scores)
    clusters = ClusterSums.of(by_track, clusters_of(observations.points_px[:, first].T, problem.camera.width))
    variance = clusters.common_factor(np.linalg.pinv(information)) * clusters.squares()
    return IntrinsicsEvidence(information, by_track.sum(axis=0), variance, _PRIOR.of(problem.camera))


def _with_fewer_points(problem: BundleProblem) -> BundleProblem:
    """Return a problem with every second, third ... of the points, so that they are not too many."""
    step = -(-len(problem.points) // _MOST_POINTS)
    rows = np.flatnonzero(problem.point_index % step == 0)
    return replace(
        problem,
        points=problem.points[::step],
        camera_index=problem.camera_index[rows],
        point_index=problem.point_index[rows] // step,
        points_px=problem.points_px[rows],
        weights=problem.weights[rows],
    )


def estimated_errors(evidence: Sequence[IntrinsicsEvidence]) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors (4,) of the intrinsics, true minus assumed, by all evidence, and standard deviations (4,)."""
    prior = np.diag(evidence[0].prior_stds ** -2.0)
    inverse = np.linalg.inv(sum(e.information for e in evidence) + prior)
    variance = inverse @ (sum(e.variance for e in evidence) + prior) @ inverse
    return -inverse @ sum(e.gradient for e in evidence), np.sqrt(np.diagonal(variance))
