"""Selection of source views for the depth of a keyframe, by overlap, baseline and viewing angle; and its depth range.

The score of a view at a sparse point is a Gaussian of the angle between its ray and that of the reference, around the
best angle, as in MVSNet (Yao et al., ECCV 2018, section 4.1). Below the best angle it falls off more slowly, because
close views observe points that others do not. Views are chosen greedily by the score they add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Keyframe
from ros_matching.geometry.se3 import angle_between_deg, invert, transform
from ros_matching.mapping.config import MappingConfig

_NARROW, _WIDE = 0.5, 2.0  # standard deviations below and above the best angle, relative to it
_NEXT_BEST = 0.5  # factor of the score of each further view of a point
_MAX_POINTS = 500


@dataclass(frozen=True)
class ViewScore:
    """Scores of a view for the depth of a reference.

    ``overlap`` is the fraction of the reference's sparse points inside its image, ``parallax_deg`` the median angle
    between the viewing rays of these, and ``scores`` (S,) the Gaussian of each point's angle, 0 for those outside.
    """

    overlap: float
    parallax_deg: float
    scores: np.ndarray


def choose_views(
    reference: Keyframe, candidates: Sequence[Keyframe], count: int, config: MappingConfig
) -> tuple[list[int], str]:
    """Return the rows of up to ``count`` candidates, best first, and the reason if there are none."""
    points = sparse_points(reference)
    scores = [score_view(reference, points, candidate, config) for candidate in candidates]
    seeing = [row for row, score in enumerate(scores) if score.overlap >= config.min_overlap]
    if not seeing:
        best = max((score.overlap for score in scores), default=0.0)
        return [], (
            f"too little overlap with other keyframes: they observe at most {100 * best:.0f} % of its points, and "
            f"{100 * config.min_overlap:.0f} % are needed"
        )
    usable = [row for row in seeing if scores[row].parallax_deg >= config.min_parallax_deg]
    if not usable:
        widest = max(scores[row].parallax_deg for row in seeing)
        return [], (
            f"the baseline is too small: the parallax to other keyframes is at most {widest:.2f} degrees, and "
            f"{config.min_parallax_deg:g} are needed; move the camera sideways"
        )
    order = _greedy_order(np.stack([scores[row].scores for row in usable]), count)
    return [usable[row] for row in order], ""


def score_view(reference: Keyframe, points: np.ndarray, candidate: Keyframe, config: MappingConfig) -> ViewScore:
    """Score a candidate for the depth of the reference at its sparse points (S, 3), in the world."""
    camera = candidate.frame.camera
    pixels = camera.project(transform(invert(candidate.world_from_camera), points))
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= (camera.width - 1, camera.height - 1))).all(axis=1)
    if not inside.any():
        return ViewScore(0.0, 0.0, np.zeros(len(points)))
    angles = angle_between_deg(points - reference.world_from_camera[:3, 3], points - candidate.world_from_camera[:3, 3])
    offset = angles / config.best_parallax_deg - 1
    scores = np.exp(-0.5 * (offset / np.where(offset < 0, _NARROW, _WIDE)) ** 2)
    return ViewScore(float(inside.mean()), float(np.median(angles[inside])), np.where(inside, scores, 0.0))


def sparse_points(keyframe: Keyframe) -> np.ndarray:
    """Return the sparse points (S, 3) in the world, evenly reduced to a limit."""
    known = np.flatnonzero(np.isfinite(keyframe.sparse_depths) & (keyframe.sparse_depths > 0))
    rows = known[:: -(-len(known) // _MAX_POINTS) or 1]
    rays = keyframe.frame.camera.unproject(keyframe.sparse_points_px[rows])
    return transform(keyframe.world_from_camera, rays * keyframe.sparse_depths[rows, None])


def _greedy_order(scores: np.ndarray, count: int) -> list[int]:
    """Return rows of ``scores`` (V, S), each the one that adds most to those before.

    The score of a set of views at a point is the best score, plus half of the second, a quarter of the third, ...
    """
    chosen: list[int] = []
    while len(chosen) < min(count, len(scores)):
        others = [row for row in range(len(scores)) if row not in chosen]
        chosen.append(max(others, key=lambda row: _score_of_set(scores[[*chosen, row]])))
    return chosen


def _score_of_set(scores: np.ndarray) -> float:
    best_first = -np.sort(-scores, axis=0)
    return float((_NEXT_BEST ** np.arange(len(scores)) @ best_first).sum())


_MIN_RATIO = 1.01  # between far and near; below, all planes coincide


def depth_range(
    reference: Keyframe, sources: Sequence[Keyframe], config: MappingConfig
) -> tuple[tuple[float, float] | None, str]:
    """Return the nearest and farthest depth to search in the reference, or ``None`` and the reason.

    The range spans all but the outermost quantiles of the sparse depths, with a margin. Sparse points of the sources
    inside the reference image count as well.
    """
    depths = np.concatenate([_depths_in(reference, view) for view in (reference, *sources)])
    if len(depths) < config.min_sparse_points:
        return None, (
            f"a depth range needs {config.min_sparse_points} sparse points in sight, got {len(depths)}; is the tracker "
            "triangulating?"
        )
    near, far = np.quantile(depths, [config.range_quantile, 1 - config.range_quantile])
    near, far = float(near / (1 + config.range_margin)), float(far * (1 + config.range_margin))
    if not far > _MIN_RATIO * near:
        return None, f"all sparse points are at one depth, {near:.4g} to {far:.4g}: there is no range to search"
    return (near, far), ""


def _depths_in(reference: Keyframe, view: Keyframe) -> np.ndarray:
    """The depths (S,) in the reference of the view's sparse points that are inside its image."""
    points = transform(invert(reference.world_from_camera), sparse_points(view))
    camera = reference.frame.camera
    pixels = camera.project(points)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= -0.5) & (pixels <= (camera.width - 0.5, camera.height - 0.5))).all(axis=1)
    return points[inside, 2]
