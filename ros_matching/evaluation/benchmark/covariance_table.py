"""Consistency of the covariances of a benchmark, against the ground truth and between matchers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun, SequenceRuns
from ros_matching.evaluation.measurement import Column, Table
from ros_matching.evaluation.trajectory.consistency import (
    Consistency,
    estimates_of,
    ground_truth_noise,
    run_consistency,
)
from ros_matching.evaluation.trajectory.ground_truth_noise import PoseNoise
from ros_matching.evaluation.trajectory.motion_agreement import agreement

_COLUMNS = (
    Column("sequence", "sequence"),
    Column("matcher", "matcher"),
    Column("against", "against"),
    Column("motions", "motions", ".0f"),
    Column("nees", "mean NEES", ".2f"),
    Column("low", "from", ".2f"),
    Column("high", "to", ".2f"),
    Column("within", "inside %", ".1f", 100),
    Column("noise", "noise of ground truth", ".4f"),
    Column("noise_deg", "deg", ".3f"),
)
_NOTE = """\
Normalised estimation error squared of the motions from frame to frame: 6 is correct, more is optimistic. From, to: 95 %
bounds of its mean. Inside: fraction in the 95 % region. Two matchers on the same frames differ according to both
covariances. The true poses of real sequences are noisy: their noise, on each axis of a pose, is estimated and added to
the covariances."""


def covariance_table(sequences: Sequence[SequenceRuns]) -> Table | None:
    """Return the table for the first run of each sequence; ``None`` without enough data."""
    first: dict[str, SequenceRuns] = {}
    for sequence_runs in sequences:
        first.setdefault(sequence_runs.sequence, sequence_runs)
    rows = [{"sequence": name} | row for name, sequence_runs in first.items() for row in _rows(sequence_runs)]
    return Table("Covariance", _COLUMNS, rows, _NOTE) if rows else None


def _rows(sequence_runs: SequenceRuns) -> Iterator[dict[str, Any]]:
    runs = [run for run in sequence_runs.runs if sequence_runs.is_compared(run)]
    for run in runs:
        yield from _row(
            run,
            "ground truth",
            lambda run: run_consistency(run.report.records, run.report.truth)["relative"],
            ground_truth_noise(estimates_of(run.report.records, run.report.truth)),
        )
    for a, b in combinations(runs, 2):
        yield from _row(a, b.matcher, lambda run, other=b: agreement(run.report.records, other.report.records))


def _row(
    run: BenchmarkRun, against: str, judge: Callable[[BenchmarkRun], Consistency], noise: PoseNoise | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one row, or none without enough data."""
    try:
        found = judge(run)
    except EvaluationError:
        return
    yield {
        "matcher": run.matcher,
        "against": against,
        "motions": found.count,
        "nees": found.mean_nees,
        "low": found.bounds[0],
        "high": found.bounds[1],
        "within": found.within,
        "noise": None if noise is None else noise.translation,
        "noise_deg": None if noise is None else noise.rotation_deg,
    }
