"""Runs of the mapper as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ros_matching.evaluation.cloud import THRESHOLD_PERCENT
from ros_matching.evaluation.depth import INLIER_PERCENT
from ros_matching.evaluation.mapping import MappingReport
from ros_matching.evaluation.tables import Column, Measurement, Table

_RUN = (
    Column("source", "source"),
    Column("name", "estimator"),
    Column("keyframes", "keyframes", "d"),
    Column("mapped", "mapped", "d"),
    Column("points", "points", "d"),
    Column("ms", "ms per keyframe", ".0f"),
)
_DEPTH = (
    Column("source", "source"),
    Column("name", "estimator"),
    Column("abs_rel", "abs-rel", ".4f"),
    Column("median_rel", "median rel", ".4f"),
    *(Column(f"within{percent}", f"within {percent} % [%]", ".1f", 100) for percent in INLIER_PERCENT),
    Column("completeness", "complete %", ".1f", 100),
    *(Column(f"right{percent}", f"of these within {percent} % [%]", ".1f", 100) for percent in INLIER_PERCENT),
)
_CLOUD = (
    Column("source", "source"),
    Column("name", "estimator"),
    Column("scene_size", "scene size", ".2f"),
    Column("accuracy", "accuracy", ".4f"),
    Column("gap", "completeness", ".4f"),
    *(Column(f"precision{percent}", f"precision {percent} %", ".1f", 100) for percent in THRESHOLD_PERCENT),
    *(Column(f"recall{percent}", f"recall {percent} %", ".1f", 100) for percent in THRESHOLD_PERCENT),
    *(Column(f"f{percent}", f"F {percent} %", ".1f", 100) for percent in THRESHOLD_PERCENT),
)
_DEPTH_NOTE = """\
abs-rel: mean of |estimate - truth| / truth where there is an estimate; within: share of all pixels that the sensor
knows."""
_CLOUD_NOTE = """\
accuracy, completeness: median distance from estimate to truth, and from truth to estimate, in the truth's unit;
precision, recall, F: within so many percent of the scene's size."""


def mapping_measurement(
    reports: Mapping[str, MappingReport], source: str, settings: Mapping[str, Any], name: str = "cloud"
) -> Measurement:
    """Tables of several runs over one source, by the name of what estimated depth."""
    rows = [_row(source, estimator, report) for estimator, report in reports.items()]
    tables = [Table("Keyframes", _RUN, rows)]
    if any(report.depth is not None for report in reports.values()):
        tables.append(Table("Depth maps, filtered, against known depth", _DEPTH, rows, _DEPTH_NOTE))
    if any(report.cloud is not None for report in reports.values()):
        tables.append(Table("Cloud against the true surface", _CLOUD, rows, _CLOUD_NOTE))
    return Measurement(name, settings, tables)


def _row(source: str, name: str, report: MappingReport) -> dict[str, Any]:
    row: dict[str, Any] = {
        "source": source,
        "name": name,
        "keyframes": report.keyframes,
        "mapped": report.mapped,
        "refused": dict(report.reasons),
        "points": report.points,
        "ms": report.ms_per_keyframe,
        "stage_ms": dict(report.stage_ms),
        "scale": report.scale,
        "depth_ratio": report.depth_ratio,
        "note": report.note,
    }
    if (depth := report.depth) is not None:
        row |= {"abs_rel": depth.abs_rel, "median_rel": depth.median_rel, "completeness": depth.completeness}
        row |= {f"within{percent}": share for percent, share in depth.inliers.items()}
        if depth.completeness:
            row |= {f"right{percent}": share / depth.completeness for percent, share in depth.inliers.items()}
    if (cloud := report.cloud) is not None:
        row |= {"scene_size": cloud.scene_size, "accuracy": cloud.accuracy, "gap": cloud.gap}
        for key, shares in (("precision", cloud.precision), ("recall", cloud.recall), ("f", cloud.f_score)):
            row |= {f"{key}{percent}": share for percent, share in shares.items()}
    return row
