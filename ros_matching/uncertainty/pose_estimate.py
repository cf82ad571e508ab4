"""Pose estimate with the parts of its error: noise of the landmarks, and errors of the map.

A frame localised in the map minimises a robust cost of the residuals r_j of the landmarks, with Jacobians J_j and A_j
for pose and landmark, and H = sum_j l_j J_j^T J_j (l_j: weights of bounded leverage). Landmarks have errors ``x_j = B_j
c + q_j``, where c are the errors of the map's keyframes. The step from the estimate to the ground truth is

    e = M c + sum_j i_j,    M = sum_j G_j A_j B_j,    G_j = -l_j H^-1 J_j^T,

where i_j = G_j psi(r_j) / mean(psi') / (1 - h_j) is the influence of landmark j: its noise as observed in the residual,
from pixels and q_j together. ``sum_j i_j i_j^T`` estimates the covariance without a noise model, since the noise of
landmarks differs far more than scores indicate (the infinitesimal jackknife, Jaeckel 1972). The leverage h_j corrects
for residuals being smaller than errors (MacKinnon and White 1985). Errors of neighbouring landmarks are correlated, so
the covariance is cluster-robust (``geometry.clustered_noise``): influences are summed by cluster before they are
squared, and the sum is multiplied by a factor for the correlation between clusters.

For the motion between two frames of one map, both errors contain c and the same q_j, and the pixel noise of a landmark
is similar in consecutive images. The common part of the influence of a landmark cancels. In common axes

    e_a - e_b = (M_a - M_b) c + sum_j (i_aj - i_bj),

where a landmark has no influence on a frame that does not observe it. The difference is never taken to be zero: cameras
and their drivers repeat images, and a zero covariance has no inverse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.bundle_covariance import step_lengths
from ros_matching.geometry.clustered_noise import ClusterSums, clusters_of
from ros_matching.geometry.intrinsics_error import projections_by_intrinsics
from ros_matching.geometry.pnp import bounded_leverage, residuals_and_jacobian, tukey_cutoff_px
from ros_matching.geometry.robust import tukey_slope, tukey_weight

_MIN_LANDMARKS = 6
_MAX_LEVERAGE = 0.7
_MAX_CONDITION = 1e12
_MAX_PART_CONDITION = 1e6  # of the part of the information that some of the landmarks have
_OWN_FRACTION = 1e-3  # fraction of the noise of a pose that is independent of the previous pose


@dataclass(frozen=True)
class PoseEstimate:
    """A camera pose in the map with the parts of its error; K landmarks, F moving keyframes of map ``version``.

    ``influences`` (K, 6) are the i_j of the landmarks ``landmark_ids`` (K,), in ``clusters`` (K, 2) of the image;
    ``by_map`` (6, 6F) is M, ``own`` (6, 6) the covariance of errors that depend on neither. ``by_intrinsics`` (6, 4) is
    the derivative of the step by the errors of the intrinsics, if the first keyframe of the map is exact.
    """

    camera_from_world: np.ndarray
    version: int
    landmark_ids: np.ndarray
    clusters: np.ndarray
    influences: np.ndarray
    by_map: np.ndarray
    own: np.ndarray
    by_intrinsics: np.ndarray

    @property
    def noise(self) -> np.ndarray:
        """Covariance (6, 6) of the step without the errors of the map."""
        return self.own + self.by_landmarks

    @cached_property
    def by_landmarks(self) -> np.ndarray:
        """Covariance (6, 6) of the step from the noise of the landmarks."""
        return _squared_by_cluster(self.influences, self.clusters)

    def rescaled(self, factor: float) -> PoseEstimate:
        """Return the estimate after all lengths were multiplied by ``factor`` about this camera."""
        step = step_lengths(factor, 1)
        by_map = step[:, None] * self.by_map / step_lengths(factor, self.by_map.shape[1] // 6)
        return replace(
            self,
            influences=self.influences * step,
            by_map=by_map,
            own=np.outer(step, step) * self.own,
            by_intrinsics=self.by_intrinsics * step[:, None],
        )


@dataclass(frozen=True)
class Influences:
    """Influences of L landmarks on a pose; ``rows`` (L,) are their rows in the input.

    ``influences`` (L, 6) are the i_j, ``gains`` (L, 6, 2) the G_j, ``by_pose`` (L, 2, 6) the J_j and ``by_point``
    (L, 2, 3) the A_j; ``clusters`` (L, 2) are cells of the image, ``xy`` (2, L) normalised coordinates.
    """

    rows: np.ndarray
    clusters: np.ndarray
    influences: np.ndarray
    gains: np.ndarray
    by_pose: np.ndarray
    by_point: np.ndarray
    xy: np.ndarray

    @classmethod
    def of(
        cls,
        camera: Camera,
        camera_from_world: np.ndarray,
        positions: np.ndarray,
        points_px: np.ndarray,
        threshold_px: float,
        weights: np.ndarray | None = None,
    ) -> Influences | None:
        """Compute those of landmarks (K, 3) observed at pixels (K, 2); ``None`` if they do not determine the pose."""
        residual, jacobian = residuals_and_jacobian(camera_from_world, positions, points_px, camera)
        rows = np.flatnonzero(np.isfinite(residual).all(axis=0))
        if len(rows) < _MIN_LANDMARKS:
            return None
        residual, jacobian = residual[:, rows], jacobian[:, :, rows]
        error = np.hypot(*residual)
        cutoff_px = tukey_cutoff_px(error, threshold_px)
        weights = np.ones(len(rows)) if weights is None else weights[rows]
        weighted = jacobian * bounded_leverage(weights * (error < cutoff_px), jacobian[0, 0])
        information = weighted.reshape(6, -1) @ jacobian.reshape(6, -1).T
        if not np.linalg.cond(information) < _MAX_CONDITION:
            return None
        gains = -np.einsum("ij,jan->nia", np.linalg.inv(information), weighted, optimize=True)
        leverage = np.minimum(-0.5 * np.einsum("nia,ian->n", gains, jacobian, optimize=True), _MAX_LEVERAGE)
        noise = residual * (tukey_weight(error, cutoff_px) / tukey_slope(error, cutoff_px, 2) / (1.0 - leverage))
        return cls(
            rows,
            clusters_of(points_px[rows], camera.width),
            np.einsum("nia,an->ni", gains, noise, optimize=True),
            gains,
            jacobian.transpose(2, 1, 0),
            np.einsum("jan,jk->nak", jacobian[:3], camera_from_world[:3, :3], optimize=True),
            camera.unproject(points_px[rows]).T[:2],
        )

    def step_by_intrinsics(self, camera: Camera, rows: np.ndarray, of_points: np.ndarray) -> np.ndarray | None:
        """Return the derivative (6, 4) of the step of the pose by the errors of the intrinsics.

        It is that of a localisation by the landmarks ``rows`` (N,) alone, which themselves have the derivatives
        ``of_points`` (N, 3, 4); ``None`` if they do not determine the pose.
        """
        gains = self.gains[rows]
        own = -np.einsum("nia,nak->ik", gains, self.by_pose[rows], optimize=True)
        if len(rows) < _MIN_LANDMARKS or not np.linalg.cond(own) < _MAX_PART_CONDITION:
            return None
        of_pixels = projections_by_intrinsics(camera, self.xy[:, rows]).transpose(2, 1, 0)
        of_pixels += self.by_point[rows] @ of_points
        return np.linalg.solve(own, np.einsum("nia,nak->ik", gains, of_pixels, optimize=True))


def difference_noise(before: PoseEstimate, now: PoseEstimate, of_before: np.ndarray, of_now: np.ndarray) -> np.ndarray:
    """Return the covariance (6, 6) of ``of_before e_before - of_now e_now`` without the errors of the map."""
    union, rows = np.unique(np.concatenate([before.landmark_ids, now.landmark_ids]), return_inverse=True)
    rows0, rows1 = rows[: len(before.landmark_ids)], rows[len(before.landmark_ids) :]
    difference, clusters = np.zeros((len(union), 6)), np.zeros((len(union), 2), np.intp)
    difference[rows0] = before.influences @ of_before.T
    difference[rows1] -= now.influences @ of_now.T
    clusters[rows0] = before.clusters
    clusters[rows1] = now.clusters
    return _squared_by_cluster(difference, clusters) + _OWN_FRACTION * (of_now @ now.by_landmarks @ of_now.T)


def _squared_by_cluster(influences: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sum the squares (6, 6) of influences (K, 6) that were summed by cluster (K, 2).

    The sum is multiplied by a factor for the correlation of neighbouring clusters, and by one for the small number of
    clusters: with it, squared normalised errors have the expected mean (that of Hotelling's statistic).
    """
    if not len(influences):
        return np.zeros((6, 6))
    by_cluster = ClusterSums.of(influences, clusters)
    squares = by_cluster.squares()
    common = by_cluster.common_factor(np.linalg.pinv(squares, rcond=1e-9, hermitian=True))
    return common * by_cluster.count / max(by_cluster.count - 7, 1) * squares
