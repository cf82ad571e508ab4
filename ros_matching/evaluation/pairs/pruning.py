"""Evaluation of match pruning: precision, recall, and the pose from the remaining matches.

A match is correct if its squared distances from its true epipolar lines, in normalised coordinates, sum to less than
1e-4 over both images. NCMNet and related networks are trained and measured with this definition.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.pairs.matched_pairs import MatchedPair
from ros_matching.evaluation.pairs.pose_auc import AUC_THRESHOLDS_DEG, pose_auc, recall_curve
from ros_matching.evaluation.pairs.pose_errors import PoseError, PoseEstimator, magsac_pose, own_pose, pose_error
from ros_matching.geometry.epipolar import essential_from_pose, symmetric_epipolar_distance_px
from ros_matching.geometry.essential import recover_pose

_RIGHT = 1e-2  # the root of 1e-4
_MAP_STEP_DEG = 5
_MAP_LIMITS_DEG = (5, 20)


class Pruned(Protocol):
    """Result of a pruner: the ``rows`` (K,) of the matches it keeps, and their ``essential`` matrix (3, 3)."""

    rows: np.ndarray
    essential: np.ndarray


class Pruner(Protocol):
    """Interface of a pruner for this evaluation; ``NCMNetPruner`` implements it."""

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> Pruned | None:
        """Return the matches of two undistorted images that fit one motion; ``None`` if there is no result."""


class RansacPruner:
    """A robust pose estimator as a pruner that keeps its inliers: the baseline of learned ones."""

    def __init__(self, estimate: PoseEstimator) -> None:
        self._estimate = estimate

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> _RansacPruned | None:
        """Return the inliers of the pose; ``None`` without a pose."""
        pose = self._estimate(matches, camera0, camera1)
        return None if pose is None else _RansacPruned(np.flatnonzero(pose[1]), essential_from_pose(pose[0]), pose[0])


class KeepAll:
    """No pruning: the baseline of putative matches."""

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> None:
        """Return None: all matches are kept."""


@dataclass(frozen=True)
class _RansacPruned:
    rows: np.ndarray
    essential: np.ndarray
    camera1_from_camera0: np.ndarray


BASELINES: Mapping[str, Pruner] = {
    "none": KeepAll(),
    "own RANSAC": RansacPruner(own_pose),
    "MAGSAC": RansacPruner(magsac_pose),
}


@dataclass(frozen=True)
class PruningResult:
    """One pruner on one pair's putative matches.

    ``precision`` and ``recall`` of the right ones among those kept; recall is NaN where none was right. ``direct`` is
    the error of the pose that the pruner's essential matrix is of, and ``after`` those of the estimators on the matches
    that it kept (on all of them where it does not know).
    """

    pruner: str
    sequence: str
    matches: int
    right: int
    kept: int
    precision: float
    recall: float
    direct: PoseError
    after: Mapping[str, PoseError]
    ms: float


AFTER: Mapping[str, PoseEstimator] = {"own": own_pose, "magsac": magsac_pose}


def evaluate_pruning(pruners: Mapping[str, Pruner], pairs: Iterable[MatchedPair]) -> Iterator[PruningResult]:
    """Evaluate every pruner on the matches of every pair; pairs of unknown direction are left out."""
    for pair in pairs:
        if pair.rotation_only or pair.distance == 0:
            continue
        right = true_matches(pair)
        for name, pruner in pruners.items():
            yield _run(name, pruner, pair, right)


def true_matches(pair: MatchedPair) -> np.ndarray:
    """Return the correct matches, (M,) bool."""
    rays0, rays1 = pair.camera0.unproject(pair.matches.points0), pair.camera1.unproject(pair.matches.points1)
    essential = essential_from_pose(pair.camera1_from_camera0)
    return symmetric_epipolar_distance_px(essential, rays0[:, :2], rays1[:, :2]) < _RIGHT


def _run(name: str, pruner: Pruner, pair: MatchedPair, right: np.ndarray) -> PruningResult:
    began = time.perf_counter()
    pruned = pruner.prune(pair.matches, pair.camera0, pair.camera1)
    ms = 1e3 * (time.perf_counter() - began)
    rows = np.arange(len(pair.matches)) if pruned is None else pruned.rows
    kept, true_kept = pair.matches.select(rows), np.count_nonzero(right[rows])
    truth = pair.camera1_from_camera0
    poses = {key: estimate(kept, pair.camera0, pair.camera1) for key, estimate in AFTER.items()}
    return PruningResult(
        pruner=name,
        sequence=pair.sequence,
        matches=len(pair.matches),
        right=int(np.count_nonzero(right)),
        kept=len(kept),
        precision=true_kept / len(kept) if len(kept) else 0.0,
        recall=true_kept / np.count_nonzero(right) if right.any() else np.nan,
        direct=pose_error(None if pruned is None else _pose(pruned, pair), truth),
        after={key: pose_error(None if pose is None else pose[0], truth) for key, pose in poses.items()},
        ms=ms,
    )


def _pose(pruned: Pruned, pair: MatchedPair) -> np.ndarray | None:
    """Return the pose (4, 4) of the essential matrix by the kept matches; that of RANSAC is already known."""
    if isinstance(pruned, _RansacPruned):
        return pruned.camera1_from_camera0
    inliers = np.zeros(len(pair.matches), dtype=bool)
    inliers[pruned.rows] = True
    matches = pair.matches
    view = recover_pose(pruned.essential, matches.points0, matches.points1, pair.camera0, pair.camera1, inliers)
    return None if view is None else view.camera1_from_camera0


_NOTE = """\
All but ms in percent. A match is right within 0.01 of its true epipolar lines (normalised coordinates, root of the sum
of both squares). mAP and AUC are of the pose that belongs to the pruner's essential matrix, "then own" and "then
MAGSAC" of poses estimated on what it kept."""


def mean_average_precision(errors_deg: Sequence[float] | np.ndarray, up_to_deg: int) -> float:
    """Return the mean of the fractions of errors below 5, 10, ... up to ``up_to_deg`` degrees (Yi et al., 2018)."""
    errors = np.asarray(errors_deg, dtype=np.float64)
    if errors.size == 0:
        raise EvaluationError("no pair was measured, so there is no mean average precision")
    return float(np.mean([np.mean(errors < limit) for limit in range(_MAP_STEP_DEG, up_to_deg + 1, _MAP_STEP_DEG)]))


def pruning_measurement(results: Sequence[PruningResult], settings: Mapping[str, Any]) -> Measurement:
    """Return a table of all pruners on all sequences, and their recall curves."""
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
    labels = "pose error on the remaining matches [deg]", "fraction of the pairs"
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
