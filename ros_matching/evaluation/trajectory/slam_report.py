"""Report of a SLAM run: the trajectory before and after its loops, and the loops against ground truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.evaluation.trajectory.report_files import (
    REPORT_FILE,
    draw,
    report_values,
    summary_table,
    write_report,
    write_trajectory,
)
from ros_matching.evaluation.trajectory.run_report import RunReport
from ros_matching.geometry.se3 import invert, log_so3

ODOMETRY_FILE = "odometry.tum"
PLOT_FILE = "slam.png"

# A loop is wrong if it is this far from the ground truth: rotation, and translation relative to the depth of the scene
_WRONG_DEG, _WRONG_OF_DEPTH = 15.0, 0.3


@dataclass(frozen=True)
class LoopRecord:
    """A closed loop: the measured pose of the camera ``second`` in that of ``first``, each by its stamp.

    ``first_from_second`` (4, 4) is rigid, with its translation in the unit of the map, as is ``depth``, the typical
    depth of the scene there.
    """

    first_stamp_ns: int
    second_stamp_ns: int
    first_from_second: np.ndarray
    depth: float


@dataclass(frozen=True)
class LoopError:
    """Error of a loop against ground truth, in its unit; ``is_wrong`` if it connects different places."""

    translation: float
    rotation_deg: float
    is_wrong: bool


@dataclass(frozen=True)
class SlamReport:
    """A SLAM run: ``odometry`` as it was tracked, ``corrected`` in the map at the end, and what was found.

    ``events`` are lines of text by frame index; ``map_values`` describe the map for the report.
    """

    odometry: RunReport
    corrected: RunReport
    loops: tuple[LoopRecord, ...]
    events: tuple[tuple[int, str], ...]
    map_values: Mapping[str, Any]

    def loop_errors(self) -> list[LoopError] | None:
        """Return the error of every loop; ``None`` without ground truth."""
        evaluation, truth = self.corrected.evaluation, self.corrected.truth
        if evaluation is None or truth is None:
            return None
        stamps = np.array([(loop.first_stamp_ns, loop.second_stamp_ns) for loop in self.loops], np.int64).reshape(-1, 2)
        first, second = truth.at(stamps[:, 0]), truth.at(stamps[:, 1])
        return [
            _loop_error(loop, invert(one) @ other, evaluation.scale)
            for loop, one, other in zip(self.loops, first, second, strict=True)
            if np.isfinite(one).all() and np.isfinite(other).all()
        ]


def _loop_error(loop: LoopRecord, true: np.ndarray, scale: float) -> LoopError:
    measured = loop.first_from_second
    translation = float(np.linalg.norm(scale * measured[:3, 3] - true[:3, 3]))
    rotation_deg = float(np.degrees(np.linalg.norm(log_so3(measured[:3, :3] @ true[:3, :3].T))))
    is_wrong = translation > _WRONG_OF_DEPTH * scale * loop.depth or rotation_deg > _WRONG_DEG
    return LoopError(translation, rotation_deg, is_wrong)


def write_slam_report(report: SlamReport, out_dir: str | Path) -> list[Path]:
    """Write a run into a folder as ``write_report``, with ``odometry.tum`` and ``slam.png``; return the paths."""
    from ros_matching.evaluation.trajectory.slam_plot import plot_slam

    folder = Path(out_dir)
    written = write_report(report.corrected, folder)
    write_atomic(folder / REPORT_FILE, json.dumps(slam_report_values(report), indent=2) + "\n")
    written += write_trajectory(folder / ODOMETRY_FILE, report.odometry.trajectory)
    return written + draw(folder / PLOT_FILE, lambda path: plot_slam(report, path))


def slam_report_values(report: SlamReport) -> dict[str, Any]:
    """Return the figures of ``report_values`` for the trajectory in the map, with those of the odometry and loops."""
    odometry, errors = report_values(report.odometry), report.loop_errors()
    return {
        **report_values(report.corrected),
        "odometry": {key: odometry[key] for key in ("tracked", "ate_rmse", "ate_percent", "scale", "nees")},
        "loops": len(report.loops),
        "wrong_loops": None if errors is None else sum(error.is_wrong for error in errors),
        "loop_errors": None
        if errors is None
        else [{"translation": error.translation, "rotation_deg": error.rotation_deg} for error in errors],
        "events": [{"frame": frame, "event": event} for frame, event in report.events],
        "map": dict(report.map_values),
    }


def slam_summary(report: SlamReport) -> str:
    """Return the figures of a run as lines: those of the map, then of the odometry, loops and map."""
    lines, errors = [summary_table(report.corrected), ""], report.loop_errors()
    before, after = report.odometry.evaluation, report.corrected.evaluation
    if before is not None and after is not None:
        ratio = after.ate_rmse / before.ate_rmse if before.ate_rmse > 0 else float("nan")
        lines.append(f"ATE of the odometry  {before.ate_rmse:.4f}; in the map {after.ate_rmse:.4f}, {ratio:.2f} of it")
    wrong = "" if errors is None else f", {sum(error.is_wrong for error in errors)} of them wrong"
    lines.append(f"loops                {len(report.loops)}{wrong}")
    words = ", ".join(f"{value} {name}" for name, value in report.map_values.items() if isinstance(value, int))
    lines.append(f"map                  {words}")
    return "\n".join(lines)
