"""Whether covariances tell the truth: the normalised estimation error squared (NEES) of poses against true ones.

``e^T cov^-1 e`` of an error with d degrees of freedom has the mean d where the covariance is right, more where it
promises too much (Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001,
section 5.4). The mean of N independent ones lies within chi-square quantiles of ``N d`` degrees of freedom over N.

Errors of a tracker are not independent in time. N is therefore the effective number: the number of poses over
``1 + 2 sum_k rho_k``, with the autocorrelation rho of the NEES series as long as it is positive (Geyer, "Practical
Markov chain Monte Carlo", 1992).

A monocular estimate has no scale. The errors are taken in the estimate's unit, to which the truth is scaled, once for
each map, by the ratio of Umeyama's alignment (PAMI 1991) of the camera positions. Where an estimate says metres it is
held to them: with any such poses, they alone are judged, and nothing is scaled. Relative poses are compared with the
true motion between the two frames. World poses are compared after one of them has been laid onto its true one, which
adds that pose's covariance to theirs: the pose known best, as a pose known badly would hide what is wrong with the
others. All are in the unit of the first map; so a map begun after a loss is held to what its covariance says of the
loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from ros_matching.datatypes import ScaleState
from ros_matching.errors import EvaluationError
from ros_matching.geometry.se3 import invert, local, relative_covariance, scaled

if TYPE_CHECKING:
    from ros_matching.evaluation.trajectory.run_report import FrameRecord
    from ros_matching.io.trajectory import Trajectory

CONFIDENCE = 0.95
MIN_POSES = 10


@dataclass(frozen=True)
class PoseEstimate:
    """One tracked frame: estimated and true ``world_from_camera`` (4, 4), the covariances (6, 6), the map's number.

    ``previous_from_current`` (4, 4) and covariances are ``None`` where they are unknown.
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
    """How well N covariances of d degrees of freedom agree with the errors.

    ``mean_nees`` should lie within ``bounds``, which hold for ``effective`` independent errors. ``axes`` (d,) is the
    mean square of each error over its own variance, 1 where it is right. ``within`` is the share of the errors inside
    their 95 % region.
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
        """Whether the mean lies within its bounds."""
        return self.bounds[0] <= self.mean_nees <= self.bounds[1]

    def values(self) -> dict[str, object]:
        """For JSON."""
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
    """``e^T cov^-1 e`` (N,) of errors (N, d) under covariances (N, d, d), whatever the units of the axes."""
    scale = 1.0 / np.sqrt(np.einsum("nii->ni", covariances))
    scaled = covariances * scale[:, :, None] * scale[:, None, :]
    whitened = np.linalg.solve(scaled, (errors * scale)[:, :, None])[:, :, 0]
    return np.sum(whitened * errors * scale, axis=1)


def consistency(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> Consistency:
    """Of errors (N, d) with covariances (N, d, d), as one or more series in order of time."""
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
    """How many consecutive values (N,) of a series of known mean count as one, from 1 to N."""
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


def relative_errors(poses: Sequence[PoseEstimate], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors (M, 6) and covariances (M, 6, 6) of the motion since the previous frame, where it is known.

    ``scale`` turns the estimate's unit into the truth's.
    """
    errors, covariances = [], []
    for before, now in pairwise(poses):
        if now.previous_from_current is None or not _is_known(now.relative_covariance):
            continue
        true = scaled(invert(before.true_world_from_camera) @ now.true_world_from_camera, 1 / scale)
        errors.append(local(now.previous_from_current, true))
        covariances.append(now.relative_covariance)
    return np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6))


def world_errors(poses: Sequence[PoseEstimate], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors (M, 6) and covariances (M, 6, 6) of all poses but the best known, which is laid onto its true pose."""
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
        )
    return np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6))


def _spread(pose: PoseEstimate) -> float:
    """How large a covariance is, whatever the units of its axes: the logarithm of its determinant."""
    return float(np.linalg.slogdet(pose.covariance)[1])


def scale_of(poses: Sequence[PoseEstimate]) -> float:
    """What the estimate's unit is in the truth's, by the positions; NaN where the estimate does not move."""
    return scale_between(
        np.stack([pose.world_from_camera for pose in poses]), np.stack([pose.true_world_from_camera for pose in poses])
    )


def scale_between(estimated: np.ndarray, true: np.ndarray) -> float:
    """The same of two trajectories (N, 4, 4)."""
    estimated, true = (poses[:, :3, 3] - poses[:, :3, 3].mean(axis=0) for poses in (estimated, true))
    power = np.sum(estimated**2)
    if not power > 0:
        return float("nan")
    u, singular, vt = np.linalg.svd(true.T @ estimated)
    singular[2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
    return float(singular.sum() / power)


def evaluate_consistency(poses: Sequence[PoseEstimate]) -> dict[str, Consistency]:
    """``relative`` and ``world`` consistency of a run's tracked frames, in order of time.

    Raises ``EvaluationError`` with fewer than ten poses, or where the camera did not move.
    """
    if len(poses) < MIN_POSES:
        raise EvaluationError(f"the consistency of covariances needs at least {MIN_POSES} poses, got {len(poses)}")
    poses = _metric_ones(poses) or poses
    parts = scaled_maps(poses)
    if not parts:
        raise EvaluationError("the estimate does not move, so that its scale against the truth is not defined")
    series = [relative_errors(part, scale) for part, scale in parts if len(part) >= MIN_POSES]
    return {"relative": consistency(series), "world": consistency([world_errors(poses, parts[0][1])])}


def scaled_maps(poses: Sequence[PoseEstimate]) -> list[tuple[list[PoseEstimate], float]]:
    """The poses of each map that moves in the same unit, in order of the maps' numbers, and what the unit is."""
    poses = _metric_ones(poses) or poses
    parts = [[p for p in poses if p.map_number == number] for number in sorted({p.map_number for p in poses})]
    scaled = [(part, 1.0 if part[0].is_metric else scale_of(part)) for part in parts]
    return [(part, scale) for part, scale in scaled if np.isfinite(scale)]


def run_consistency(records: Sequence[FrameRecord], truth: Trajectory | None) -> dict[str, Consistency]:
    """The same of the records of a run, in order of time. Raises ``EvaluationError`` as above."""
    return evaluate_consistency(estimates_of(records, truth))


def estimates_of(records: Sequence[FrameRecord], truth: Trajectory | None) -> list[PoseEstimate]:
    """The poses of a run with the true ones that have exactly their stamps.

    Truth between frames is not exact enough to hold a covariance to it.
    """
    poses = {} if truth is None else dict(zip(truth.stamps_ns.tolist(), truth.world_from_camera, strict=True))
    return [
        PoseEstimate(
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


def _metric_ones(poses: Sequence[PoseEstimate]) -> list[PoseEstimate]:
    return [pose for pose in poses if pose.is_metric]


def _is_known(covariance: np.ndarray | None) -> bool:
    return covariance is not None and bool(np.isfinite(covariance).all())
