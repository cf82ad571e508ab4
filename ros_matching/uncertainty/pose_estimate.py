"""What the tracker knows of one pose: where its error comes from.

A frame localised in the map minimises a robust cost of the residuals r_j of the landmarks, with derivatives J_j and A_j
by pose and landmark and H = sum_j l_j J_j^T J_j (l_j weights with bounded leverage). The landmarks are off by ``x_j =
B_j c + q_j``, where c are the errors of the map's keyframes. The step from the estimate to the truth is

    e = M c + sum_j i_j,    M = sum_j G_j A_j B_j,    G_j = -l_j H^-1 J_j^T,

where i_j = G_j psi(r_j) / mean(psi') / (1 - h_j) is the influence of landmark j: its own noise as the residual shows
it, pixels and q_j together. ``sum_j i_j i_j^T`` estimates the covariance without a model of the noise, which differs
from landmark to landmark far more than any score tells (the infinitesimal jackknife, Jaeckel 1972; the leverage h_j
makes up for residuals being smaller than errors, MacKinnon and White 1985). Landmarks near each other in the image are
wrong together (``geometry.places``), so influences are added up by place before they are squared, and raised by what
places still have in common.

The motion between two frames of one map: both errors contain c and the same q_j, and the pixel noise of one landmark is
alike in consecutive images, so what a landmark pushes both poses by cancels. With influences in common axes

    e_a - e_b = (M_a - M_b) c + sum_j (i_aj - i_bj),

a landmark that only one of the frames sees having no influence on the other. That two images err entirely alike is not
believed, though: cameras and their drivers repeat images, and a covariance of zero would break who inverts it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.bundle_covariance import step_lengths
from ros_matching.geometry.clustered_noise import ClusterSums, clusters_of
from ros_matching.geometry.pnp import bounded_leverage, residuals_and_jacobian, tukey_cutoff_px
from ros_matching.geometry.robust import tukey_slope, tukey_weight

_MIN_LANDMARKS = 6
_MAX_LEVERAGE = 0.7
_MAX_CONDITION = 1e12
_OWN_SHARE = 1e-3  # of the noise of a pose, which the one before cannot share


@dataclass(frozen=True)
class PoseEstimate:
    """A camera pose in the map with where its error comes from; K landmarks, F moving keyframes of map ``version``.

    ``influences`` (K, 6) are the i_j of the landmarks ``landmark_ids`` (K,), in ``places`` (K, 2) of the image;
    ``by_map`` (6, 6F) is M, ``own`` (6, 6) the covariance of what rests on neither.
    """

    camera_from_world: np.ndarray
    version: int
    landmark_ids: np.ndarray
    places: np.ndarray
    influences: np.ndarray
    by_map: np.ndarray
    own: np.ndarray

    @property
    def noise(self) -> np.ndarray:
        """The covariance (6, 6) of the step, but for what the map contributes."""
        return self.own + self.by_landmarks

    @cached_property
    def by_landmarks(self) -> np.ndarray:
        """The covariance (6, 6) of what the landmarks' own noise does to the step."""
        return _squared_by_place(self.influences, self.places)

    def rescaled(self, factor: float) -> PoseEstimate:
        """The same, after all lengths were multiplied by ``factor`` about this camera."""
        step = step_lengths(factor, 1)
        by_map = step[:, None] * self.by_map / step_lengths(factor, self.by_map.shape[1] // 6)
        return replace(self, influences=self.influences * step, by_map=by_map, own=np.outer(step, step) * self.own)


@dataclass(frozen=True)
class Influences:
    """What landmarks do to a pose; L of them, ``rows`` (L,) of those that were given.

    ``influences`` (L, 6) are the i_j, ``gains`` (L, 6, 2) the G_j, ``by_point`` (L, 2, 3) the A_j, in ``places`` (L, 2)
    of the image.
    """

    rows: np.ndarray
    places: np.ndarray
    influences: np.ndarray
    gains: np.ndarray
    by_point: np.ndarray

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
        """Of landmarks (K, 3) seen at pixels (K, 2) by a pose that fits them; ``None`` where they do not tell it."""
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
        push = residual * (tukey_weight(error, cutoff_px) / tukey_slope(error, cutoff_px, 2) / (1.0 - leverage))
        return cls(
            rows,
            clusters_of(points_px[rows], camera.width),
            np.einsum("nia,an->ni", gains, push, optimize=True),
            gains,
            np.einsum("jan,jk->nak", jacobian[:3], camera_from_world[:3, :3], optimize=True),
        )


def difference_noise(before: PoseEstimate, now: PoseEstimate, of_before: np.ndarray, of_now: np.ndarray) -> np.ndarray:
    """The covariance (6, 6) of ``of_before e_before - of_now e_now`` but for what the map contributes."""
    union, rows = np.unique(np.concatenate([before.landmark_ids, now.landmark_ids]), return_inverse=True)
    rows0, rows1 = rows[: len(before.landmark_ids)], rows[len(before.landmark_ids) :]
    difference, places = np.zeros((len(union), 6)), np.zeros((len(union), 2), np.intp)
    difference[rows0] = before.influences @ of_before.T
    difference[rows1] -= now.influences @ of_now.T
    places[rows0] = before.places
    places[rows1] = now.places
    return _squared_by_place(difference, places) + _OWN_SHARE * (of_now @ now.by_landmarks @ of_now.T)


def _squared_by_place(influences: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The sum (6, 6) of squares of influences (K, 6), after those of one place (K, 2) were added up.

    It is raised by what neighbouring places have in common. The fewer places there are, the less certain is the sum
    itself; it is raised for errors over it to have the squares that they should have on average (the mean of
    Hotelling's statistic).
    """
    if not len(influences):
        return np.zeros((6, 6))
    by_place = ClusterSums.of(influences, places)
    squares = by_place.squares()
    common = by_place.common_factor(np.linalg.pinv(squares, rcond=1e-9, hermitian=True))
    return common * by_place.count / max(by_place.count - 7, 1) * squares
