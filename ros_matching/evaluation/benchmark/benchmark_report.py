"""Tables, files and plots of a benchmark: Markdown, JSON, one plot per sequence, and a report of every run."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ros_matching.errors import MissingDependencyError
from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun, SequenceRuns, benchmark_rows, losses
from ros_matching.evaluation.benchmark.covariance_table import covariance_table
from ros_matching.evaluation.curves import GREY, PALETTE, save_figure
from ros_matching.evaluation.measurement import Column, Measurement, Table, write_measurement
from ros_matching.evaluation.trajectory.report_files import report_values, write_report
from ros_matching.evaluation.trajectory.run_plot import draw_legend, view_axes
from ros_matching.evaluation.trajectory.run_report import RunReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_SIZE_INCHES = (11, 11)
_STAGE_SHADES = (1.0, 0.75, 0.55, 0.4, 0.28, 0.18)
_SPREAD = 1.5  # of the extent of the ground truth: points further away are cut off
NAME = "benchmark"
_TIMES_NOTE = "Milliseconds per frame, means over all frames; 95 %: percentile. MB: peak memory."


def plot_sequence(sequence_runs: SequenceRuns, path: str | Path) -> None:
    """Draw the runs of a sequence into an image file: views from above and the side, position errors, times by stage.

    Without ground truth the trajectories have no common world, and the views and errors are left out. Raises
    ``MissingDependencyError`` if matplotlib is not installed.
    """
    save_figure(path, _SIZE_INCHES, lambda figure: _draw(figure, sequence_runs))


def _draw(figure: Figure, sequence_runs: SequenceRuns) -> None:
    evaluated = [run for run in sequence_runs.runs if run.report.evaluation is not None]
    timed = [run for run in sequence_runs.runs if run.report.stage_ms]
    colors = {run.matcher: PALETTE[place % len(PALETTE)] for place, run in enumerate(sequence_runs.runs)}
    rows = {"views": 3.0, "error": 1.6} if evaluated else {}
    rows |= {"time": 0.4 + 0.22 * len(timed), "legend": 0.15}
    panels = figure.subplot_mosaic(
        [["top", "side"] if row == "views" else [row, row] for row in rows],
        gridspec_kw={"height_ratios": list(rows.values()), "width_ratios": [3, 2]},
    )
    figure.suptitle(sequence_runs.sequence, fontsize=11)
    if evaluated:
        _draw_views(panels["top"], panels["side"], evaluated, colors)
        _draw_errors(panels["error"], evaluated, colors)
    _draw_stages(panels["time"], timed, colors)
    draw_legend(panels.pop("legend"), list(panels.values()))


def _draw_views(top: Axes, side: Axes, runs: list[BenchmarkRun], colors: dict[str, str]) -> None:
    truth = runs[0].report.truth
    axes = view_axes(truth)
    for view, rows, title, up in ((top, axes[:2], "from above", "across"), (side, axes[::2], "from the side", "up")):
        true_xy = truth.positions @ rows.T
        view.plot(*true_xy.T, color=GREY, linewidth=3, alpha=0.6, label="ground truth")
        for run in runs:
            view.plot(
                *_by_record(run.report, run.report.evaluation.aligned.positions @ rows.T).T,
                color=colors[run.matcher],
                linewidth=1.1,
                label=run.matcher,
            )
        middle, reach = (true_xy.max(0) + true_xy.min(0)) / 2, _SPREAD * np.ptp(true_xy, axis=0).max() / 2
        view.set(title=title, xlabel="along [unit of the ground truth]", ylabel=up)
        view.set_xlim(middle[0] - reach, middle[0] + reach)
        view.set_ylim(middle[1] - reach, middle[1] + reach)
        view.set_aspect("equal", adjustable="box")


def _draw_errors(axes: Axes, runs: list[BenchmarkRun], colors: dict[str, str]) -> None:
    for run in runs:
        indices = [record.index for record in run.report.records]
        errors = _by_record(run.report, run.report.evaluation.errors)
        axes.plot(indices, errors, color=colors[run.matcher], linewidth=1.1, label=run.matcher)
    axes.set(title="position error", xlabel="frame", ylabel="unit of the ground truth", yscale="log")
    axes.margins(x=0)


def _by_record(report: RunReport, values: np.ndarray) -> np.ndarray:
    """Values of the evaluated poses as values of all frames, NaN for those without."""
    stamps_ns = [record.stamp_ns for record in report.records]
    of_frames = np.full((len(stamps_ns), *values.shape[1:]), np.nan)
    of_frames[np.searchsorted(stamps_ns, report.evaluation.aligned.stamps_ns)] = values
    return of_frames


def _draw_stages(axes: Axes, runs: list[BenchmarkRun], colors: dict[str, str]) -> None:
    """Draw a bar for each matcher with its stages, named if there is room."""
    longest = max((run.report.ms_per_frame for run in runs), default=1.0)
    for row, run in enumerate(runs):
        start = 0.0
        stages = sorted(run.report.stage_ms.items(), key=lambda stage: stage[0] != "extract")
        for number, (stage, milliseconds) in enumerate(stages):
            shade = _STAGE_SHADES[min(number, len(_STAGE_SHADES) - 1)]
            axes.barh(row, milliseconds, left=start, color=colors[run.matcher], alpha=shade, height=0.7)
            if milliseconds > 0.07 * longest:
                axes.text(start + milliseconds / 2, row, stage, ha="center", va="center", fontsize=7)
            start += milliseconds
        axes.text(run.report.ms_per_frame, row, f" {run.report.ms_per_frame:.0f} ms", va="center", fontsize=8)
    axes.set(title="time per frame, by stage", xlabel="ms", xlim=(0, 1.1 * longest))
    axes.set_yticks(range(len(runs)), [run.matcher for run in runs])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


_LOGGER = logging.getLogger(__name__)
_NOTE = """\
tracked: fraction of all frames with a pose; lost: frames without a pose after the first map; maps: number of maps, as a
loss may end in a new one. ATE: RMSE of the positions after one {alignment} alignment, also relative to the path, and
over common frames: those tracked by all runs that tracked at least half of them. RPE: RMSE of the motion from one
tracked frame to the next. Lengths are in the unit of the ground truth."""
_FIGURES = (
    Column("sequence", "sequence"),
    Column("matcher", "matcher"),
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
    sequences: Sequence[SequenceRuns], settings: Mapping[str, Any], *, name: str = NAME, conditions: str = ""
) -> Measurement:
    """Return the tables of figures, covariances and times, and every run as detail.

    ``conditions`` describes the timing.
    """
    rows = benchmark_rows(sequences)
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
        {
            "sequence": sequence_runs.sequence,
            "called": run.matcher,
            "failure": run.failure or None,
            "peak_mb": run.peak_mb,
        }
        | report_values(run.report)
        for sequence_runs in sequences
        for run in sequence_runs.runs
    ]
    remarks = [*_notes(rows), *losses(rows), *_calibrations(sequences)]
    note = "\n\n".join([_NOTE.format(alignment=settings["alignment"]), *remarks])
    tables = [Table("Accuracy", _FIGURES, rows, note)]
    if covariances := covariance_table(sequences):
        tables.append(covariances)
    if timed := [row for row in flat if row["stage_ms"]]:
        tables.append(Table("Time and memory", times, timed, f"{_TIMES_NOTE} {conditions}".strip()))
    return Measurement(name, settings, tables, details=details)


def _calibrations(sequences: Sequence[SequenceRuns]) -> list[str]:
    """Return the calibration of each sequence, one line each."""
    used = {
        (sequence_runs.sequence, run.report.calibration) for sequence_runs in sequences for run in sequence_runs.runs
    }
    return [f"{sequence}, calibration {known.summary()}" for sequence, known in sorted(used, key=str) if known]


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the notes on runs that failed or could not be evaluated, each once."""
    where: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["note"]:
            where.setdefault((row["matcher"], row["note"]), []).append(row["sequence"])
    return [f"{matcher}, on {', '.join(sequences)}: {note}" for (matcher, note), sequences in where.items()]


def write_benchmark(sequences: Sequence[SequenceRuns], measurement: Measurement, out_dir: str | Path) -> list[Path]:
    """Write tables and plots into a folder, and every run into SEQUENCE/MATCHER; return the paths of the former.

    For a repeated sequence the first run is drawn and written. Plots are left out with a logged warning without
    matplotlib.
    """
    folder = Path(out_dir)
    written = write_measurement(measurement, folder)
    first_runs: dict[str, SequenceRuns] = {}
    for sequence_runs in sequences:
        first_runs.setdefault(sequence_runs.sequence, sequence_runs)
    for sequence_runs in first_runs.values():
        name = _file_name(sequence_runs.sequence)
        for run in sequence_runs.runs:
            if run.report.records:
                write_report(run.report, folder / name / _file_name(run.matcher))
        written += draw_sequence(sequence_runs, folder / f"{name}.png")
    return written


def draw_sequence(sequence_runs: SequenceRuns, path: Path) -> list[Path]:
    """Draw the runs of a sequence; return the paths: none, with a warning, without matplotlib."""
    path.unlink(missing_ok=True)
    try:
        plot_sequence(sequence_runs, path)
    except MissingDependencyError as error:
        _LOGGER.warning("%s is not drawn: %s", path.name, error)
        return []
    return [path]


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+=-]+", "_", text).strip("_")
