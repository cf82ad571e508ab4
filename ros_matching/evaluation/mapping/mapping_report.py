"""Report of a mapping run: depth maps and cloud against known depth, and times; as tables.

``MappingRecorder`` takes keyframes one by one and keeps only figures, not images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ros_matching.datatypes import DepthMap, Frame, PointCloud
from ros_matching.errors import EvaluationError, MissingDependencyError
from ros_matching.evaluation.depth.depth_errors import (
    INLIER_PERCENT,
    DepthReport,
    depth_ratios,
    depth_report,
    most_confident,
)
from ros_matching.evaluation.mapping.cloud_errors import THRESHOLD_PERCENT, CloudReport, evaluate_cloud, true_cloud
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.trajectory.trajectory_errors import evaluate_trajectory
from ros_matching.geometry.se3 import invert, transform
from ros_matching.io.trajectory import Trajectory


@dataclass(frozen=True)
class Similarity:
    """Similarity from an estimate to the ground truth: ``scale``, then the transform ``pose`` (4, 4)."""

    scale: float
    pose: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Return points (N, 3) in ground-truth coordinates."""
        return transform(self.pose, self.scale * points)


@dataclass(frozen=True)
class MappingReport:
    """Report of a mapping run. ``depth`` and ``cloud`` are ``None`` for the reason in ``note``."""

    keyframes: int
    mapped: int
    reasons: Mapping[str, int]
    points: int
    ms_per_keyframe: float
    stage_ms: Mapping[str, float]
    scale: float
    depth: DepthReport | None
    cloud: CloudReport | None
    note: str
    depth_ratio: float = float("nan")  # median of estimated depth divided by that of the depth images, in their unit


class MappingRecorder:
    """Collects the keyframes of a run, and reports on them.

    ``is_aligned`` states that the poses are true; others are first aligned to the ground truth by a similarity.
    """

    def __init__(self, *, is_aligned: bool) -> None:
        self._is_aligned = is_aligned
        self._stamps: list[int] = []
        self._estimates: list[np.ndarray] = []
        self._ground_truths: list[np.ndarray | None] = []
        self._ratios: list[tuple[np.ndarray, np.ndarray]] = []
        self._true_points: list[np.ndarray] = [np.zeros((0, 3))]
        self._reasons: Counter[str] = Counter()
        self._stage_ms: Counter[str] = Counter()
        self._mapped = 0

    def add(
        self,
        frame: Frame,
        world_from_camera: np.ndarray,
        depth_map: DepthMap | None,
        reason: str,
        stage_ms: Mapping[str, float],
    ) -> None:
        """Add the result of a keyframe: its depth map, or the reason why it has none."""
        self._stamps.append(frame.stamp_ns)
        self._estimates.append(world_from_camera)
        self._ground_truths.append(frame.true_world_from_camera)
        self._stage_ms.update(stage_ms)
        self._true_points.append(true_cloud([frame]).astype(np.float32))
        if depth_map is None:
            self._reasons[reason] += 1
            return
        self._mapped += 1
        if frame.depth is not None:
            self._ratios.append(depth_ratios(depth_map, frame))

    def add_time(self, stage_ms: Mapping[str, float]) -> None:
        """Add time spent without a finished keyframe."""
        self._stage_ms.update(stage_ms)

    def report(self, cloud: PointCloud) -> MappingReport:
        """Return the report of all keyframes and their cloud."""
        similarity, note = self.similarity()
        depth = cloud_report = None
        if similarity is not None:
            depth, note = self._depth_report(similarity.scale)
            truth = np.concatenate(self._true_points)
            if len(truth) and len(cloud):
                cloud_report = evaluate_cloud(similarity.apply(cloud.points), truth)
        count = len(self._stamps)
        per_keyframe = {stage: milliseconds / max(count, 1) for stage, milliseconds in self._stage_ms.items()}
        return MappingReport(
            keyframes=count,
            mapped=self._mapped,
            reasons=dict(self._reasons),
            points=len(cloud),
            ms_per_keyframe=sum(per_keyframe.values()),
            stage_ms=per_keyframe,
            scale=float("nan") if similarity is None else similarity.scale,
            depth=depth,
            cloud=cloud_report,
            note=note,
            depth_ratio=self._depth_ratio(similarity),
        )

    def _depth_ratio(self, similarity: Similarity | None) -> float:
        """Return the median ratio of mapped depth to depth images, NaN if unknown."""
        ratios = np.concatenate([np.zeros(0), *(ratio for ratio, _ in self._ratios)])
        known = ratios[np.isfinite(ratios)]
        return similarity.scale * float(np.median(known)) if similarity is not None and known.size else float("nan")

    def similarity(self) -> tuple[Similarity | None, str]:
        """Return the similarity from the estimate to the true world, or the reason why it is unknown."""
        if self._is_aligned:
            return Similarity(1.0, np.eye(4)), ""
        posed = [row for row, truth in enumerate(self._ground_truths) if truth is not None]
        if not posed:
            return None, "no ground truth"
        stamps = np.array([self._stamps[row] for row in posed], np.int64)
        estimate = Trajectory(stamps, np.array([self._estimates[row] for row in posed])).in_order()
        truth = Trajectory(stamps, np.array([self._ground_truths[row] for row in posed])).in_order()
        try:
            aligned = evaluate_trajectory(estimate, truth, alignment="sim3", max_difference_s=1e-6)
        except (EvaluationError, MissingDependencyError) as error:
            return None, str(error)
        if not np.isfinite(aligned.scale):
            return None, f"no scale to compare depths in: {aligned.alignment_note}"
        start = estimate.world_from_camera[0].copy()
        start[:3, 3] *= aligned.scale
        return Similarity(aligned.scale, aligned.aligned.world_from_camera[0] @ invert(start)), ""

    def _depth_report(self, scale: float) -> tuple[DepthReport | None, str]:
        if not self._ratios:
            return None, "no keyframe that was mapped has a true depth"
        errors = [np.abs(scale * ratio - 1) for ratio, _ in self._ratios]
        pairs = zip(errors, self._ratios, strict=True)
        confident = [most_confident(error, confidence) for error, (_, confidence) in pairs]
        per_view = self._stage_ms["depth"] / self._mapped
        return depth_report(np.concatenate(errors), np.concatenate(confident), self._mapped, per_view), ""


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
abs-rel: mean of |estimate - truth| / truth where there is an estimate; within: fraction of all pixels that the sensor
knows."""
_CLOUD_NOTE = """\
accuracy, completeness: median distance from estimate to ground truth, and back, in the unit of the ground truth;
precision, recall, F: within so many percent of the scene's size."""


def mapping_measurement(
    reports: Mapping[str, MappingReport], source: str, settings: Mapping[str, Any], name: str = "cloud"
) -> Measurement:
    """Return tables of several runs over one source, by the name of the depth estimator."""
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
        row |= {f"within{percent}": fraction for percent, fraction in depth.inliers.items()}
        if depth.completeness:
            row |= {f"right{percent}": fraction / depth.completeness for percent, fraction in depth.inliers.items()}
    if (cloud := report.cloud) is not None:
        row |= {"scene_size": cloud.scene_size, "accuracy": cloud.accuracy, "gap": cloud.gap}
        for key, fractions in (("precision", cloud.precision), ("recall", cloud.recall), ("f", cloud.f_score)):
            row |= {f"{key}{percent}": fraction for percent, fraction in fractions.items()}
    return row
