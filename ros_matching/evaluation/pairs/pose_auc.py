"""Figures of many pairs: area under the recall curve (AUC) of pose errors, medians, counts and times.

Bootstrap intervals of AUC (Efron 1979) resample the pairs, with the same seed in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs.matched_pairs import PairResult

AUC_THRESHOLDS_DEG = (5, 10, 20)
_RESAMPLES = 200
_MIN_DISTANCE = 0.01  # of the median distance between the cameras of a gap: shorter true directions are noise
RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class PoseFigures:
    """Accuracy of the poses of one estimator: ``auc`` in [0, 1] by threshold in degrees, median errors in degrees.

    ``auc_deviation`` is the standard deviation of each ``auc`` over the choice of pairs: smaller differences are not
    significant. ``inliers`` are means over all pairs and ``ms`` a median; ``translation_deg`` is NaN if not evaluated.
    """

    auc: Mapping[int, float]
    auc_deviation: Mapping[int, float]
    rotation_deg: float
    translation_deg: float
    inliers: float
    ms: float


@dataclass(frozen=True)
class PairFigures:
    """Figures of one matcher on the pairs of one sequence with one gap, or with all gaps (``gaps``).

    ``matches`` and ``precision`` are means over the pairs, times are medians; ``poses`` are by estimator.
    """

    matcher: str
    sequence: str
    gaps: tuple[int, ...]
    pairs: int
    matches: float
    precision: float
    extract_ms: float
    match_ms: float
    poses: Mapping[str, PoseFigures]


def pair_figures(results: Iterable[PairResult]) -> list[PairFigures]:
    """Return the figures of all matchers by sequence: over all gaps, then for every gap.

    Pairs are left out if their cameras are closer than a hundredth of the median distance of the gap.
    """
    by_sequence: dict[str, list[PairResult]] = {}
    for result in results:
        by_sequence.setdefault(result.sequence, []).append(result)
    figures = []
    for of_sequence in by_sequence.values():
        moving = _moving(of_sequence)
        gaps = sorted({result.gap for result in moving})
        matchers = list(dict.fromkeys(result.matcher for result in moving))
        for chosen in [tuple(gaps), *((gap,) for gap in gaps)] if len(gaps) > 1 else [tuple(gaps)]:
            figures += [
                _figures([result for result in moving if result.matcher == matcher and result.gap in chosen], chosen)
                for matcher in matchers
            ]
    return figures


def pose_auc(errors_deg: Sequence[float] | np.ndarray, threshold_deg: float) -> float:
    """Return the area under ``recall_curve`` relative to its maximum (1: no errors).

    Raises ``EvaluationError`` without errors.
    """
    x, y = recall_curve(errors_deg, threshold_deg)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / (2 * threshold_deg))


def auc_deviation(errors_deg: Sequence[float] | np.ndarray, threshold_deg: float) -> float:
    """Return the standard deviation of ``pose_auc`` over the choice of pairs, by bootstrap (Efron 1979), seeded."""
    rng, errors = np.random.default_rng(0), np.asarray(errors_deg, dtype=np.float64)
    resampled = rng.choice(errors, (_RESAMPLES, errors.size))
    return float(np.std([pose_auc(sample, threshold_deg) for sample in resampled]))


def recall_curve(errors_deg: Sequence[float] | np.ndarray, up_to_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Return errors from 0 to ``up_to_deg``, and the fraction of all errors that are not larger.

    The fraction grows linearly from one error to the next and stays constant after the last one below ``up_to_deg``,
    as in Sarlin et al., "SuperGlue", 2020. Raises ``EvaluationError`` without errors.
    """
    errors = np.sort(np.asarray(errors_deg, dtype=np.float64))
    if errors.size == 0:
        raise EvaluationError("no pair was measured, so there is no curve of its errors")
    inside = int(np.searchsorted(errors, up_to_deg))
    recall = np.arange(inside + 1) / errors.size
    return np.concatenate([[0.0], errors[:inside], [up_to_deg]]), np.append(recall, recall[-1])


def _moving(results: Sequence[PairResult]) -> list[PairResult]:
    medians: dict[int, float] = {}
    for gap in {result.gap for result in results}:
        medians[gap] = float(np.median([result.distance for result in results if result.gap == gap]))
    return [result for result in results if result.distance >= _MIN_DISTANCE * medians[result.gap]]


def _figures(results: Sequence[PairResult], gaps: tuple[int, ...]) -> PairFigures:
    known = [result.precision for result in results if np.isfinite(result.precision)]
    return PairFigures(
        matcher=results[0].matcher,
        sequence=results[0].sequence,
        gaps=gaps,
        pairs=len(results),
        matches=float(np.mean([result.matches for result in results])),
        precision=float(np.mean(known)) if known else np.nan,
        extract_ms=float(np.median([result.extract_ms for result in results])),
        match_ms=float(np.median([result.match_ms for result in results])),
        poses={estimator: _pose_figures(results, estimator) for estimator in results[0].errors},
    )


def _pose_figures(results: Sequence[PairResult], estimator: str) -> PoseFigures:
    errors = [result.errors[estimator] for result in results]
    worst = [error.worst_deg for error in errors]
    translations = [error.translation_deg for error in errors if np.isfinite(error.translation_deg)]
    return PoseFigures(
        auc={threshold: pose_auc(worst, threshold) for threshold in AUC_THRESHOLDS_DEG},
        auc_deviation={threshold: auc_deviation(worst, threshold) for threshold in AUC_THRESHOLDS_DEG},
        rotation_deg=float(np.median([error.rotation_deg for error in errors])),
        translation_deg=float(np.median(translations)) if translations else np.nan,
        inliers=float(np.mean([result.inliers[estimator] for result in results])),
        ms=float(np.median([result.pose_ms[estimator] for result in results])),
    )


@dataclass(frozen=True)
class Estimate:
    """A ``value`` with the ``low`` and ``high`` ends of its 95 % percentile interval."""

    value: float
    low: float
    high: float


def auc_estimate(errors_deg: Sequence[float], threshold_deg: float) -> Estimate:
    """Return ``pose_auc`` of the errors with its bootstrap interval. Raises ``EvaluationError`` without errors."""
    errors = np.asarray(errors_deg, np.float64)
    value = pose_auc(errors, threshold_deg)
    samples = [pose_auc(errors[rows], threshold_deg) for rows in _resampled(len(errors))]
    return Estimate(value, *np.percentile(samples, _INTERVAL).tolist())


def auc_difference(errors_deg: Sequence[float], others_deg: Sequence[float], threshold_deg: float) -> Estimate:
    """Return the difference of ``pose_auc`` of two matchers on the same pairs, in the same order, resampled together.

    The common difficulty of a pair does not widen the interval. Raises ``EvaluationError`` without errors or for
    different counts.
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
    """Return rows (``RESAMPLES``, count), drawn with replacement."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
