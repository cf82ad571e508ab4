"""Summary of a batch: tables of its recordings in Markdown and JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ros_matching.batch.job_store import DONE, FAILURE, RESULTS, Job, JobOutcome, JobStore
from ros_matching.evaluation.curves import GREY, PALETTE, save_figure
from ros_matching.evaluation.measurement import Column, Measurement, Table, write_measurement
from ros_matching.evaluation.trajectory.report_files import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME = "batch"
_COLUMNS = (
    Column("name", "recording"),
    Column("status", "status"),
    Column("frames", "frames", "d"),
    Column("tracked", "tracked %", ".1f", 100),
    Column("ate_percent", "ATE, % of the path", ".2f"),
    Column("loops", "loops", "d"),
    Column("keyframes", "keyframes", "d"),
    Column("points", "points", "d"),
    Column("ms", "ms per frame", ".0f"),
    Column("wall_s", "time [s]", ".0f"),
    Column("peak_mb", "memory [MB]", ".0f"),
    Column("attempt", "attempts", "d"),
    Column("reason", "reason"),
)
_TOTALS = (
    Column("recordings", "recordings", "d"),
    Column("done", "done", "d"),
    Column("empty", "without a result", "d"),
    Column("failed", "failed", "d"),
    Column("missing", "not run", "d"),
    Column("elapsed_s", "this run [s]", ".0f"),
    Column("workers", "jobs at once", "d"),
    Column("busy", "of the workers' time in jobs %", ".0f", 100),
)
_LONGEST_REASON = 160
_BAR_INCHES = 0.18
_MOST_BARS = 200
_COLORS = {DONE: PALETTE[2], "empty": PALETTE[4], FAILURE: PALETTE[1]}


@dataclass(frozen=True)
class BatchRun:
    """The last run of a batch: its duration, the number of jobs at once, and the names of the jobs that it ran."""

    elapsed_s: float
    workers: int
    ran: frozenset[str]


def batch_measurement(store: JobStore, jobs: Sequence[Job], run: BatchRun, settings: Mapping[str, Any]) -> Measurement:
    """Return the tables of all jobs of a batch, those of earlier runs too; JSON has all figures of each report."""
    rows = [_row(store, job) for job in jobs]
    count = {status: sum(row["status"] == status for row in rows) for status in (DONE, "empty", FAILURE, "not run")}
    in_jobs_s = sum(row.get("wall_s") or 0.0 for row in rows if row["name"] in run.ran)
    totals = {
        "recordings": len(rows),
        "done": count[DONE],
        "empty": count["empty"],
        "failed": count[FAILURE],
        "missing": count["not run"],
        "elapsed_s": run.elapsed_s,
        "workers": run.workers,
        "busy": in_jobs_s / (run.elapsed_s * run.workers) if run.elapsed_s and run.workers else float("nan"),
    }
    return Measurement(_NAME, settings, [Table("Batch", _TOTALS, [totals]), Table("Recordings", _COLUMNS, rows)])


def write_summary(measurement: Measurement, folder: Path) -> list[Path]:
    """Write batch.md, batch.json and, if Matplotlib is installed, batch.png; return the paths."""
    written = write_measurement(measurement, folder)
    return written + draw(folder / f"{_NAME}.png", lambda path: _plot(measurement.tables[1].rows, path))


def outcome_text(store: JobStore, outcome: JobOutcome) -> str:
    """Return one line on the outcome of a job."""
    row = _figures(store, outcome)
    words = [f"{column.heading} {column.text(row[column.key])}" for column in _COLUMNS[2:8] if column.key in row]
    detail = ", ".join(words) if outcome.status == DONE else outcome.reason
    return f"{outcome.name}: {outcome.status}, {outcome.wall_s:.0f} s; {detail}"


def _row(store: JobStore, job: Job) -> dict[str, Any]:
    outcome = store.outcome(job.name) or store.failure(job.name)
    if outcome is None:
        return {"name": job.name, "source": job.source, "status": "not run"}
    return {
        "name": job.name,
        "source": job.source,
        "status": outcome.status,
        **_figures(store, outcome),
        "wall_s": outcome.wall_s,
        "cpu_s": outcome.cpu_s,
        "peak_mb": outcome.peak_mb,
        "attempt": outcome.attempt,
        "host": outcome.host,
        "worker": outcome.worker,
        "started_s": outcome.started_s,
        "reason": outcome.reason[:_LONGEST_REASON].replace("|", "/"),
    }


def _figures(store: JobStore, outcome: JobOutcome) -> dict[str, Any]:
    """Return the main figures of the report of a command, whose form depends on the command."""
    try:
        report = json.loads((store.folder / RESULTS / outcome.name / "report.json").read_text())
    except (OSError, ValueError):
        return {}
    if "tables" in report:  # of `map`
        row = {key: value for table in report["tables"] for line in table["rows"] for key, value in line.items()}
        return {key: row[key] for key in ("keyframes", "mapped", "points", "abs_rel", "f2") if key in row}
    frames = report["frames"]
    figures = {"frames": frames, "tracked": report["tracked"] / frames if frames else None}
    figures |= {"ate_percent": report["ate_percent"], "ms": report["ms_per_frame"]}
    if "loops" in report:
        figures |= {"loops": report["loops"], "keyframes": report["map"]["keyframes"]}
    return {key: value for key, value in figures.items() if value is not None}


def _plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw when each job ran on which worker, and the fraction tracked, ATE and time of the recordings."""
    run = [row for row in rows if row.get("started_s")]
    shown = rows[:_MOST_BARS]
    panels = [
        (key, title, scale)
        for key, title, scale in (
            ("tracked", "tracked [%]", 100),
            ("ate_percent", "ATE [% of the path]", 1),
            ("points", "points", 1),
            ("wall_s", "time [s]", 1),
        )
        if any(row.get(key) is not None for row in shown)
    ]

    def draw_all(figure: Figure) -> None:
        grid = figure.add_gridspec(2, max(len(panels), 1), height_ratios=[1.6, height_inches])
        if run:
            _draw_jobs(figure.add_subplot(grid[0, :]), run)
        for column, (key, title, scale) in enumerate(panels):
            _draw_bars(figure.add_subplot(grid[1, column]), shown, key, title, scale, with_names=column == 0)

    height_inches = max(2.0, _BAR_INCHES * len(shown))
    save_figure(path, (3.2 * max(len(panels), 2), 2.2 + height_inches), draw_all)


def _draw_jobs(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw jobs over time, one line for each worker."""
    workers = list(dict.fromkeys((row["host"], row["worker"]) for row in rows))
    start_s = min(row["started_s"] for row in rows)
    for row in rows:
        height = workers.index((row["host"], row["worker"]))
        axes.barh(
            height, row["wall_s"], left=row["started_s"] - start_s, color=_COLORS[row["status"]], edgecolor="white"
        )
    axes.set(title="jobs by worker: done (green), no result (orange), failed (red)", xlabel="time [s]", yticks=[])


def _draw_bars(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, title: str, scale: float, *, with_names: bool
) -> None:
    values = [scale * row[key] if row.get(key) is not None else 0.0 for row in rows]
    colors = [_COLORS.get(row["status"], GREY) for row in rows]
    axes.barh(np.arange(len(rows)), values, color=colors)
    axes.set(title=title, yticks=np.arange(len(rows)))
    axes.set_yticklabels([row["name"][:30] for row in rows] if with_names else [])
    axes.set_ylim(len(rows) - 0.5, -0.5)
