"""Tables and curves of the evaluation of image pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.pairs.matched_pairs import PairResult
from ros_matching.evaluation.pairs.pose_auc import AUC_THRESHOLDS_DEG, PairFigures, pair_figures, recall_curve

_NOTE = """\
AUC: with this package's pose; MAGSAC: with OpenCV's on the same matches; in percent, up to 5, 10 and 20 degrees of the
larger of rotation and direction error; ± is the standard deviation that the choice of pairs gives the figure before it.
rot. and dir. are the median errors; right: matches within 2 px of the true epipolar geometry. Times are medians: of an
image, of a pair, of a pose."""
_HEADINGS = {"own": "AUC", "magsac": "MAGSAC"}  # headings of estimators


def pairs_measurement(results: Sequence[PairResult], settings: Mapping[str, Any]) -> Measurement:
    """Return tables over all gaps and by gap, and recall curves of every sequence by its first estimator."""
    figures = pair_figures(results)
    estimators = list(figures[0].poses)
    columns = _columns(estimators)
    whole: dict[str, tuple[int, ...]] = {}
    for one in figures:
        whole.setdefault(one.sequence, one.gaps)  # the first entry of a sequence is over all gaps
    together = [_row(one) for one in figures if one.gaps == whole[one.sequence]]
    by_gap = [_row(one) for one in figures if one.gaps != whole[one.sequence]]
    tables = [Table("Relative pose, all gaps together", columns, together, "" if by_gap else _NOTE)]
    if by_gap:
        tables.append(Table("Relative pose, by gap", columns, by_gap, _NOTE))
    panels = [_panel(sequence, results, estimators[0]) for sequence in whole]
    return Measurement("pairs", settings, tables, panels, [asdict(result) for result in results])


def _columns(estimators: Sequence[str]) -> tuple[Column, ...]:
    aucs = [
        Column(f"{estimator}_auc{threshold}", f"{_HEADINGS.get(estimator, estimator)}@{threshold}", ".1f", 100)
        for estimator in estimators
        for threshold in AUC_THRESHOLDS_DEG
    ]
    first = estimators[0]
    return (
        Column("sequence", "sequence"),
        Column("gaps", "gaps"),
        Column("matcher", "matcher"),
        Column("pairs", "pairs", "d"),
        *aucs[:1],
        Column(f"{first}_auc{AUC_THRESHOLDS_DEG[0]}_deviation", "±", ".1f", 100),
        *aucs[1:],
        Column(f"{first}_rotation_deg", "rot. deg", ".2f"),
        Column(f"{first}_translation_deg", "dir. deg", ".2f"),
        Column("matches", "matches", ".0f"),
        Column("precision", "right %", ".1f", 100),
        Column(f"{first}_inliers", "inliers", ".0f"),
        Column("extract_ms", "extract ms", ".0f"),
        Column("match_ms", "match ms", ".0f"),
        *(Column(f"{estimator}_ms", f"{estimator} ms", ".1f") for estimator in estimators),
    )


def _row(figures: PairFigures) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sequence": figures.sequence,
        "gaps": " ".join(map(str, figures.gaps)),
        "matcher": figures.matcher,
        "pairs": figures.pairs,
        "matches": figures.matches,
        "precision": figures.precision,
        "extract_ms": figures.extract_ms,
        "match_ms": figures.match_ms,
    }
    for estimator, pose in figures.poses.items():
        row |= {f"{estimator}_auc{threshold}": auc for threshold, auc in pose.auc.items()}
        row |= {f"{estimator}_auc{threshold}_deviation": value for threshold, value in pose.auc_deviation.items()}
        row |= {
            f"{estimator}_rotation_deg": pose.rotation_deg,
            f"{estimator}_translation_deg": pose.translation_deg,
            f"{estimator}_inliers": pose.inliers,
            f"{estimator}_ms": pose.ms,
        }
    return row


def _panel(sequence: str, results: Sequence[PairResult], estimator: str) -> Panel:
    errors: dict[str, list[float]] = {}
    for result in results:
        if result.sequence == sequence:
            errors.setdefault(result.matcher, []).append(result.errors[estimator].worst_deg)
    lines = {matcher: recall_curve(of_matcher, AUC_THRESHOLDS_DEG[-1]) for matcher, of_matcher in errors.items()}
    return Panel(sequence, "pose error [deg]", "fraction of the pairs", lines)
