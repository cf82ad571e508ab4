"""Files of a ``RunReport``, and its table for the terminal."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from ros_matching import __version__
from ros_matching.atomic_file import write_atomic
from ros_matching.datatypes import ScaleState
from ros_matching.errors import EvaluationError, MissingDependencyError
from ros_matching.evaluation.trajectory.consistency import run_consistency
from ros_matching.evaluation.trajectory.run_report import BRIDGED, INITIALIZING, LOST, TRACKING, RunReport
from ros_matching.io.faults import fault_summary, fault_values
from ros_matching.io.trajectory import Trajectory, write_tum

TRAJECTORY_FILE = "trajectory.tum"
GROUND_TRUTH_FILE = "ground_truth.tum"
REPORT_FILE = "report.json"
PLOT_FILE = "trajectory.png"

_LOGGER = logging.getLogger(__name__)
_LIBRARIES = ("numpy", "scipy", "torch", "evo")


def write_report(report: RunReport, out_dir: str | Path) -> list[Path]:
    """Write a run into a folder (created if absent), replacing files of an earlier run; return the paths.

    ``trajectory.tum`` contains the estimated camera poses of tracked frames, not aligned; ``ground_truth.tum`` the
    true ones; ``report.json`` the figures (``report_values``); ``trajectory.png`` both trajectories and the errors,
    left out with a logged warning without matplotlib.
    """
    from ros_matching.evaluation.trajectory.run_plot import plot_run

    folder = Path(out_dir)
    written = []
    for name, trajectory in ((TRAJECTORY_FILE, report.trajectory), (GROUND_TRUTH_FILE, report.truth)):
        written += write_trajectory(folder / name, trajectory)
    path = folder / REPORT_FILE
    write_atomic(path, json.dumps(report_values(report), indent=2) + "\n")
    written.append(path)
    return written + draw(folder / PLOT_FILE, lambda path: plot_run(report, path))


def write_trajectory(path: Path, trajectory: Trajectory | None) -> list[Path]:
    """Write a trajectory, if there is one, else remove that of an earlier run; return the paths written."""
    if trajectory is None:
        path.unlink(missing_ok=True)
        return []
    write_tum(path, trajectory)
    return [path]


def draw(path: Path, plot: Callable[[Path], object]) -> list[Path]:
    """Draw a plot, or warn and remove that of an earlier run without Matplotlib; return the paths written."""
    try:
        plot(path)
    except MissingDependencyError as error:
        path.unlink(missing_ok=True)
        _LOGGER.warning("%s is not drawn: %s", path.name, error)
        return []
    return [path]


def report_values(report: RunReport) -> dict[str, Any]:
    """Return the figures of a run for JSON; unknown is ``None``, lengths are in the unit of the ground truth.

    ``path_length`` and the errors are over tracked frames with ground truth, after the ``alignment`` that multiplied
    the estimate by ``scale``. ``unit`` is the state of the map scale at the end of the run, before the alignment.
    ``calibration`` is that of the source; ``calibration_doubt`` is why the images contradict it, ``depth_warning``
    explains a doubtful unit of its depth images. ``faults`` are frames that the source could not deliver completely,
    with the first reasons. ``stage_ms`` and ``ms_per_frame`` are means over all frames. ``nees`` compares covariances
    with errors (``evaluation.trajectory.consistency``), ``None`` if too few frames have ground truth.
    """
    evaluation = report.evaluation
    return {
        "source": report.source,
        "calibration": report.calibration and report.calibration.values(),
        "matcher": report.matcher,
        "frames": len(report.records),
        "tracked": report.count(TRACKING),
        "initializing": report.count(INITIALIZING),
        "lost": report.count(LOST),
        "bridged": report.count(BRIDGED),
        "dropped": report.dropped,
        "faults": fault_values(report.faults),
        "interrupted": report.interrupted,
        "segments": report.segments,
        "maps": report.maps,
        "lost_ranges": [list(pair) for pair in report.index_ranges(LOST)],
        "path_length": _known(evaluation and evaluation.path_length),
        "ate_rmse": _known(evaluation and evaluation.ate_rmse),
        "ate_percent": _known(evaluation and evaluation.ate_percent),
        "rpe_trans": _known(evaluation and evaluation.rpe_trans),
        "rpe_rot_deg": _known(evaluation and evaluation.rpe_rot_deg),
        "evaluated_poses": evaluation and evaluation.matched,
        "alignment": evaluation and evaluation.alignment,
        "alignment_note": (evaluation and evaluation.alignment_note) or None,
        "scale": _known(evaluation and evaluation.scale),
        "unit": {
            "state": report.scale.state,
            "source": report.scale.source or None,
            "sigma": _known(report.scale.sigma),
            "reason": report.scale.reason or None,
            "tracked_frames": {state.value: report.count_scale(state) for state in ScaleState},
        },
        "calibration_doubt": report.calibration_doubt or None,
        "depth_warning": _depth_warning(report) or None,
        "nees": _nees(report),
        "evaluation_note": report.evaluation_note or None,
        "ms_per_frame": _known(report.ms_per_frame),
        "ms_median": _known(report.ms_percentile(50)),
        "ms_p95": _known(report.ms_percentile(95)),
        "stage_ms": {stage: _known(milliseconds) for stage, milliseconds in report.stage_ms.items()},
        "versions": library_versions(),
    }


def _times(report: RunReport) -> str:
    median, p95 = report.ms_percentile(50), report.ms_percentile(95)
    return f"{report.ms_per_frame:.1f} ms (median {median:.1f} ms, 95th percentile {p95:.1f} ms)"


def _nees(report: RunReport) -> dict[str, Any] | None:
    try:
        return {name: figures.values() for name, figures in run_consistency(report.records, report.truth).items()}
    except EvaluationError:
        return None


def summary_table(report: RunReport) -> str:
    """Return the figures of a run as lines ``name value``, with the ranges of lost frames."""
    frames = len(report.records)
    rows = [
        ("source", report.source),
        ("matcher", report.matcher),
        ("frames", f"{frames}" + (" (interrupted)" if report.interrupted else "")),
        ("tracked", _fraction(report.count(TRACKING), frames)),
        ("initializing", _fraction(report.count(INITIALIZING), frames)),
        ("lost", _fraction(report.count(LOST), frames) + _ranges(report.index_ranges(LOST))),
    ]
    if report.count(BRIDGED):
        rows.append(
            ("bridged by IMU", _fraction(report.count(BRIDGED), frames) + _ranges(report.index_ranges(BRIDGED)))
        )
    if report.dropped:
        rows.append(("dropped", f"{report.dropped}"))
    if report.faults:
        rows.append(("faulty frames", fault_summary(report.faults)))
    if report.calibration is not None:
        rows.insert(1, ("calibration", report.calibration.summary()))
    rows.append(("scale", _scale(report)))
    rows += [("warning", warning) for warning in (report.calibration_doubt, _depth_warning(report)) if warning]
    rows += _error_rows(report)
    rows.append(("time per frame", "unknown" if math.isnan(report.ms_per_frame) else _times(report)))
    rows += [(f"  {stage}", f"{milliseconds:.1f} ms") for stage, milliseconds in report.stage_ms.items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _error_rows(report: RunReport) -> list[tuple[str, str]]:
    evaluation = report.evaluation
    if evaluation is None:
        return [("errors", f"not evaluated: {report.evaluation_note}")]
    scale = f"scale {evaluation.scale:.4g}" if math.isfinite(evaluation.scale) else "scale unknown"
    of_path = f" ({evaluation.ate_percent:.2f} % of the path)" if evaluation.path_length > 0 else ""
    note = f"; {evaluation.alignment_note}" if evaluation.alignment_note else ""
    over_segments = f", one for {report.segments} segments" if report.segments > 1 else ""
    return [
        ("path length", f"{evaluation.path_length:.3f}, in the unit of the ground truth, like all lengths here"),
        ("ATE RMSE", f"{evaluation.ate_rmse:.4f}{of_path}"),
        ("RPE per frame", f"{evaluation.rpe_trans:.4f}, {evaluation.rpe_rot_deg:.3f} deg (RMSE)"),
        ("alignment", f"{evaluation.alignment}, {scale}{over_segments}{note}"),
    ]


def _scale(report: RunReport) -> str:
    """Return the state of the scale at the end, and the fraction of metric frames, as text."""
    scale, tracked = report.scale, report.count(TRACKING)
    words = scale.state.replace("_", " ")
    if scale.source:
        words += f" by {scale.source}, standard deviation {scale.sigma:.1%}"
    if metric := report.count_scale(ScaleState.METRIC):
        words += f"; metric in {_fraction(metric, tracked)} of the tracked frames"
    return words + (f"; {scale.reason}" if scale.reason else "")


def _depth_warning(report: RunReport) -> str:
    """Return the reason why the unit of the depth images may be wrong, by the ground truth or their values."""
    evaluation, calibration = report.evaluation, report.calibration
    if calibration is None or report.scale.source not in ("", "depth"):
        return ""
    is_metric = report.scale.source == "depth" and report.scale.state == ScaleState.METRIC.value
    if evaluation is not None and is_metric and evaluation.alignment == "sim3" and math.isfinite(evaluation.scale):
        return calibration.depth_contradiction(evaluation.scale, "the lengths of the ground truth")
    return calibration.depth_doubt


def _fraction(count: int, total: int) -> str:
    return f"{count} ({100.0 * count / total:.1f} %)" if total else f"{count}"


def _ranges(ranges: list[tuple[int, int]], shown: int = 8) -> str:
    """Return the first frame ranges as text; empty without any."""
    if not ranges:
        return ""
    words = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:shown]]
    more = f" and {len(ranges) - shown} more" if len(ranges) > shown else ""
    return f": frames {', '.join(words)}{more}"


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def library_versions() -> dict[str, str | None]:
    """Return the versions of libraries that affect the figures; OpenCV by import, as its distributions differ."""
    import cv2

    known: dict[str, str | None] = {
        "ros_matching": __version__,
        "python": platform.python_version(),
        "opencv": cv2.__version__,
    }
    return known | {library: _version(library) for library in _LIBRARIES}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
