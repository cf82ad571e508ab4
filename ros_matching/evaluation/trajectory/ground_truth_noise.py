"""Noise of the true poses of a real sequence, which other sensors have measured.

If it exceeds the errors of the odometry, it must be part of their comparison. Two instruments that measure the same
motion yield the variance of each (Grubbs, "On estimating precision of measuring instruments and product variability",
1948): with independent noise, ``<t (t - e)>`` of true motions t and estimated ones e is the variance of the noise of t.
Errors of the tracker, also those that last, do not count as noise of the ground truth. Real motions are far larger than
the noise, but change slowly: second differences of the motions are compared. The noise is assumed to be white in the
poses; that of one motion is then the difference of two, and that of a second difference has 20 times its variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ros_matching.geometry.se3 import invert, local, scaled

_SECOND_DIFFERENCE = np.array([-1.0, 2.0, -1.0])
_GAIN = 20.0  # variance of a second difference of motions by that of a pose: (1, -3, 3, -1) squared
_MIN_DIFFERENCES = 10
_SIGNIFICANT = 2.0  # standard errors


@dataclass(frozen=True)
class PoseNoise:
    """Standard deviations, per axis, of true poses; lengths in their unit."""

    translation: float = 0.0
    rotation_deg: float = 0.0

    def covariance(self, unit: float) -> np.ndarray:
        """Return the covariance (6, 6) of ``(dt, dr)`` for an estimate with this scale to the ground truth."""
        return np.diag([(self.translation / unit) ** 2] * 3 + [np.radians(self.rotation_deg) ** 2] * 3)


def noise_in_parts(runs: Sequence[tuple[Sequence[np.ndarray | None], np.ndarray, float]]) -> PoseNoise:
    """Return the noise of true poses in parts of a run with one scale each.

    A part has the N estimated motions since the previous frame (4, 4), ``None`` where unknown, N true
    ``world_from_camera`` (N, 4, 4), and the ``scale`` from the estimate to the ground truth. Noise that is not
    significant is zero.
    """
    products = np.concatenate([_products(*run) for run in runs]) if runs else np.zeros((0, 6))
    if len(products) < _MIN_DIFFERENCES:
        return PoseNoise()
    by_kind = products.reshape(-1, 2, 3).mean(axis=2)
    mean, error = by_kind.mean(axis=0), by_kind.std(axis=0) / np.sqrt(len(by_kind))
    translation, rotation = np.sqrt(np.where(mean > _SIGNIFICANT * error, mean, 0.0) / _GAIN)
    return PoseNoise(float(translation), float(np.degrees(rotation)))


def _products(motions: Sequence[np.ndarray | None], true_poses: np.ndarray, scale: float) -> np.ndarray:
    """Products (M, 6) of the second differences of true motions with their excess over those of estimated ones."""
    estimated, true = np.full((2, len(motions), 6), np.nan)
    for row, (motion, (before, now)) in enumerate(zip(motions[1:], pairwise(true_poses), strict=True), 1):
        if motion is not None:
            estimated[row] = local(np.eye(4), scaled(motion, scale))
            true[row] = local(np.eye(4), invert(before) @ now)
    if len(motions) < len(_SECOND_DIFFERENCE):
        return np.zeros((0, 6))
    of_true, of_estimated = (
        np.stack([np.convolve(axis, _SECOND_DIFFERENCE, "valid") for axis in series.T], axis=1)
        for series in (true, estimated)
    )
    products = of_true * (of_true - of_estimated)
    return products[np.isfinite(products).all(axis=1)]
