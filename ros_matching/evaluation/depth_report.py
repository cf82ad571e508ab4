"""What was measured on depth estimators, as a table and curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.depth import INLIER_PERCENT, DepthReport
from ros_matching.evaluation.tables import Column, Measurement, Table

_NOTE = """\
abs-rel: mean of |estimate - sensor| / sensor where there is an estimate; within: share of all pixels that the sensor
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
    """A table of all estimators on one sequence, and the share of its pixels over the error."""
    rows = [_row(sequence, name, report) for name, report in reports.items()]
    percents = np.array([0, *INLIER_PERCENT], dtype=float)
    lines = {
        name: (percents, np.array([0, *(report.inliers[percent] for percent in INLIER_PERCENT)]))
        for name, report in reports.items()
    }
    panel = Panel(sequence, "relative error [%]", "share of the known pixels", lines)
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
