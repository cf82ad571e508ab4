"""Consistency of pose covariances: normalised estimation error squared (NEES) against ground truth.

``e^T cov^-1 e`` of an error with d degrees of freedom has the mean d for a correct covariance, and a larger one for an
optimistic covariance (Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001,
section 5.4). The mean of N independent values lies within chi-square quantiles of ``N d`` degrees of freedom over N.

Errors of a tracker are correlated in time. N is therefore the effective number: the number of poses over ``1 + 2 sum_k
rho_k``, with the autocorrelation rho of the NEES series while it is positive (Geyer, "Practical Markov chain Monte
Carlo", 1992).

A monocular estimate has no scale. The errors are computed in the unit of the estimate, to which the ground truth is
scaled. If some poses are metric, only they are evaluated, and nothing is scaled. The unit is that of the first pose of
a map, so the scale of a map is the most likely one by the covariances: poses that have drifted have larger ones.
Relative poses are compared with the true motion between the two frames. World poses are compared after an alignment of
the pose with the smallest covariance to its true one, which adds its covariance to theirs; a pose with a large
covariance would hide errors of the others. All world poses are in the unit of the first map, so the covariance of a map
after a loss must include the uncertainty of the loss. The noise of the ground truth is added to the covariances
(``evaluation.trajectory.ground_truth_noise``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from ros_matching.datatypes import ScaleState
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.trajectory.ground_truth_noise import PoseNoise, noise_in_parts
from ros_matching.geometry.se3 import invert, local, relative_covariance, scaled

if TYPE_CHECKING:
    from ros_matching.evaluation.trajectory.run_report import FrameRecord
    from ros_matching.io.trajectory import Trajectory

CONFIDENCE = 0.95
EXACT = PoseNoise()
MIN_POSES = 10
_MAX_SCALE_CHANGE = 1.5
_POSES_FOR_SCALE = 500


@dataclass(frozen=True)
class EvaluatedPose:
    """One tracked frame: estimated and true ``world_from_camera`` (4, 4), covariances (6, 6), number of the map.

    ``previous_from_current`` (4, 4) and the covariances are ``None`` when unknown.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray | None
    previous_from_current: np.ndarray | None
    relative_covariance: np.ndarray | None
    true_world_from_camera: np.ndarray
    map_number: int = 1
    is_metric: bool = False
    stamp_ns: int = 0


@dataclass(frozen=True)
class Consistency:
    """Agreement of N covariances of d degrees of freedom with the errors.

    ``mean_nees`` should lie within ``bounds``, which hold for ``effective`` independent errors. ``axes`` (d,) is the
    mean square of each error over its variance, ideally 1. ``within`` is the fraction of errors inside their 95 %
    region.
    """

    count: int
    freedom: int
    effective: float
    mean_nees: float
    bounds: tuple[float, float]
    axes: np.ndarray
    within: float

    @property
    def is_consistent(self) -> bool:
        """True if the mean lies within its bounds."""
        return self.bounds[0] <= self.mean_nees <= self.bounds[1]

    def values(self) -> dict[str, object]:
        """Return the figures for JSON."""
        return {
            "poses": self.count,
            "effective": round(self.effective, 1),
            "degrees_of_freedom": self.freedom,
            "mean_nees": round(self.mean_nees, 3),
            "bounds": [round(bound, 3) for bound in self.bounds],
            "consistent": self.is_consistent,
            "within_95_percent": round(self.within, 4),
            "by_axis": [round(float(axis), 3) for axis in self.axes],
        }


def nees(errors: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Return ``e^T cov^-1 e`` (N,) of errors (N, d) with covariances (N, d, d), for any units of the axes."""
    scale = 1.0 / np.sqrt(np.einsum("nii->ni", covariances))
    scaled = covariances * scale[:, :, None] * scale[:, None, :]
    whitened = np.linalg.solve(scaled, (errors * scale)[:, :, None])[:, :, 0]
    return np.sum(whitened * errors * scale, axis=1)


def consistency(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> Consistency:
    """Return the consistency of errors (N, d) with covariances (N, d, d), in one or more series in order of time."""
    series = [(errors, covariances) for errors, covariances in series if len(errors)]
    if not series:
        raise EvaluationError("the consistency of covariances needs errors, got none; track a longer sequence")
    each = [nees(errors, covariances) for errors, covariances in series]
    values = np.concatenate(each)
    freedom = series[0][0].shape[1]
    effective = sum(len(part) / correlation_time(part, values.mean()) for part in each)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = chi2.ppf([tail, 1.0 - tail], freedom * effective) / effective
    squares = [errors**2 / np.einsum("nii->ni", covariances) for errors, covariances in series]
    return Consistency(
        len(values),
        freedom,
        float(effective),
        float(values.mean()),
        (float(low), float(high)),
        np.concatenate(squares).mean(axis=0),
        float(np.mean(values <= chi2.ppf(CONFIDENCE, freedom))),
    )


def correlation_time(values: np.ndarray, mean: float) -> float:
    """Return the number of consecutive values (N,) of a series with this mean that count as one, 1 to N."""
    centred = values - mean
    power = centred @ centred
    if not power > 0:
        return 1.0
    total = 1.0
    for lag in range(1, len(values)):
        correlation = centred[lag:] @ centred[:-lag] / power
        if correlation <= 0:
            break
        total += 2.0 * correlation
    return float(min(total, len(values)))


def relative_errors(
    poses: Sequence[EvaluatedPose], scale: float, noise: PoseNoise = EXACT
) -> tuple[np.ndarray, np.ndarray]:
    """Return errors (M, 6) and covariances (M, 6, 6) of the known motions since the previous frame.

    ``scale`` converts the unit of the estimate to that of the ground truth, whose ``noise`` is added.
    """
    added = noise.covariance(scale)
    errors, covariances = [], []
    for before, now in pairwise(poses):
        if now.previous_from_current is None or not _is_known(now.relative_covariance):
            continue
        true = scaled(invert(before.true_world_from_camera) @ now.true_world_from_camera, 1 / scale)
        errors.append(local(now.previous_from_current, true))
        covariances.append(now.relative_covariance + relative_covariance(np.eye(4), added, true, added))
    return np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6))


def world_errors(
    poses: Sequence[EvaluatedPose], scale: float, noise: PoseNoise = EXACT
) -> tuple[np.ndarray, np.ndarray]:
    """Return errors (M, 6) and covariances (M, 6, 6) of all poses, aligned at the one with the least covariance."""
    added = noise.covariance(scale)
    known = [pose for pose in poses if _is_known(pose.covariance)]
    best = min(known, key=_spread, default=None)
    errors, covariances = [], []
    for pose in known:
        if pose is best:
            continue
        true = scaled(invert(best.true_world_from_camera) @ pose.true_world_from_camera, 1 / scale)
        errors.append(local(invert(best.world_from_camera) @ pose.world_from_camera, true))
        covariances.append(
            relative_covariance(best.world_from_camera, best.covariance, pose.world_from_camera, pose.covariance)
            + relative_covariance(np.eye(4), added, true, added)
        )
    return np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6))


def likely_scale(poses: Sequence[EvaluatedPose], scale: float, noise: PoseNoise) -> float:
    """Return the scale, within a factor of 1.5 of an approximate one, for which the world poses are most likely."""

    some = poses[:: len(poses) // _POSES_FOR_SCALE + 1]

    def mean_nees(logarithm: float) -> float:
        errors, covariances = world_errors(some, scale * np.exp(logarithm), noise)
        return float(nees(errors, covariances).mean()) if len(errors) else 0.0

    limit = np.log(_MAX_SCALE_CHANGE)
    return scale * float(np.exp(minimize_scalar(mean_nees, bounds=(-limit, limit), method="bounded").x))


def _spread(pose: EvaluatedPose) -> float:
    """Return the size of a covariance for any units of its axes: the logarithm of its determinant."""
    return float(np.linalg.slogdet(pose.covariance)[1])


def scale_of(poses: Sequence[EvaluatedPose]) -> float:
    """Return the scale from estimate to ground truth by the positions; NaN if the estimate does not move."""
    return scale_between(
        np.stack([pose.world_from_camera for pose in poses]), np.stack([pose.true_world_from_camera for pose in poses])
    )


def scale_between(estimated: np.ndarray, true: np.ndarray) -> float:
    """Return the scale between two trajectories (N, 4, 4)."""
    estimated, true = (poses[:, :3, 3] - poses[:, :3, 3].mean(axis=0) for poses in (estimated, true))
    power = np.sum(estimated**2)
    if not power > 0:
        return float("nan")
    u, singular, vt = np.linalg.svd(true.T @ estimated)
    singular[2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
    return float(singular.sum() / power)


def evaluate_consistency(poses: Sequence[EvaluatedPose]) -> dict[str, Consistency]:
    """Return ``relative`` and ``world`` consistency of the tracked frames of a run, in order of time.

    Raises ``EvaluationError`` with fewer than ten poses, or if the camera did not move.
    """
    if len(poses) < MIN_POSES:
        raise EvaluationError(f"the consistency of covariances needs at least {MIN_POSES} poses, got {len(poses)}")
    poses = _metric_ones(poses) or poses
    parts = scaled_maps(poses)
    if not parts:
        raise EvaluationError("the estimate does not move, so its scale to the ground truth is undefined")
    noise = ground_truth_noise(poses)
    parts = [(part, scale if part[0].is_metric else likely_scale(part, scale, noise)) for part, scale in parts]
    series = [relative_errors(part, scale, noise) for part, scale in parts if len(part) >= MIN_POSES]
    return {"relative": consistency(series), "world": consistency([world_errors(poses, parts[0][1], noise)])}


def ground_truth_noise(poses: Sequence[EvaluatedPose]) -> PoseNoise:
    """Return the noise of the ground truth of the tracked frames of a run, in order of time."""
    return noise_in_parts(
        [
            ([pose.previous_from_current for pose in part], np.stack([p.true_world_from_camera for p in part]), scale)
            for part, scale in scaled_maps(poses)
        ]
    )


def scaled_maps(poses: Sequence[EvaluatedPose]) -> list[tuple[list[EvaluatedPose], float]]:
    """Return the poses of each moving map, in order of the map numbers, with their scale."""
    poses = _metric_ones(poses) or poses
    parts = [[p for p in poses if p.map_number == number] for number in sorted({p.map_number for p in poses})]
    scaled = [(part, 1.0 if part[0].is_metric else scale_of(part)) for part in parts]
    return [(part, scale) for part, scale in scaled if np.isfinite(scale)]


def run_consistency(records: Sequence[FrameRecord], truth: Trajectory | None) -> dict[str, Consistency]:
    """Return the consistency of the records of a run. Raises ``EvaluationError`` as ``evaluate_consistency``."""
    return evaluate_consistency(estimates_of(records, truth))


def estimates_of(records: Sequence[FrameRecord], truth: Trajectory | None) -> list[EvaluatedPose]:
    """Return the poses of a run that have ground truth with exactly the same stamp.

    Interpolated ground truth is not accurate enough for covariances.
    """
    poses = {} if truth is None else dict(zip(truth.stamps_ns.tolist(), truth.world_from_camera, strict=True))
    return [
        EvaluatedPose(
            record.world_from_camera,
            record.covariance,
            record.previous_from_current,
            record.relative_covariance,
            poses[record.stamp_ns],
            record.map_id,
            record.scale.state == ScaleState.METRIC.value,
            record.stamp_ns,
        )
        for record in records
        if record.world_from_camera is not None and record.stamp_ns in poses
    ]


def _metric_ones(poses: Sequence[EvaluatedPose]) -> list[EvaluatedPose]:
    return [pose for pose in poses if pose.is_metric]


def _is_known(covariance: np.ndarray | None) -> bool:
    return covariance is not None and bool(np.isfinite(covariance).all())
