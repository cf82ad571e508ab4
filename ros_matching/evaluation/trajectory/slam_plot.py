"""Plot of a SLAM run: the trajectory before and after loops, with the loops, and the errors of both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.evaluation.curves import GREY, PALETTE, save_figure
from ros_matching.evaluation.trajectory.run_plot import draw_legend, view_axes
from ros_matching.io.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ros_matching.evaluation.trajectory.run_report import RunReport
    from ros_matching.evaluation.trajectory.slam_report import SlamReport

_ODOMETRY, _MAP, _LOOP, _TRUTH = PALETTE[1], PALETTE[0], PALETTE[2], GREY
_SIZE_INCHES = (11, 8)
_MAX_LOOPS = 500  # drawn


def plot_slam(report: SlamReport, path: str | Path) -> None:
    """Draw a run into an image file: both trajectories from above with the loops, and their errors over the frames.

    Raises ``MissingDependencyError`` if matplotlib is not installed.
    """
    save_figure(path, _SIZE_INCHES, lambda figure: _draw(figure, report))


def _draw(figure: Figure, report: SlamReport) -> None:
    rows = [["odometry", "map"]]
    evaluated = report.odometry.evaluation is not None and report.corrected.evaluation is not None
    if evaluated:
        rows.append(["error", "error"])
    rows.append(["legend", "legend"])
    ratios = {"odometry": 3.0, "error": 1.0, "legend": 0.12}
    panels = figure.subplot_mosaic(rows, gridspec_kw={"height_ratios": [ratios[row[0]] for row in rows]})
    source = report.corrected.source
    figure.suptitle(f"{source} · {report.corrected.matcher} · {len(report.loops)} loops closed", fontsize=11)
    runs = {"odometry": (report.odometry, _ODOMETRY), "map": (report.corrected, _MAP)}
    shown = next((_shown(run) for run, _ in reversed(runs.values()) if _shown(run) is not None), None)
    for name, (run, color) in runs.items():
        if shown is not None:
            _draw_run(panels[name], run, name, color, view_axes(run.truth if evaluated else shown)[:2])
        panels[name].set(title=_title(name, run), xlabel="along", ylabel="across")
        panels[name].set_aspect("equal", adjustable="datalim")
    if _shown(report.corrected) is not None:
        _draw_loops(panels["map"], report, view_axes(report.corrected.truth if evaluated else shown)[:2])
    if evaluated:
        for name, (run, color) in runs.items():
            _draw_errors(panels["error"], run, name, color)
        panels["error"].set(title="position error", xlabel="frame", ylim=(0, None))
        panels["error"].margins(x=0)
    draw_legend(panels.pop("legend"), list(panels.values()))


def _title(name: str, run: RunReport) -> str:
    words = {"odometry": "odometry", "map": "in the map, at the end"}[name]
    return words if run.evaluation is None else f"{words}: ATE {run.evaluation.ate_rmse:.3g}"


def _shown(run: RunReport) -> Trajectory | None:
    return run.trajectory if run.evaluation is None else run.evaluation.aligned


def _draw_run(view: Axes, run: RunReport, name: str, color: str, axes: np.ndarray) -> None:
    if run.evaluation is not None:
        view.plot(*(axes @ run.truth.positions.T), color=_TRUTH, linewidth=1.2, label="ground truth")
    trajectory = _shown(run)
    if trajectory is None:
        return
    stamps_ns = [record.stamp_ns for record in run.records]
    xy = np.full((len(stamps_ns), 2), np.nan)  # a gap where there is no pose
    xy[np.searchsorted(stamps_ns, trajectory.stamps_ns)] = trajectory.positions @ axes.T
    view.plot(*xy.T, color=color, linewidth=1.4, label=name)


def _draw_loops(view: Axes, report: SlamReport, axes: np.ndarray) -> None:
    """Connect the cameras of every loop; the camera of a keyframe is at the pose of its frame."""
    trajectory = _shown(report.corrected)
    label = "loop"
    for loop in report.loops[:: max(len(report.loops) // _MAX_LOOPS, 1)]:
        rows = np.searchsorted(trajectory.stamps_ns, (loop.first_stamp_ns, loop.second_stamp_ns))
        if (rows < len(trajectory)).all():
            view.plot(*(axes @ trajectory.positions[rows].T), color=_LOOP, linewidth=1.0, marker=".", label=label)
            label = None


def _draw_errors(axes: Axes, run: RunReport, name: str, color: str) -> None:
    indices = np.array([record.index for record in run.records])
    errors = np.full(len(indices), np.nan)
    stamps_ns = [record.stamp_ns for record in run.records]
    errors[np.searchsorted(stamps_ns, run.evaluation.aligned.stamps_ns)] = run.evaluation.errors
    axes.plot(indices, errors, color=color, linewidth=1.2, label=name)
