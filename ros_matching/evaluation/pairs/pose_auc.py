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
_MIN_DISTANCE = 0.01  # of the median distance between the cameras of a gap: below, the true direction is noise


@dataclass(frozen=True)
class PoseFigures:
    """How good one estimator's poses are: ``auc`` in [0, 1] by threshold in degrees, median errors in degrees.

    ``auc_deviation`` is the standard deviation that the choice of pairs gives each ``auc``: differences below it say
    nothing. ``inliers`` are means over all pairs and ``ms`` a median; ``translation_deg`` is NaN where not asked for.
    """

    auc: Mapping[int, float]
    auc_deviation: Mapping[int, float]
    rotation_deg: float
    translation_deg: float
    inliers: float
    ms: float


@dataclass(frozen=True)
class PairFigures:
    """One matcher on the pairs of one sequence with one gap, or with all of them together (``gaps``).

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
    """The figures of all matchers, sequence by sequence: of all gaps together, then of every gap.

    Pairs are left out whose cameras are less than a hundredth of the gap's median distance apart.
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
    """The area under ``recall_curve`` as a share of what it could be (1: no error at all).

    Raises ``EvaluationError`` without errors.
    """
    x, y = recall_curve(errors_deg, threshold_deg)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / (2 * threshold_deg))


def auc_deviation(errors_deg: Sequence[float] | np.ndarray, threshold_deg: float) -> float:
    """The standard deviation of ``pose_auc`` over the choice of pairs, by bootstrap (Efron 1979), always alike."""
    rng, errors = np.random.default_rng(0), np.asarray(errors_deg, dtype=np.float64)
    resampled = rng.choice(errors, (_RESAMPLES, errors.size))
    return float(np.std([pose_auc(sample, threshold_deg) for sample in resampled]))


def recall_curve(errors_deg: Sequence[float] | np.ndarray, up_to_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors from 0 to ``up_to_deg``, and the share of all errors that are not larger.

    The share grows linearly from one error to the next, and stays as it is after the last one below ``up_to_deg``
    (Sarlin et al., "SuperGlue", 2020, whose published figures are made so). Raises ``EvaluationError`` without errors.
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
