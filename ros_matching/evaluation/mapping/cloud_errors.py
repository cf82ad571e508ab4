"""Errors of a point cloud against the true surface: accuracy, completeness, F-score.

As in Tanks and Temples (Knapitsch et al., SIGGRAPH 2017): precision is the fraction of the estimated points within a
distance of the ground truth, recall that of the true points within it of the estimate, and F their harmonic mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ros_matching.datatypes import Frame
from ros_matching.errors import EvaluationError
from ros_matching.geometry.se3 import transform

THRESHOLD_PERCENT = (1, 2)
_VOXELS_ACROSS = 500  # points closer than this fraction of the scene count as one, in both clouds
_SIZE_QUANTILE = 0.02  # on either side of each axis: excludes a few far points


@dataclass(frozen=True)
class CloudReport:
    """The errors of a cloud; lengths in the unit of the ground truth.

    ``accuracy`` is the median distance from an estimated point to the ground truth, ``gap`` that from a true point to
    the estimate. ``precision``, ``recall`` and ``f_score`` are by percentages of ``scene_size``, the diagonal of the
    box that contains the ground truth except its outermost points.
    """

    points: int
    true_points: int
    scene_size: float
    accuracy: float
    gap: float
    precision: Mapping[int, float]
    recall: Mapping[int, float]
    f_score: Mapping[int, float]


def evaluate_cloud(points: np.ndarray, truth: np.ndarray) -> CloudReport:
    """Compare points (N, 3) with those of the true surface (M, 3); raises ``EvaluationError`` if one is empty."""
    if not len(points) or not len(truth):
        raise EvaluationError(f"clouds to compare need points, got {len(points)} estimated and {len(truth)} true ones")
    low, high = np.quantile(truth, [_SIZE_QUANTILE, 1 - _SIZE_QUANTILE], axis=0)
    size = float(np.linalg.norm(high - low))
    if not size > 0:
        raise EvaluationError("the true points all lie in one place: there is no scene to compare with")
    points, truth = thinned(points, size / _VOXELS_ACROSS), thinned(truth, size / _VOXELS_ACROSS)
    to_truth, _ = cKDTree(truth).query(points)
    to_points, _ = cKDTree(points).query(truth)
    precision = {percent: float((to_truth <= size * percent / 100).mean()) for percent in THRESHOLD_PERCENT}
    recall = {percent: float((to_points <= size * percent / 100).mean()) for percent in THRESHOLD_PERCENT}
    f_score = {percent: _harmonic(precision[percent], recall[percent]) for percent in THRESHOLD_PERCENT}
    return CloudReport(
        len(points),
        len(truth),
        size,
        float(np.median(to_truth)),
        float(np.median(to_points)),
        precision,
        recall,
        f_score,
    )


def true_cloud(frames: Sequence[Frame], step_px: int = 4) -> np.ndarray:
    """Return the points (N, 3), in the world, of every ``step_px``-th pixel of frames with true pose and depth."""
    parts = [np.zeros((0, 3))]
    for frame in frames:
        if frame.depth is None or frame.true_world_from_camera is None:
            continue
        v, u = np.mgrid[0 : frame.camera.height : step_px, 0 : frame.camera.width : step_px].reshape(2, -1)
        depth = frame.depth[v, u]
        known = np.isfinite(depth) & (depth > 0)
        rays = frame.camera.unproject(np.column_stack([u, v])[known])
        parts.append(transform(frame.true_world_from_camera, rays * depth[known, None]))
    return np.concatenate(parts)


def thinned(points: np.ndarray, voxel_size: float) -> np.ndarray:
    """Return one of the points (N, 3) in each voxel."""
    voxels = np.floor(points / voxel_size).astype(np.int64)
    _, rows = np.unique(voxels, axis=0, return_index=True)
    return points[rows]


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
