"""Runs of several matchers in the same tracker on the same frames: tracked frames, accuracy and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.trajectory.run_report import LOST, TRACKING, RunReport
from ros_matching.evaluation.trajectory.trajectory_errors import evaluate_trajectory
from ros_matching.io.trajectory import Trajectory

_COMPARED = {
    "tracked": "fraction tracked",
    "ate": "ATE",
    "ate_common": "ATE over common frames",
    "rpe_trans": "RPE",
    "rpe_rot_deg": "RPE in degrees",
}
_COMMON_FRACTION = 0.5  # of the frames; runs with fewer tracked frames are not compared over common frames


@dataclass(frozen=True)
class BenchmarkRun:
    """Run of one matcher on a sequence.

    ``matcher`` is its label; ``report`` contains the results up to the end or a failure, whose reason is ``failure``;
    ``peak_mb`` is the peak memory, NaN when unknown.
    """

    matcher: str
    report: RunReport
    failure: str = ""
    peak_mb: float = float("nan")


@dataclass(frozen=True)
class SequenceRuns:
    """Runs of several matchers over the same ``frames`` of one sequence."""

    sequence: str
    frames: int
    runs: tuple[BenchmarkRun, ...]

    @cached_property
    def common_stamps_ns(self) -> np.ndarray:
        """Frames (F,) tracked by every run that is compared; empty with fewer than two such runs."""
        tracked = [run.report.trajectory.stamps_ns for run in self.runs if self.is_compared(run)]
        if len(tracked) < 2:
            return np.zeros(0, dtype=np.int64)
        common = tracked[0]
        for stamps_ns in tracked[1:]:
            common = np.intersect1d(common, stamps_ns)
        return common

    def common_ate(self, run: BenchmarkRun) -> float:
        """Return the ATE of a run over the common frames, aligned by these only; NaN without any."""
        report, stamps_ns = run.report, self.common_stamps_ns
        if report.evaluation is None or not self.is_compared(run) or not stamps_ns.size:
            return float("nan")
        chosen = np.isin(report.trajectory.stamps_ns, stamps_ns)
        estimate = Trajectory(stamps_ns, report.trajectory.world_from_camera[chosen])
        try:
            return evaluate_trajectory(estimate, report.truth, alignment=report.evaluation.alignment).ate_rmse
        except EvaluationError:
            return float("nan")

    def is_compared(self, run: BenchmarkRun) -> bool:
        """Return True if a run tracked enough frames to compare its errors with those of others."""
        return run.report.trajectory is not None and run.report.count(TRACKING) >= _COMMON_FRACTION * self.frames


def benchmark_rows(sequences: Iterable[SequenceRuns]) -> list[dict[str, Any]]:
    """Return the figures of every matcher on every sequence, one row each; medians over repeats.

    ``tracked`` is a fraction of all frames; unknown is NaN; lengths are in the unit of the ground truth. ``ate_least``
    and ``ate_most`` are the extremes over the repeats, if any.
    """
    rows = []
    for sequence, repeats in _by_sequence(sequences).items():
        for i, run in enumerate(repeats[0].runs):
            singles = [_figures(sequence_runs, sequence_runs.runs[i]) for sequence_runs in repeats]
            rows.append({"sequence": sequence, "matcher": run.matcher} | _medians(singles))
    return rows


def losses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each sequence on which the first matcher is worse than the best of the others.

    Errors are compared only with matchers that tracked at least half of the frames.
    """
    lines = []
    for sequence in dict.fromkeys(row["sequence"] for row in rows):
        first, *others = (row for row in rows if row["sequence"] == sequence)
        worse = [_worse(key, name, first, others) for key, name in _COMPARED.items()]
        if any(worse):
            lines.append(f"{sequence}: {first['matcher']} is worse in {'; '.join(filter(None, worse))}")
    return lines


def _worse(key: str, name: str, first: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure by which a row is worse than the best of others; empty if it is not."""
    more_is_better = key == "tracked"
    rivals = [row for row in others if np.isfinite(row[key]) and (more_is_better or row["tracked"] >= _COMMON_FRACTION)]
    if not rivals or not np.isfinite(first[key]):
        return ""
    best = (max if more_is_better else min)(rivals, key=lambda row: row[key])
    if not (best[key] > first[key] if more_is_better else best[key] < first[key]):
        return ""
    return f"{name} ({first[key]:.4g}, {best['matcher']} {best[key]:.4g})"


def _by_sequence(sequences: Iterable[SequenceRuns]) -> dict[str, list[SequenceRuns]]:
    grouped: dict[str, list[SequenceRuns]] = {}
    for sequence_runs in sequences:
        grouped.setdefault(sequence_runs.sequence, []).append(sequence_runs)
    return grouped


def _figures(sequence_runs: SequenceRuns, run: BenchmarkRun) -> dict[str, Any]:
    report, evaluation = run.report, run.report.evaluation
    reached = bool(report.records)
    times = report.latencies_ms
    return {
        "frames": sequence_runs.frames,
        "tracked": report.count(TRACKING) / sequence_runs.frames if reached else np.nan,
        "lost": report.count(LOST) if reached else np.nan,
        "maps": report.maps if reached else np.nan,
        "ate": evaluation.ate_rmse if evaluation else np.nan,
        "ate_percent": evaluation.ate_percent if evaluation else np.nan,
        "ate_common": sequence_runs.common_ate(run),
        "common_frames": len(sequence_runs.common_stamps_ns) or np.nan,
        "rpe_trans": evaluation.rpe_trans if evaluation else np.nan,
        "rpe_rot_deg": evaluation.rpe_rot_deg if evaluation else np.nan,
        "ms": report.ms_per_frame,
        "ms_p95": float(np.percentile(times, 95)) if times.size else np.nan,
        "stage_ms": report.stage_ms if reached else {},
        "peak_mb": run.peak_mb,
        "note": run.failure or report.evaluation_note,
    }


def _medians(singles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one row for several: the medians of numbers, also of stage times, and the first note."""
    numbers = {key for key in singles[0] if key not in ("stage_ms", "note")}
    row = {key: _median([single[key] for single in singles]) for key in singles[0] if key in numbers}
    stages = dict.fromkeys(stage for single in singles for stage in single["stage_ms"])
    row["stage_ms"] = {
        stage: _median([single["stage_ms"].get(stage, np.nan) for single in singles]) for stage in stages
    }
    known = [single["ate"] for single in singles if np.isfinite(single["ate"])]
    row |= {"ate_least": min(known), "ate_most": max(known)} if len(singles) > 1 and known else {}
    return row | {"note": next((single["note"] for single in singles if single["note"]), "")}


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")
