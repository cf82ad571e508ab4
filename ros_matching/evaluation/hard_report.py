"""The results of the hard suite as tables and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.bootstrap import Estimate, auc_difference, auc_estimate
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.hard import CORRECT_PX, RIGHT_PX, HardResult
from ros_matching.evaluation.pairs_figures import AUC_THRESHOLDS_DEG, recall_curve
from ros_matching.evaluation.tables import Column, Measurement, Table

_TITLES = {"own": "this package's pose", "magsac": "OpenCV's MAGSAC"}
_NOTE = f"""\
AUC in percent, up to 5, 10 and 20 degrees of the larger of rotation and direction error, in brackets the 95 %
bootstrap interval over the pairs. right: matches within {RIGHT_PX} px of the true epipolar geometry; correct: within
{CORRECT_PX:.0f} px of where ground-truth depth puts them (rendered lines only)."""
_DIFFERENCE_NOTE = """\
AUC of the first matcher minus that of the other on the same pairs, in percentage points, with the 95 % interval of the
paired bootstrap. * the interval excludes 0; without it the difference is within noise."""

Groups = dict[str, dict[str, list[HardResult]]]


def hard_measurement(results: Sequence[HardResult], settings: Mapping[str, Any]) -> Measurement:
    """A table for each pose estimator, one of differences, and a recall curve for each line.

    Raises ``EvaluationError`` without results.
    """
    if not results:
        raise EvaluationError("no pair was measured; give at least one of the rendered lines, which need no data")
    groups: Groups = {}
    for result in results:
        groups.setdefault(result.line, {}).setdefault(result.pair.matcher, []).append(result)
    estimators = list(results[0].pair.errors)
    tables = [_pose_table(groups, estimator, _NOTE if estimator == estimators[-1] else "") for estimator in estimators]
    if any(len(by_matcher) > 1 for by_matcher in groups.values()):
        tables.append(_difference_table(groups, estimators))
    panels = [
        Panel(
            line,
            "pose error [deg]",
            "fraction of the pairs",
            {
                matcher: recall_curve(_errors(found, estimators[0]), AUC_THRESHOLDS_DEG[-1])
                for matcher, found in by_matcher.items()
            },
        )
        for line, by_matcher in groups.items()
    ]
    details = [{"line": result.line, "correct": result.correct, **asdict(result.pair)} for result in results]
    return Measurement("hard", settings, tables, panels, details)


def _pose_table(groups: Groups, estimator: str, note: str) -> Table:
    rows = [
        _row(line, matcher, found, estimator)
        for line, by_matcher in groups.items()
        for matcher, found in by_matcher.items()
    ]
    columns = (
        Column("line", "line"),
        Column("matcher", "matcher"),
        Column("pairs", "pairs", "d"),
        Column("matches", "matches", ".0f"),
        Column("right", "right %", ".1f", 100),
        Column("correct", "correct %", ".1f", 100),
        *(Column(f"{estimator}_auc{threshold}_text", f"AUC@{threshold}") for threshold in AUC_THRESHOLDS_DEG),
    )
    return Table(f"Hard pairs, {_TITLES.get(estimator, estimator)}", columns, rows, note)


def _row(line: str, matcher: str, results: list[HardResult], estimator: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "line": line,
        "matcher": matcher,
        "pairs": len(results),
        "matches": float(np.mean([result.pair.matches for result in results])),
        "right": _known_mean([result.pair.precision for result in results]),
        "correct": _known_mean([result.correct for result in results]),
    }
    errors = _errors(results, estimator)
    for threshold in AUC_THRESHOLDS_DEG:
        estimate = auc_estimate(errors, threshold)
        row |= _flat(f"{estimator}_auc{threshold}", estimate)
        row[f"{estimator}_auc{threshold}_text"] = (
            f"{100 * estimate.value:.1f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
        )
    return row


def _difference_table(groups: Groups, estimators: Sequence[str]) -> Table:
    rows, keys = [], [(name, threshold) for name in estimators for threshold in AUC_THRESHOLDS_DEG]
    for line, by_matcher in groups.items():
        (first, found), *others = by_matcher.items()
        for matcher, other in others:
            row: dict[str, Any] = {"line": line, "first": first, "other": matcher}
            for name, threshold in keys:
                estimate = auc_difference(_errors(found, name), _errors(other, name), threshold)
                row |= _flat(f"{name}_auc{threshold}", estimate)
                row[f"{name}_auc{threshold}_text"] = _difference(estimate)
            rows.append(row)
    headings = {"own": "AUC", "magsac": "MAGSAC"}
    columns = (
        Column("line", "line"),
        Column("first", "first"),
        Column("other", "other"),
        *(Column(f"{name}_auc{threshold}_text", f"{headings.get(name, name)}@{threshold}") for name, threshold in keys),
    )
    return Table("Differences to the first matcher", columns, rows, _DIFFERENCE_NOTE)


def _difference(estimate: Estimate) -> str:
    mark = " *" if estimate.low > 0 or estimate.high < 0 else ""
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]{mark}"


def _flat(key: str, estimate: Estimate) -> dict[str, float]:
    return {key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high}


def _errors(results: Sequence[HardResult], estimator: str) -> list[float]:
    return [result.pair.errors[estimator].worst_deg for result in results]


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan
