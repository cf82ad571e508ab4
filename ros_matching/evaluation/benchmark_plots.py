"""The picture of a contest: all trajectories over the truth, their errors over time, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.evaluation.benchmark import BackendRun, Contest
from ros_matching.evaluation.figure import GREY, PALETTE, save_figure
from ros_matching.evaluation.plots import draw_legend, view_axes
from ros_matching.evaluation.run import RunReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES = (11, 11)
_STAGE_SHADES = (1.0, 0.75, 0.55, 0.4, 0.28, 0.18)
_SPREAD = 1.5  # of the truth's extent: what lies further off is cut


def plot_contest(contest: Contest, path: str | Path) -> None:
    """Draw a contest into an image file: views from above and the side, position errors, times by stage.

    Without a truth the trajectories have no common world, and the views and errors are left out. Raises
    ``MissingDependencyError`` when matplotlib is not installed.
    """
    save_figure(path, _SIZE_INCHES, lambda figure: _draw(figure, contest))


def _draw(figure: Figure, contest: Contest) -> None:
    evaluated = [run for run in contest.runs if run.report.evaluation is not None]
    timed = [run for run in contest.runs if run.report.stage_ms]
    colors = {run.backend: PALETTE[place % len(PALETTE)] for place, run in enumerate(contest.runs)}
    rows = {"views": 3.0, "error": 1.6} if evaluated else {}
    rows |= {"time": 0.4 + 0.22 * len(timed), "legend": 0.15}
    panels = figure.subplot_mosaic(
        [["top", "side"] if row == "views" else [row, row] for row in rows],
        gridspec_kw={"height_ratios": list(rows.values()), "width_ratios": [3, 2]},
    )
    figure.suptitle(contest.sequence, fontsize=11)
    if evaluated:
        _draw_views(panels["top"], panels["side"], evaluated, colors)
        _draw_errors(panels["error"], evaluated, colors)
    _draw_stages(panels["time"], timed, colors)
    draw_legend(panels.pop("legend"), list(panels.values()))


def _draw_views(top: Axes, side: Axes, runs: list[BackendRun], colors: dict[str, str]) -> None:
    truth = runs[0].report.truth
    axes = view_axes(truth)
    for view, rows, title, up in ((top, axes[:2], "from above", "across"), (side, axes[::2], "from the side", "up")):
        true_xy = truth.positions @ rows.T
        view.plot(*true_xy.T, color=GREY, linewidth=3, alpha=0.6, label="ground truth")
        for run in runs:
            view.plot(
                *_by_record(run.report, run.report.evaluation.aligned.positions @ rows.T).T,
                color=colors[run.backend],
                linewidth=1.1,
                label=run.backend,
            )
        middle, reach = (true_xy.max(0) + true_xy.min(0)) / 2, _SPREAD * np.ptp(true_xy, axis=0).max() / 2
        view.set(title=title, xlabel="along [unit of the ground truth]", ylabel=up)
        view.set_xlim(middle[0] - reach, middle[0] + reach)
        view.set_ylim(middle[1] - reach, middle[1] + reach)
        view.set_aspect("equal", adjustable="box")


def _draw_errors(axes: Axes, runs: list[BackendRun], colors: dict[str, str]) -> None:
    for run in runs:
        indices = [record.index for record in run.report.records]
        errors = _by_record(run.report, run.report.evaluation.errors)
        axes.plot(indices, errors, color=colors[run.backend], linewidth=1.1, label=run.backend)
    axes.set(title="position error", xlabel="frame", ylabel="unit of the ground truth", yscale="log")
    axes.margins(x=0)


def _by_record(report: RunReport, values: np.ndarray) -> np.ndarray:
    """Values of the evaluated poses as values of all frames, NaN for those without."""
    stamps_ns = [record.stamp_ns for record in report.records]
    of_frames = np.full((len(stamps_ns), *values.shape[1:]), np.nan)
    of_frames[np.searchsorted(stamps_ns, report.evaluation.aligned.stamps_ns)] = values
    return of_frames


def _draw_stages(axes: Axes, runs: list[BackendRun], colors: dict[str, str]) -> None:
    """A bar for each front end, the stages one after another, each with its name where there is room for it."""
    longest = max((run.report.ms_per_frame for run in runs), default=1.0)
    for row, run in enumerate(runs):
        start = 0.0
        stages = sorted(run.report.stage_ms.items(), key=lambda stage: stage[0] != "extract")
        for number, (stage, milliseconds) in enumerate(stages):
            shade = _STAGE_SHADES[min(number, len(_STAGE_SHADES) - 1)]
            axes.barh(row, milliseconds, left=start, color=colors[run.backend], alpha=shade, height=0.7)
            if milliseconds > 0.07 * longest:
                axes.text(start + milliseconds / 2, row, stage, ha="center", va="center", fontsize=7)
            start += milliseconds
        axes.text(run.report.ms_per_frame, row, f" {run.report.ms_per_frame:.0f} ms", va="center", fontsize=8)
    axes.set(title="time per frame, by stage", xlabel="ms", xlim=(0, 1.1 * longest))
    axes.set_yticks(range(len(runs)), [run.backend for run in runs])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
