"""A benchmark as tables and as files: Markdown, JSON, a picture of every sequence, and every run by itself."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ros_matching.errors import MissingDependencyError
from ros_matching.evaluation.benchmark import Contest, contest_rows, losses
from ros_matching.evaluation.benchmark_covariance import covariance_table
from ros_matching.evaluation.benchmark_plots import plot_contest
from ros_matching.evaluation.report import report_values, write_report
from ros_matching.evaluation.tables import Column, Measurement, Table, write_measurement

NAME = "benchmark"

_LOGGER = logging.getLogger(__name__)
_NOTE = """\
tracked: share of all frames that have a pose; lost: frames after the first map that have none; maps: begun, as a loss
may end in a new one. ATE: RMSE of the positions after one {alignment} alignment, also as a share of the path, and over
the frames in common: those that all have tracked who tracked half of them or more. RPE: RMSE of the motion from one
tracked frame to the next. Lengths are in the unit of the ground truth."""
_TIMES_NOTE = "Milliseconds a frame, means over all frames; 95 %: that share of them took no longer. MB: peak memory."
_FIGURES = (
    Column("sequence", "sequence"),
    Column("backend", "front end"),
    Column("frames", "frames", ".0f"),
    Column("tracked", "tracked %", ".1f", 100),
    Column("lost", "lost", ".0f"),
    Column("maps", "maps", ".0f"),
    Column("ate", "ATE", ".4f"),
    Column("ate_least", "least", ".4f"),
    Column("ate_most", "most", ".4f"),
    Column("ate_percent", "ATE %", ".2f"),
    Column("ate_common", "ATE common", ".4f"),
    Column("common_frames", "common", ".0f"),
    Column("rpe_trans", "RPE", ".4f"),
    Column("rpe_rot_deg", "RPE deg", ".3f"),
)


def benchmark_measurement(
    contests: Sequence[Contest], settings: Mapping[str, Any], *, name: str = NAME, conditions: str = ""
) -> Measurement:
    """The tables of figures, covariances and times, and every run as detail.

    ``conditions`` tells what was timed, and how.
    """
    rows = contest_rows(contests)
    stages = dict.fromkeys(stage for row in rows for stage in row["stage_ms"])
    times = (
        *_FIGURES[:2],
        Column("ms", "all", ".1f"),
        Column("ms_p95", "95 %", ".1f"),
        *(Column(f"{stage}_ms", stage, ".1f") for stage in stages),
        Column("peak_mb", "MB", ".0f"),
    )
    flat = [row | {f"{stage}_ms": value for stage, value in row["stage_ms"].items()} for row in rows]
    details = [
        {"sequence": contest.sequence, "called": run.backend, "failure": run.failure or None, "peak_mb": run.peak_mb}
        | report_values(run.report)
        for contest in contests
        for run in contest.runs
    ]
    remarks = [*_notes(rows), *losses(rows), *_calibrations(contests)]
    note = "\n\n".join([_NOTE.format(alignment=settings["alignment"]), *remarks])
    tables = [Table("Accuracy", _FIGURES, rows, note)]
    if covariances := covariance_table(contests):
        tables.append(covariances)
    if timed := [row for row in flat if row["stage_ms"]]:
        tables.append(Table("Time and memory", times, timed, f"{_TIMES_NOTE} {conditions}".strip()))
    return Measurement(name, settings, tables, details=details)


def _calibrations(contests: Sequence[Contest]) -> list[str]:
    """The calibration that each sequence was undistorted with, a line each."""
    used = {(contest.sequence, run.report.calibration) for contest in contests for run in contest.runs}
    return [f"{sequence}, calibration {known.summary()}" for sequence, known in sorted(used, key=str) if known]


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of front ends that failed or could not be evaluated, each thing once."""
    where: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["note"]:
            where.setdefault((row["backend"], row["note"]), []).append(row["sequence"])
    return [f"{backend}, on {', '.join(sequences)}: {note}" for (backend, note), sequences in where.items()]


def write_benchmark(contests: Sequence[Contest], measurement: Measurement, out_dir: str | Path) -> list[Path]:
    """Write the tables and pictures into a folder, and every run into SEQUENCE/FRONT END below it; the former's paths.

    Of a sequence that was run repeatedly the first run is drawn and written. Pictures are left out with a logged
    warning where matplotlib is missing.
    """
    folder = Path(out_dir)
    written = write_measurement(measurement, folder)
    first_runs: dict[str, Contest] = {}
    for contest in contests:
        first_runs.setdefault(contest.sequence, contest)
    for contest in first_runs.values():
        name = _file_name(contest.sequence)
        for run in contest.runs:
            if run.report.records:
                write_report(run.report, folder / name / _file_name(run.backend))
        written += draw_contest(contest, folder / f"{name}.png")
    return written


def draw_contest(contest: Contest, path: Path) -> list[Path]:
    """Draw a contest, in place of an earlier picture; the paths written: none, with a warning, without matplotlib."""
    path.unlink(missing_ok=True)
    try:
        plot_contest(contest, path)
    except MissingDependencyError as error:
        _LOGGER.warning("%s is not drawn: %s", path.name, error)
        return []
    return [path]


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "_", text).strip("_")
