"""Agreement of two motion estimates of one camera, without ground truth.

The motions of two matchers on the same images differ by an error with the sum of both covariances. Common errors, as of
the calibration, are not visible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.evaluation.trajectory.consistency import MIN_POSES, Consistency, consistency, scale_between
from ros_matching.evaluation.trajectory.run_report import FrameRecord
from ros_matching.geometry.se3 import local, scaled

Pairs = list[tuple[FrameRecord, FrameRecord]]


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
