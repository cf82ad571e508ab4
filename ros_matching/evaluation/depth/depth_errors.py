"""Errors of estimated depth maps against a sensor: relative error, inlier ratios, completeness; as a table and curves.

Every estimator is measured on the same views and pixels: the known sensor depths on a grid of the reference image with
a spacing of four pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ros_matching.datatypes import DepthMap, Frame, Keyframe
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.depth.depth_views import DepthViews
from ros_matching.evaluation.measurement import Column, Measurement, Table

INLIER_PERCENT = (1, 2, 5)
GRID_PX = 4  # spacing of the evaluated pixels

Estimate = Callable[[Keyframe, Sequence[Keyframe], tuple[float, float]], DepthMap]


@dataclass(frozen=True)
class DepthReport:
    """Errors over all pixels of all views.

    ``abs_rel`` is the mean of |estimate - truth| / truth over the pixels that have an estimate, ``median_rel`` the
    median. ``inliers`` maps percentages to the fraction of ALL known pixels with a smaller error; a missing estimate
    is no inlier. ``completeness`` is the fraction of the known pixels that have an estimate. ``confident_abs_rel`` is
    ``abs_rel`` over the half of the estimates with the highest confidence in each map.
    """

    views: int
    pixels: int
    abs_rel: float
    median_rel: float
    inliers: Mapping[int, float]
    completeness: float
    confident_abs_rel: float
    ms_per_view: float


def evaluate_depth(estimate: Estimate, views: Sequence[DepthViews]) -> DepthReport:
    """Evaluate an estimator on every set of views; raises ``EvaluationError`` without any."""
    if not views:
        raise EvaluationError("depth needs at least one set of views, got none")
    errors, confident, seconds = [], [], 0.0
    for view in views:
        start = time.perf_counter()
        result = estimate(view.reference, view.sources, view.depth_range)
        seconds += time.perf_counter() - start
        error, confidence = relative_errors(result, view.reference.frame)
        errors.append(error)
        confident.append(most_confident(error, confidence))
    return depth_report(np.concatenate(errors), np.concatenate(confident), len(views), 1e3 * seconds / len(views))


def relative_errors(estimate: DepthMap, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return |estimate - truth| / truth (P,), NaN without an estimate, and its confidence, at known depths."""
    ratio, confidence = depth_ratios(estimate, frame)
    return np.abs(ratio - 1), confidence


def depth_ratios(estimate: DepthMap, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratios of estimate to truth (P,), NaN without an estimate, and the confidence, at known depths.

    The estimate is that of the nearest pixel of the depth map, by the two cameras.
    """
    if frame.depth is None:
        raise EvaluationError(f"frame {frame.index} has no depth to compare with")
    v, u = np.mgrid[0 : frame.camera.height : GRID_PX, 0 : frame.camera.width : GRID_PX].reshape(2, -1)
    truth = frame.depth[v, u]
    known = truth > 0
    rays = frame.camera.unproject(np.column_stack([u, v])[known])
    columns, rows = np.rint(estimate.camera.project(rays)).astype(int).T
    inside = (columns >= 0) & (columns < estimate.camera.width) & (rows >= 0) & (rows < estimate.camera.height)
    depth, confidence = np.full((2, len(rays)), np.nan)
    depth[inside] = estimate.depth[rows[inside], columns[inside]]
    confidence[inside] = estimate.confidence[rows[inside], columns[inside]]
    return depth / truth[known], confidence


def most_confident(errors: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the half of the known errors with the highest confidence."""
    known = np.flatnonzero(np.isfinite(errors))
    order = np.argsort(-confidence[known], kind="stable")
    return errors[known[order[: (len(known) + 1) // 2]]]


def depth_report(errors: np.ndarray, confident: np.ndarray, views: int, ms_per_view: float) -> DepthReport:
    """Return the figures of relative errors (P,), NaN without an estimate, and of the most confident estimates.

    Without any estimate, completeness is 0 and the errors are NaN.
    """
    found = errors[np.isfinite(errors)]
    inliers = {percent: float(np.sum(found <= percent / 100) / len(errors)) for percent in INLIER_PERCENT}
    nothing = float("nan")
    return DepthReport(
        views=views,
        pixels=len(errors),
        abs_rel=float(found.mean()) if len(found) else nothing,
        median_rel=float(np.median(found)) if len(found) else nothing,
        inliers=inliers,
        completeness=len(found) / len(errors),
        confident_abs_rel=float(confident.mean()) if len(confident) else nothing,
        ms_per_view=ms_per_view,
    )


_NOTE = """\
abs-rel: mean of |estimate - sensor| / sensor where there is an estimate; within: fraction of all pixels that the sensor
knows."""
_COLUMNS = (
    Column("sequence", "sequence"),
    Column("estimator", "estimator"),
    Column("views", "views", "d"),
    Column("abs_rel", "abs-rel", ".3f"),
    Column("median_rel", "median rel", ".3f"),
    *(Column(f"within{percent}", f"within {percent} % [%]", ".1f", 100) for percent in INLIER_PERCENT),
    Column("completeness", "complete %", ".1f", 100),
    Column("confident_abs_rel", "abs-rel of the surer half", ".3f"),
    Column("ms", "ms", ".0f"),
)


def depth_measurement(reports: Mapping[str, DepthReport], sequence: str, settings: Mapping[str, Any]) -> Measurement:
    """Return a table of all estimators on one sequence, and the fraction of pixels over the error."""
    rows = [_row(sequence, name, report) for name, report in reports.items()]
    percents = np.array([0, *INLIER_PERCENT], dtype=float)
    lines = {
        name: (percents, np.array([0, *(report.inliers[percent] for percent in INLIER_PERCENT)]))
        for name, report in reports.items()
    }
    panel = Panel(sequence, "relative error [%]", "fraction of the known pixels", lines)
    return Measurement("depth", settings, [Table("Depth against a sensor's", _COLUMNS, rows, _NOTE)], [panel])


def _row(sequence: str, name: str, report: DepthReport) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "estimator": name,
        "views": report.views,
        "pixels": report.pixels,
        "abs_rel": report.abs_rel,
        "median_rel": report.median_rel,
        **{f"within{percent}": report.inliers[percent] for percent in INLIER_PERCENT},
        "completeness": report.completeness,
        "confident_abs_rel": report.confident_abs_rel,
        "ms": report.ms_per_view,
    }
