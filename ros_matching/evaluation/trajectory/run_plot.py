"""Plot of a run: true and estimated trajectory, position error, and time per frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.evaluation.curves import GREY, PALETTE, save_figure
from ros_matching.evaluation.trajectory.run_report import INITIALIZING, LOST, TRACKING, RunReport
from ros_matching.io.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ESTIMATE, _TRUTH = PALETTE[0], GREY
_STATUS_COLORS = {INITIALIZING: PALETTE[4], LOST: PALETTE[1]}
_SIZE_INCHES = (11, 9)


def plot_run(report: RunReport, path: str | Path) -> None:
    """Draw a run into an image file (PNG, PDF or SVG by its suffix): views from above and the side, error, time.

    Raises ``MissingDependencyError`` if matplotlib is not installed.
    """
    save_figure(path, _SIZE_INCHES, lambda figure: _draw(figure, report))


def _draw(figure: Figure, report: RunReport) -> None:
    rows = {"views": 3.0}
    if report.evaluation is not None:
        rows["error"] = 1.0
    if np.isfinite(report.ms_per_frame):
        rows["time"] = 1.0
    rows["legend"] = 0.12
    panels = figure.subplot_mosaic(
        [["top", "side"] if row == "views" else [row, row] for row in rows],
        gridspec_kw={"height_ratios": list(rows.values()), "width_ratios": [3, 2]},
    )
    figure.suptitle(_title(report), fontsize=11)
    _draw_views(panels["top"], panels["side"], report)
    indices = np.array([record.index for record in report.records])
    if "error" in panels:
        _draw_error(panels["error"], report, indices)
    if "time" in panels:
        _draw_time(panels["time"], report, indices)
    draw_legend(panels.pop("legend"), list(panels.values()))


def draw_legend(legend: Axes, panels: Sequence[Axes]) -> None:
    """Draw one legend for all panels, each label once."""
    entries: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    legend.set_axis_off()
    legend.legend(entries.values(), entries.keys(), loc="center", ncol=max(len(entries), 1), frameon=False)


def _title(report: RunReport) -> str:
    frames, tracked = len(report.records), report.count(TRACKING)
    title = f"{report.source} · {report.matcher} · {tracked} of {frames} frames tracked"
    evaluation = report.evaluation
    if evaluation is None:
        return f"{title}\nnot evaluated: {report.evaluation_note}"
    return (
        f"{title}\nATE {evaluation.ate_rmse:.3g} ({evaluation.ate_percent:.2f} % of {evaluation.path_length:.3g}) · "
        f"RPE {evaluation.rpe_trans:.3g}, {evaluation.rpe_rot_deg:.2f}° per frame · "
        f"{evaluation.alignment} alignment, scale {evaluation.scale:.3g}"
    )


def _draw_views(top: Axes, side: Axes, report: RunReport) -> None:
    """Draw both trajectories from above and from the side, in the world of the ground truth if known."""
    estimate = report.evaluation.aligned if report.evaluation is not None else report.trajectory
    # Without an alignment the two are in different worlds: only the estimate is shown, or else the ground truth.
    truth = report.truth if report.evaluation is not None or estimate is None else None
    shown = truth or estimate
    if shown is not None:
        axes = view_axes(shown)
        for view, rows in ((top, axes[:2]), (side, axes[::2])):
            if truth is not None:
                _draw_ground_truth(view, truth, report, rows)
            if estimate is not None:
                _draw_estimate(view, estimate, report, rows)
    unit = "unit of the ground truth" if truth is not None else "map scale"
    top.set(title="from above", xlabel=f"along [{unit}]", ylabel="across")
    side.set(title="from the side", xlabel=f"along [{unit}]", ylabel="up")
    for view in (top, side):
        view.set_aspect("equal", adjustable="datalim")


def view_axes(trajectory: Trajectory) -> np.ndarray:
    """Return the directions along, across and up (3, 3, rows) in which a trajectory is drawn.

    Up is opposite to the mean of the cameras' y axes, as cameras are mostly held upright; along is the horizontal
    direction of the largest spread of positions.
    """
    down = trajectory.world_from_camera[:, :3, 1].mean(axis=0)
    up = -down / np.linalg.norm(down) if np.linalg.norm(down) > 0.1 else np.array([0.0, 0.0, 1.0])
    positions = trajectory.world_from_camera[:, :3, 3]
    horizontal = np.eye(3) - np.outer(up, up)
    spread = horizontal @ np.cov((positions - positions.mean(axis=0)).T, bias=True) @ horizontal
    # Up gets the smallest eigenvalue, so that along is horizontal.
    along = np.linalg.eigh(spread - np.trace(spread) * np.outer(up, up) - np.outer(up, up))[1][:, -1]
    return np.stack([along, np.cross(up, along), up])


def _draw_ground_truth(view: Axes, truth: Trajectory, report: RunReport, axes: np.ndarray) -> None:
    xy = truth.world_from_camera[:, :3, 3] @ axes.T
    view.plot(*xy.T, color=_TRUTH, linewidth=1.2, label="ground truth")
    stamps_ns = [record.stamp_ns for record in report.records]
    # A true pose has the status of the last frame before it.
    frame = np.searchsorted(stamps_ns, truth.stamps_ns, side="right") - 1
    status = np.array([record.status for record in report.records] + [""])[frame]
    for name, color in _STATUS_COLORS.items():
        if (status == name).any():
            where = np.where((status == name)[:, None], xy, np.nan)
            view.plot(*where.T, color=color, linewidth=3, marker=".", markersize=5, label=name)


def _draw_estimate(view: Axes, estimate: Trajectory, report: RunReport, axes: np.ndarray) -> None:
    stamps_ns = [record.stamp_ns for record in report.records]
    xy = np.full((len(stamps_ns), 2), np.nan)
    xy[np.searchsorted(stamps_ns, estimate.stamps_ns)] = estimate.world_from_camera[:, :3, 3] @ axes.T
    view.plot(*xy.T, color=_ESTIMATE, linewidth=1.4, marker=".", markersize=2, label="estimate")
    start = np.flatnonzero(np.isfinite(xy[:, 0]))[0]
    view.plot(*xy[start], color=_ESTIMATE, marker="o", markersize=7, linestyle="none", label="start")


def _draw_error(axes: Axes, report: RunReport, indices: np.ndarray) -> None:
    evaluation = report.evaluation
    errors = np.full(len(indices), np.nan)
    stamps_ns = [record.stamp_ns for record in report.records]
    errors[np.searchsorted(stamps_ns, evaluation.aligned.stamps_ns)] = evaluation.errors
    axes.plot(indices, errors, color=_ESTIMATE, linewidth=1.2)
    axes.axhline(evaluation.ate_rmse, color=_ESTIMATE, linewidth=0.8, linestyle="--")
    axes.set(title="position error (dashed: RMSE)", xlabel="frame", ylim=(0, None))
    _shade_statuses(axes, report)


def _draw_time(axes: Axes, report: RunReport, indices: np.ndarray) -> None:
    axes.plot(indices, [record.latency_ms for record in report.records], color=_TRUTH, linewidth=1.0)
    axes.axhline(report.ms_per_frame, color=_TRUTH, linewidth=0.8, linestyle="--")
    axes.set(title="time per frame (dashed: mean)", xlabel="frame", ylabel="ms", ylim=(0, None))
    _shade_statuses(axes, report)


def _shade_statuses(axes: Axes, report: RunReport) -> None:
    for status, color in _STATUS_COLORS.items():
        for first, last in report.index_ranges(status):
            axes.axvspan(first - 0.5, last + 0.5, color=color, alpha=0.25, linewidth=0, label=status)
    axes.margins(x=0)
