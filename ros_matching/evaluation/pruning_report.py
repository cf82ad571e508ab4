"""What was measured on pruners, as a table and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.pairs_figures import AUC_THRESHOLDS_DEG, pose_auc, recall_curve
from ros_matching.evaluation.pairs_poses import PoseError
from ros_matching.evaluation.pruning import PruningResult
from ros_matching.evaluation.tables import Column, Measurement, Table

_NOTE = """\
All but ms in percent. A match is right within 0.01 of its true epipolar lines (normalised coordinates, root of the sum
of both squares). mAP and AUC are of the pose that belongs to the pruner's essential matrix, "then own" and "then
MAGSAC" of poses estimated on what it kept."""
_MAP_STEP_DEG = 5
_MAP_LIMITS_DEG = (5, 20)


def mean_average_precision(errors_deg: Sequence[float] | np.ndarray, up_to_deg: int) -> float:
    """The mean of the shares of errors below 5, 10, ... up to ``up_to_deg`` degrees (Yi et al., 2018)."""
    errors = np.asarray(errors_deg, dtype=np.float64)
    if errors.size == 0:
        raise EvaluationError("no pair was measured, so there is no mean average precision")
    return float(np.mean([np.mean(errors < limit) for limit in range(_MAP_STEP_DEG, up_to_deg + 1, _MAP_STEP_DEG)]))


def pruning_measurement(results: Sequence[PruningResult], settings: Mapping[str, Any]) -> Measurement:
    """A table of all pruners on all sequences, and their recall curves."""
    groups: dict[tuple[str, str], list[PruningResult]] = {}
    for result in results:
        groups.setdefault((result.sequence, result.pruner), []).append(result)
    if not groups:
        raise EvaluationError("no pair was measured; pruning needs pairs whose true directions are known")
    table = Table("Pruning of putative matches", _COLUMNS, [_row(group) for group in groups.values()], _NOTE)
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for (sequence, pruner), group in groups.items():
        errors = [result.after["own"].worst_deg for result in group]
        panels.setdefault(sequence, {})[pruner] = recall_curve(errors, AUC_THRESHOLDS_DEG[-1])
    labels = "own pose's error on what is kept [deg]", "share of the pairs"
    return Measurement("pruning", settings, [table], [Panel(name, *labels, lines) for name, lines in panels.items()])


def _row(results: Sequence[PruningResult]) -> dict[str, Any]:
    precision = float(np.mean([result.precision for result in results]))
    recalls = [result.recall for result in results if np.isfinite(result.recall)]
    recall = float(np.mean(recalls)) if recalls else np.nan
    f_scores = [
        2 * result.precision * result.recall / max(result.precision + result.recall, 1e-12)
        for result in results
        if np.isfinite(result.recall)
    ]
    row: dict[str, Any] = {
        "sequence": results[0].sequence,
        "pruner": results[0].pruner,
        "pairs": len(results),
        "matches": float(np.mean([result.matches for result in results])),
        "right": float(np.mean([result.right for result in results])),
        "kept": float(np.mean([result.kept for result in results])),
        "precision": precision,
        "recall": recall,
        "f_score": float(np.mean(f_scores)) if f_scores else np.nan,
        "ms": float(np.median([result.ms for result in results])),
    }
    for key, errors in (("direct", [result.direct for result in results]), *_after(results)):
        worst = [error.worst_deg for error in errors]
        row |= {f"{key}_map{limit}": mean_average_precision(worst, limit) for limit in _MAP_LIMITS_DEG}
        row |= {f"{key}_auc{limit}": pose_auc(worst, limit) for limit in AUC_THRESHOLDS_DEG}
    return row


def _after(results: Sequence[PruningResult]) -> list[tuple[str, list[PoseError]]]:
    return [(key, [result.after[key] for result in results]) for key in results[0].after]


_COLUMNS = (
    Column("sequence", "sequence"),
    Column("pruner", "pruner"),
    Column("pairs", "pairs", "d"),
    Column("matches", "matches", ".0f"),
    Column("kept", "kept", ".0f"),
    Column("precision", "prec. %", ".1f", 100),
    Column("recall", "recall %", ".1f", 100),
    Column("f_score", "F %", ".1f", 100),
    *(Column(f"direct_map{limit}", f"mAP{limit}", ".1f", 100) for limit in _MAP_LIMITS_DEG),
    *(Column(f"direct_auc{limit}", f"AUC@{limit}", ".1f", 100) for limit in AUC_THRESHOLDS_DEG),
    *(Column(f"own_auc{limit}", f"then own@{limit}", ".1f", 100) for limit in AUC_THRESHOLDS_DEG),
    *(Column(f"magsac_auc{limit}", f"then MAGSAC@{limit}", ".1f", 100) for limit in AUC_THRESHOLDS_DEG),
    Column("ms", "ms", ".1f"),
)
