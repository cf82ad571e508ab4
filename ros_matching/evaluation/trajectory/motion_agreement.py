"""Agreement of two motion estimates of one camera, and the noise of the ground truth.

True poses of real sequences come from other sensors and have errors of their own. If these exceed the errors of the
odometry, they cannot validate a covariance. Two checks remain for two matchers on the same images:

* Their motions differ by an error with the sum of both covariances. This needs no ground truth. Common errors, as of
  the calibration, are not visible.
* Three estimates of one motion with independent errors yield the variance of each (three-cornered hat; Gray and Allan,
  "A method for estimating the frequency stability of an individual oscillator", 1974). That of the ground truth is
  ``(<(a - t)^2> + <(b - t)^2> - <(a - b)^2>) / 2``. With this noise included, errors against the ground truth can be
  evaluated again. Common errors of both matchers count as noise of the ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.trajectory.consistency import (
    MIN_POSES,
    Consistency,
    consistency,
    estimates_of,
    relative_errors,
    scale_between,
    scaled_maps,
)
from ros_matching.evaluation.trajectory.run_report import FrameRecord
from ros_matching.geometry.se3 import invert, local, scaled
from ros_matching.io.trajectory import Trajectory

Pairs = list[tuple[FrameRecord, FrameRecord]]


@dataclass(frozen=True)
class MotionNoise:
    """Standard deviations, per axis, of the motion between two consecutive true poses; lengths in their unit."""

    translation: float
    rotation_deg: float

    def covariance(self, unit: float) -> np.ndarray:
        """Return the covariance (6, 6) of ``(dt, dr)`` for an estimate with this scale to the ground truth."""
        return np.diag([(self.translation / unit) ** 2] * 3 + [np.radians(self.rotation_deg) ** 2] * 3)


def agreement(a: Sequence[FrameRecord], b: Sequence[FrameRecord]) -> Consistency:
    """Return the NEES of the differences between the motions of two runs over the same frames, in order of time.

    The second run is scaled to the first, once per pair of maps. Raises ``EvaluationError`` without common motions.
    """
    series = []
    for pairs in _in_common(a, b):
        unit = scale_between(*(np.stack([pair[side].world_from_camera for pair in pairs]) for side in (1, 0)))
        lengths = np.array([unit] * 3 + [1.0] * 3)
        moved = [(x, y) for x, y in pairs if _has_motion(x) and _has_motion(y)]
        errors = [local(x.previous_from_current, scaled(y.previous_from_current, unit)) for x, y in moved]
        covariances = [x.relative_covariance + np.outer(lengths, lengths) * y.relative_covariance for x, y in moved]
        series.append((np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6))))
    return consistency(series)


def ground_truth_noise(a: Sequence[FrameRecord], b: Sequence[FrameRecord], truth: Trajectory) -> MotionNoise:
    """Return the noise of the motion between true poses, from two runs over the same frames.

    Raises ``EvaluationError`` with too few common motions.
    """
    by_a, by_b = _motion_errors(a, truth), _motion_errors(b, truth)
    common = sorted(by_a.keys() & by_b.keys())
    if len(common) < MIN_POSES:
        raise EvaluationError(
            f"the noise of the ground truth needs at least {MIN_POSES} motions common to two matchers, got "
            f"{len(common)}; track a longer sequence"
        )
    error_a, error_b = (np.stack([errors[stamp_ns] for stamp_ns in common]) for errors in (by_a, by_b))
    squares = np.mean(error_a**2 + error_b**2 - (error_a - error_b) ** 2, axis=0) / 2.0
    translation, rotation = np.sqrt(np.maximum([squares[:3].mean(), squares[3:].mean()], 0.0))
    return MotionNoise(float(translation), float(np.degrees(rotation)))


def noisy_consistency(records: Sequence[FrameRecord], truth: Trajectory, noise: MotionNoise) -> Consistency:
    """Return the consistency of a run's motions with ground truth that has this noise."""
    series = []
    for part, unit in scaled_maps(estimates_of(records, truth)):
        errors, covariances = relative_errors(part, unit)
        series.append((errors, covariances + noise.covariance(unit)))
    return consistency(series)


def _motion_errors(records: Sequence[FrameRecord], truth: Trajectory) -> dict[int, np.ndarray]:
    """Return the errors (6,) of the motions against the ground truth, in its unit, by stamp."""
    found = {}
    for part, unit in scaled_maps(estimates_of(records, truth)):
        for before, now in pairwise(part):
            if now.previous_from_current is not None:
                true = invert(before.true_world_from_camera) @ now.true_world_from_camera
                found[now.stamp_ns] = local(scaled(now.previous_from_current, unit), true)
    return found


def _in_common(a: Sequence[FrameRecord], b: Sequence[FrameRecord]) -> list[Pairs]:
    """The records of the frames that both have posed, by the maps that they are in."""
    others = {record.stamp_ns: record for record in b if record.world_from_camera is not None}
    groups: dict[tuple[int, int], Pairs] = {}
    for record in a:
        other = others.get(record.stamp_ns)
        if record.world_from_camera is not None and other is not None:
            groups.setdefault((record.map_id, other.map_id), []).append((record, other))
    return [pairs for pairs in groups.values() if len(pairs) >= MIN_POSES]


def _has_motion(record: FrameRecord) -> bool:
    covariance = record.relative_covariance
    return record.previous_from_current is not None and covariance is not None and bool(np.isfinite(covariance).all())
