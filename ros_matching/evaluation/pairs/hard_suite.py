"""The hard suite: image pairs that need match consensus and pruning; its tables and curves.

Rendered lines (``scenes.hard_views``) need no data and have exact ground truth, also for every match. Real lines are
pairs of the data folder at long gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.data_split import PairSet
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.pairs.matched_pairs import (
    SIZE_PX,
    MatchedPair,
    Matcher,
    PairResult,
    matched_pairs,
    pair_result,
)
from ros_matching.evaluation.pairs.pose_auc import (
    AUC_THRESHOLDS_DEG,
    Estimate,
    auc_difference,
    auc_estimate,
    recall_curve,
)
from ros_matching.geometry.se3 import transform
from ros_matching.io.source import FrameSource

RIGHT_PX = 1.5
"""From the true epipolar geometry: what a match may be off to count as right."""
CORRECT_PX = 3.0
"""From where ground-truth depth and pose put its point: what a match may be off to count as correct."""

REAL_LINES: Mapping[str, PairSet] = {
    "fox": PairSet("fox", (4, 6, 8)),
    "lund_door": PairSet("lund_door", (4, 6, 8)),
    "redkitchen": PairSet("redkitchen", (60, 100), rotation_only=True, step=2),
    # all frames: there are too few held-out frames for such gaps
    "redkitchen-far": PairSet("redkitchen", (150, 200), rotation_only=True, part="all", step=20),
}
"""The pairs of the real lines, by name."""
_TITLES = {"own": "this package's pose", "magsac": "OpenCV's MAGSAC"}


@dataclass(frozen=True)
class HardResult:
    """Result of one matcher on one pair of a line.

    ``correct`` is the fraction of matches within ``CORRECT_PX`` of the ground truth; NaN without matches, and for real
    pairs, whose depth is unknown. Matches on moving objects count as not correct.
    """

    line: str
    pair: PairResult
    correct: float


def rendered_pairs(line: str) -> PairSet:
    """Return the pairs of a source whose frames 2 k and 2 k + 1 belong together."""
    return PairSet(line, (1,), part="all", step=2)


def evaluate_hard(
    matchers: Mapping[str, Matcher],
    line: str,
    source: FrameSource,
    pair_set: PairSet,
    *,
    exact_depth: bool,
    size_px: int = SIZE_PX,
) -> Iterator[HardResult]:
    """Evaluate every matcher on the pairs of a line, one pair after the other.

    ``exact_depth`` states that the depth of the source is ground truth. Raises ``EvaluationError`` without pairs.
    """
    for pair in matched_pairs(matchers, source, pair_set, size_px=size_px):
        correct = correct_fraction(pair) if exact_depth else np.nan
        yield HardResult(line, pair_result(pair, right_px=RIGHT_PX), correct)


def correct_fraction(pair: MatchedPair, within_px: float = CORRECT_PX) -> float:
    """Return the fraction of matches that fit ground-truth depth and pose; NaN without matches.

    A keypoint at an edge may belong to the object or to its background: the best of the four surrounding depths
    counts.
    """
    if len(pair.matches) == 0 or pair.depth0 is None:
        return np.nan
    height, width = pair.depth0.shape
    size0 = np.array([pair.camera0.width, pair.camera0.height])
    pixels = (pair.matches.points0 + 0.5) * np.array([width, height]) / size0 - 0.5
    rays, corner = pair.camera0.unproject(pair.matches.points0), np.floor(pixels).astype(int)
    best = np.full(len(pixels), np.inf)
    for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = np.clip(corner + shift, 0, [width - 1, height - 1]).T
        points = transform(pair.camera1_from_camera0, rays * pair.depth0[row, column, None])
        off = np.linalg.norm(pair.camera1.project(points) - pair.matches.points1, axis=1)
        best = np.fmin(best, off)
    return float(np.mean(best <= within_px))


_NOTE = f"""\
AUC in percent, up to 5, 10 and 20 degrees of the larger of rotation and direction error, in brackets the 95 %
bootstrap interval over the pairs. right: matches within {RIGHT_PX} px of the true epipolar geometry; correct: within
{CORRECT_PX:.0f} px of where ground-truth depth puts them (rendered lines only)."""
_DIFFERENCE_NOTE = """\
AUC of the first matcher minus that of the other on the same pairs, in percentage points, with the 95 % interval of the
paired bootstrap. * the interval excludes 0; without it the difference is within noise."""

Groups = dict[str, dict[str, list[HardResult]]]


def hard_measurement(results: Sequence[HardResult], settings: Mapping[str, Any]) -> Measurement:
    """Return a table for each pose estimator, a table of differences, and a recall curve for each line.

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
