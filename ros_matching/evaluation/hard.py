"""The hard suite: pairs of images that a matcher fails on unless it finds consensus and prunes what does not fit.

Rendered lines (``scenes.hard_views``) need no data and have exact ground truth, for every match too. Real lines are
pairs of the data folder at long gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ros_matching.evaluation.pairs import SIZE_PX, MatchedPair, Matcher, PairResult, matched_pairs, pair_result
from ros_matching.evaluation.split import PairSet
from ros_matching.geometry.se3 import transform
from ros_matching.io.source import FrameSource

RIGHT_PX = 1.5
"""From the true epipolar geometry: what a match may be off to count as right."""
CORRECT_PX = 3.0
"""From where ground-truth depth and pose put its point: what a match may be off to count as correct."""

REAL_LINES: Mapping[str, PairSet] = {
    "fox": PairSet("fox", (4, 6, 8)),
    "lund_door": PairSet("lund_door", (4, 6, 8)),
    "redkitchen": PairSet("redkitchen", (60, 100), rotation_only=True, step=2),
    # the held-out frames are too few for such gaps, so these are of all frames
    "redkitchen-far": PairSet("redkitchen", (150, 200), rotation_only=True, part="all", step=20),
}
"""The pairs of the real lines, by name."""


@dataclass(frozen=True)
class HardResult:
    """One matcher on one pair of a line.

    ``correct`` is the fraction of its matches within ``CORRECT_PX`` of where ground truth puts them; NaN without
    matches, and for real pairs, whose depth is not known. What moves by itself counts as not correct.
    """

    line: str
    pair: PairResult
    correct: float


def rendered_pairs(line: str) -> PairSet:
    """The pairs of a source whose frames 2 k and 2 k + 1 belong together."""
    return PairSet(line, (1,), part="all", step=2)


def evaluate_hard(
    matchers: Mapping[str, Matcher],
    line: str,
    source: FrameSource,
    pair_set: PairSet,
    *,
    exact_depth: bool,
    size_px: int = SIZE_PX,
) -> Iterator[HardResult]:
    """Run every matcher on the pairs of a line, one pair after the other.

    ``exact_depth`` where the depth of the source is that of the ground truth. Raises ``EvaluationError`` where there
    is no pair.
    """
    for pair in matched_pairs(matchers, source, pair_set, size_px=size_px):
        correct = correct_fraction(pair) if exact_depth else np.nan
        yield HardResult(line, pair_result(pair, right_px=RIGHT_PX), correct)


def correct_fraction(pair: MatchedPair, within_px: float = CORRECT_PX) -> float:
    """The fraction of matches that fit ground-truth depth and pose; NaN without matches.

    A keypoint at an edge may be of the thing or of what is behind it: the better of the four depths around it counts.
    """
    if len(pair.matches) == 0 or pair.depth0 is None:
        return np.nan
    height, width = pair.depth0.shape
    size0 = np.array([pair.camera0.width, pair.camera0.height])
    pixels = (pair.matches.points0 + 0.5) * np.array([width, height]) / size0 - 0.5
    rays, corner = pair.camera0.unproject(pair.matches.points0), np.floor(pixels).astype(int)
    best = np.full(len(pixels), np.inf)
    for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = np.clip(corner + shift, 0, [width - 1, height - 1]).T
        points = transform(pair.camera1_from_camera0, rays * pair.depth0[row, column, None])
        off = np.linalg.norm(pair.camera1.project(points) - pair.matches.points1, axis=1)
        best = np.fmin(best, off)
    return float(np.mean(best <= within_px))
