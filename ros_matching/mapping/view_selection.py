"""Which other keyframes the depth of one is estimated from: by overlap, baseline and viewing angle.

A view is worth, at each sparse point that it sees, a Gaussian of the angle between its ray and the reference's about
the best angle, as in MVSNet (Yao et al., ECCV 2018, section 4.1), but one that falls off more slowly below it: a view
from near by sees what others do not. Views are chosen one after the other for what they add at each point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Keyframe
from ros_matching.geometry.se3 import angle_between_deg, invert, transform
from ros_matching.mapping.config import MappingConfig

_NARROW, _WIDE = 0.5, 2.0  # deviations below and above the best angle, relative to it
_FURTHER = 0.5  # what the next best view of a point is worth, of what it is worth as the best
_MAX_POINTS = 500


@dataclass(frozen=True)
class ViewScore:
    """How well a keyframe sees what the reference sees.

    ``overlap`` is the share of the reference's sparse points inside its image, ``parallax_deg`` the median angle
    between the viewing rays of these, and ``worth`` (S,) the Gaussian of each point's angle, 0 for those outside.
    """

    overlap: float
    parallax_deg: float
    worth: np.ndarray


def choose_views(
    reference: Keyframe, candidates: Sequence[Keyframe], count: int, config: MappingConfig
) -> tuple[list[int], str]:
    """The rows of up to ``count`` candidates, the best first, and why there are none if there are none."""
    points = sparse_points(reference)
    scores = [score_view(reference, points, candidate, config) for candidate in candidates]
    seeing = [row for row, score in enumerate(scores) if score.overlap >= config.min_overlap]
    if not seeing:
        best = max((score.overlap for score in scores), default=0.0)
        return [], (
            f"no other keyframe sees enough of what it sees: at most {100 * best:.0f} % of its sparse points, and "
            f"{100 * config.min_overlap:.0f} % are needed"
        )
    usable = [row for row in seeing if scores[row].parallax_deg >= config.min_parallax_deg]
    if not usable:
        widest = max(scores[row].parallax_deg for row in seeing)
        return [], (
            f"the baseline is too small: the parallax to other keyframes is at most {widest:.2f} degrees, and "
            f"{config.min_parallax_deg:g} are needed; move the camera sideways"
        )
    order = _in_order_of_gain(np.stack([scores[row].worth for row in usable]), count)
    return [usable[row] for row in order], ""


def score_view(reference: Keyframe, points: np.ndarray, candidate: Keyframe, config: MappingConfig) -> ViewScore:
    """How well the candidate complements the reference for depth at its sparse points (S, 3), in the world."""
    camera = candidate.frame.camera
    pixels = camera.project(transform(invert(candidate.world_from_camera), points))
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= (camera.width - 1, camera.height - 1))).all(axis=1)
    if not inside.any():
        return ViewScore(0.0, 0.0, np.zeros(len(points)))
    angles = angle_between_deg(points - reference.world_from_camera[:3, 3], points - candidate.world_from_camera[:3, 3])
    deviation = angles / config.best_parallax_deg - 1
    worth = np.exp(-0.5 * (deviation / np.where(deviation < 0, _NARROW, _WIDE)) ** 2)
    return ViewScore(float(inside.mean()), float(np.median(angles[inside])), np.where(inside, worth, 0.0))


def sparse_points(keyframe: Keyframe) -> np.ndarray:
    """The sparse points (S, 3) in the world, some of them evenly where there are very many."""
    known = np.flatnonzero(np.isfinite(keyframe.sparse_depths) & (keyframe.sparse_depths > 0))
    rows = known[:: -(-len(known) // _MAX_POINTS) or 1]
    rays = keyframe.frame.camera.unproject(keyframe.sparse_points_px[rows])
    return transform(keyframe.world_from_camera, rays * keyframe.sparse_depths[rows, None])


def _in_order_of_gain(worth: np.ndarray, count: int) -> list[int]:
    """Rows of ``worth`` (V, S), each the one that adds the most to those before.

    A set of views is worth at a point what its best one is, and half of the second, and a quarter of the third.
    """
    chosen: list[int] = []
    while len(chosen) < min(count, len(worth)):
        others = [row for row in range(len(worth)) if row not in chosen]
        chosen.append(max(others, key=lambda row: _worth_of_set(worth[[*chosen, row]])))
    return chosen


def _worth_of_set(worth: np.ndarray) -> float:
    best_first = -np.sort(-worth, axis=0)
    return float((_FURTHER ** np.arange(len(worth)) @ best_first).sum())


_MIN_RATIO = 1.01  # between far and near: nearer together, all planes are one


def depth_range(
    reference: Keyframe, sources: Sequence[Keyframe], config: MappingConfig
) -> tuple[tuple[float, float] | None, str]:
    """The nearest and farthest depth to search in the reference, or ``None`` and why.

    The range spans all but the outermost quantiles of the sparse depths, with a margin. The sources' points count, too,
    where the reference sees them: theirs may be of parts where it has none itself.
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
