"""Which other keyframes the depth of one is estimated from: by overlap, baseline and viewing angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Keyframe
from ros_matching.geometry.se3 import angle_between_deg, invert, transform
from ros_matching.mapping.config import MappingConfig

# The score of MVSNet falls off by these below and above the best angle of 5 degrees (Yao et al., ECCV 2018, sec. 4.1).
_NARROW, _WIDE = 1 / 5, 10 / 5
_MAX_POINTS = 500


@dataclass(frozen=True)
class ViewScore:
    """How well a keyframe sees what the reference sees: the share of its sparse points inside, the median angle between
    the viewing rays of these, in degrees, and the score of both.
    """

    overlap: float
    parallax_deg: float
    score: float


def rank_views(reference: Keyframe, candidates: Sequence[Keyframe], config: MappingConfig) -> tuple[list[int], str]:
    """The rows of the candidates that can be used, the best first, and why there are none if there are none."""
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
    return sorted(usable, key=lambda row: -scores[row].score), ""


def score_view(reference: Keyframe, points: np.ndarray, candidate: Keyframe, config: MappingConfig) -> ViewScore:
    """How well the candidate complements the reference for depth at its sparse points (S, 3), in the world.

    The score is the sum over the points of a Gaussian of their parallax about the best one, as a share.
    """
    camera = candidate.frame.camera
    pixels = camera.project(transform(invert(candidate.world_from_camera), points))
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= (camera.width - 1, camera.height - 1))).all(axis=1)
    if not inside.any():
        return ViewScore(0.0, 0.0, 0.0)
    seen = points[inside]
    angles = angle_between_deg(seen - reference.world_from_camera[:3, 3], seen - candidate.world_from_camera[:3, 3])
    deviation = angles / config.best_parallax_deg - 1
    weights = np.exp(-0.5 * (deviation / np.where(deviation < 0, _NARROW, _WIDE)) ** 2)
    return ViewScore(float(inside.mean()), float(np.median(angles)), float(weights.sum() / len(points)))


def sparse_points(keyframe: Keyframe) -> np.ndarray:
    """The sparse points (S, 3) in the world, some of them evenly where there are very many."""
    known = np.flatnonzero(np.isfinite(keyframe.sparse_depths) & (keyframe.sparse_depths > 0))
    rows = known[:: -(-len(known) // _MAX_POINTS) or 1]
    rays = keyframe.frame.camera.unproject(keyframe.sparse_points_px[rows])
    return transform(keyframe.world_from_camera, rays * keyframe.sparse_depths[rows, None])
