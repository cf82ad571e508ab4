"""Bootstrap intervals of AUC over the choice of pairs (Efron 1979), the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs_figures import pose_auc

RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A ``value`` with the ``low`` and ``high`` ends of its 95 % percentile interval."""

    value: float
    low: float
    high: float


def auc_estimate(errors_deg: Sequence[float], threshold_deg: float) -> Estimate:
    """``pose_auc`` of the errors; pairs are resampled. Raises ``EvaluationError`` without errors."""
    errors = np.asarray(errors_deg, np.float64)
    value = pose_auc(errors, threshold_deg)
    samples = [pose_auc(errors[rows], threshold_deg) for rows in _resampled(len(errors))]
    return Estimate(value, *np.percentile(samples, _INTERVAL).tolist())


def auc_difference(errors_deg: Sequence[float], others_deg: Sequence[float], threshold_deg: float) -> Estimate:
    """``pose_auc`` of the errors minus that of others on the same pairs, in the same order; resampled together.

    What makes a pair hard for both then does not widen the interval. Raises ``EvaluationError`` without errors or
    where their counts differ.
    """
    errors, others = (np.asarray(each, np.float64) for each in (errors_deg, others_deg))
    if errors.shape != others.shape:
        raise EvaluationError(
            f"a paired difference needs errors of the same pairs, got {len(errors)} and {len(others)}; "
            "measure both matchers on one set of pairs"
        )
    value = pose_auc(errors, threshold_deg) - pose_auc(others, threshold_deg)
    samples = [
        pose_auc(errors[rows], threshold_deg) - pose_auc(others[rows], threshold_deg)
        for rows in _resampled(len(errors))
    ]
    return Estimate(value, *np.percentile(samples, _INTERVAL).tolist())


def _resampled(count: int) -> np.ndarray:
    """Rows (``RESAMPLES``, count), drawn with replacement."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
