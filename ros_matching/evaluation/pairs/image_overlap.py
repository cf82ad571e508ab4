"""Errors of estimated image overlaps against depth.

The true overlap is the fraction of the points of the first image, where its depth is known, that project into the
second; occlusion is ignored. The baseline is the fraction of keypoints of the first image that have a match.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats import spearmanr

from ros_matching.datatypes import Features, Frame, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.data_split import PairSet
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.pairs.matched_pairs import SIZE_PX, reduced
from ros_matching.geometry.se3 import invert, transform
from ros_matching.io.source import FrameSource

GAPS = (2, 5, 9, 14, 20, 30, 45)
_STRIDE_PX = 6  # between the sampled pixels
_NOTE = """\
Error: mean absolute error of the estimate. Rank: Spearman's correlation with the true overlap. ms: time of a pair,
features excluded, of "overlap" with all other images of a first one at once."""
_COLUMNS = (
    Column("sequence", "sequence"),
    Column("matcher", "matcher"),
    Column("by", "measure"),
    Column("pairs", "pairs", "d"),
    Column("error", "error", ".3f"),
    Column("rank", "rank", ".2f"),
    Column("ms", "ms", ".1f"),
)


class OverlapMatcher(Protocol):
    """The parts of a ``matching.pipeline.MatchingPipeline`` that are compared here."""

    name: str
    feature_matcher: Any
    consensus: Any
    overlap_estimator: Any

    def extract(self, image: np.ndarray) -> Features:
        """Return the features of an image (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class Overlaps:
    """True overlaps (P,) of P pairs, the ``estimated`` ones (P,), and the time per pair."""

    true: np.ndarray
    estimated: np.ndarray
    ms: float


def _putative_matches(matcher: OverlapMatcher, features0: Features, features1: Features) -> Matches:
    matches = matcher.feature_matcher.match(features0, features1)
    return matcher.consensus.filter(matches, features0, features1)


def true_overlap(frame: Frame, other: Frame) -> float:
    """Return the fraction of a frame's known depths that project into another image; NaN without known depths.

    Raises ``EvaluationError`` without depth or poses.
    """
    if frame.depth is None or frame.true_world_from_camera is None or other.true_world_from_camera is None:
        raise EvaluationError(f"overlap needs true poses and depth images; frame {frame.index} lacks them")
    rows, columns = (each[::_STRIDE_PX, ::_STRIDE_PX].ravel() for each in np.indices(frame.depth.shape))
    depth = frame.depth[rows, columns].astype(float)
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        return float("nan")
    rays = frame.camera.unproject(np.column_stack([columns, rows])[known].astype(float))
    other_from_frame = invert(other.true_world_from_camera) @ frame.true_world_from_camera
    pixels = other.camera.project(transform(other_from_frame, rays * depth[known, None]))
    with np.errstate(invalid="ignore"):
        return float(np.mean(((pixels >= 0) & (pixels < (other.camera.width, other.camera.height))).all(axis=1)))


def evaluate_overlap(
    matcher: OverlapMatcher, source: FrameSource, pair_set: PairSet, *, size_px: int = SIZE_PX
) -> Iterator[dict[str, Overlaps]]:
    """Yield overlaps by measure, of each first frame of the pairs with all of its others.

    Features are of images reduced to ``size_px`` on their longer side. First frames without depth are skipped. Raises
    ``EvaluationError`` for a matcher that does not estimate overlaps.
    """
    others: dict[int, list[int]] = {}
    for _, start, end in pair_set.pairs(len(source)):
        others.setdefault(start, []).append(end)
    wanted = {row for start, ends in others.items() for row in (start, *ends)}
    frames = {row: frame for row, frame in enumerate(source) if row in wanted}
    features = {row: matcher.extract(reduced(frame.image, size_px)) for row, frame in frames.items()}
    for start, ends in others.items():
        if frames[start].depth is None:
            continue
        true = np.array([true_overlap(frames[start], frames[end]) for end in ends])
        started = time.perf_counter()
        estimated = matcher.overlap_estimator.estimate(features[start], [features[end] for end in ends])
        compared = time.perf_counter()
        if estimated is None:
            raise EvaluationError(f"the matcher {matcher.name!r} does not estimate overlaps; use posfeat+cnngeometric")
        counts = [len(_putative_matches(matcher, features[start], features[end])) for end in ends]
        matched = time.perf_counter()
        fractions = np.array(counts) / max(len(features[start]), 1)
        known = np.isfinite(true)
        times_ms = [1e3 * seconds / len(ends) for seconds in (compared - started, matched - compared)]
        yield {
            "overlap": Overlaps(true[known], estimated[known], times_ms[0]),
            "keypoints matched": Overlaps(true[known], fractions[known], times_ms[1]),
        }


def overlap_measurement(
    results: Mapping[str, Sequence[dict[str, Overlaps]]], sequence: str, settings: Mapping[str, Any]
) -> Measurement:
    """Return a table of all matchers on one sequence, and estimated over true overlap.

    Raises ``EvaluationError`` without pairs.
    """
    rows, panels = [], []
    for matcher, found in results.items():
        if not found:
            raise EvaluationError(f"{sequence} has no pair of frames with depth; give other --gaps or another --source")
        lines = {}
        for measure in found[0]:
            true, estimated = (
                np.concatenate([getattr(each[measure], side) for each in found]) for side in ("true", "estimated")
            )
            rows.append(
                {
                    "sequence": sequence,
                    "matcher": matcher,
                    "by": measure,
                    "pairs": len(true),
                    "error": float(np.mean(np.abs(estimated - true))),
                    "rank": float(spearmanr(estimated, true).statistic),
                    "ms": float(np.median([each[measure].ms for each in found])),
                }
            )
            order = np.argsort(true)
            lines[measure] = true[order], estimated[order]
        panels.append(Panel(f"{sequence}, {matcher}", "true overlap", "estimated", lines))
    return Measurement("overlap", settings, [Table("Overlap of two images", _COLUMNS, rows, _NOTE)], panels)
