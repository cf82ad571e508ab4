"""Alignment of whole images: how far from the truth the points of a grid are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ros_matching.datatypes import ImageTransform
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.alignment_warps import AlignmentPair
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.pairs import Matcher
from ros_matching.evaluation.tables import Column, Measurement, Table
from ros_matching.geometry.homography import estimate_homography

_GRID = 20  # points along each side, from the first pixel to the last
_WITHIN = 0.03  # of the side
_CURVE_END = 0.2
_NOTE = """\
Errors are mean distances over a grid of points, in percent of the image's sides; an aligner that fails counts as one
that does nothing."""

Align = Callable[[np.ndarray, np.ndarray], "ImageTransform | None"]


@dataclass(frozen=True)
class AlignmentResult:
    """One aligner on one pair: its ``error`` as a share of the image's sides, ``failed`` where it gave no transform.

    A failure has the error of leaving the image as it is.
    """

    aligner: str
    model: str
    error: float
    failed: bool
    ms: float


def evaluate_alignment(aligners: Mapping[str, Align], pairs: Iterable[AlignmentPair]) -> Iterator[AlignmentResult]:
    """Run every aligner, a function of two images, on every pair."""
    for pair in pairs:
        for name, align in aligners.items():
            began = time.perf_counter()
            transform = align(pair.image0, pair.image1)
            ms = 1e3 * (time.perf_counter() - began)
            error = grid_error(transform or identity(pair.image0), pair)
            yield AlignmentResult(name, pair.model, error, transform is None, ms)


def grid_error(transform: ImageTransform, pair: AlignmentPair) -> float:
    """The mean distance over a grid of 20 x 20 points between where a transform and the truth take them.

    Each coordinate is measured in sides of image 1: 0.01 is three pixels across of 300. Where a homography has no
    answer for a point, the point is a side away.
    """
    height, width = pair.image0.shape[:2]
    u, v = np.meshgrid(np.linspace(0, width - 1, _GRID), np.linspace(0, height - 1, _GRID))
    points = np.column_stack([u.ravel(), v.ravel()])
    sides = np.array(pair.image1.shape[1::-1]) - 1
    distances = np.linalg.norm((transform.map_points(points) - pair.truth.map_points(points)) / sides, axis=1)
    return float(np.mean(np.nan_to_num(distances, nan=1.0)))


def identity(image: np.ndarray) -> ImageTransform:
    """The transform that leaves an image (H, W, 3) as it is."""
    return ImageTransform(np.eye(3), (0.0, 0.0, image.shape[1] - 1.0, image.shape[0] - 1.0))


def leave(image0: np.ndarray, image1: np.ndarray) -> ImageTransform:
    """The aligner that does nothing: what an error means."""
    return identity(image0)


def homography_of(matcher: Matcher) -> Align:
    """The aligner that fits a homography to a front end's matches by RANSAC."""

    def align(image0: np.ndarray, image1: np.ndarray) -> ImageTransform | None:
        matches = matcher.match_features(matcher.extract(image0), matcher.extract(image1))
        found = estimate_homography(matches.points0, matches.points1)
        return None if found is None else ImageTransform(found[0], identity(image0).region0)

    return align


def alignment_measurement(results: Sequence[AlignmentResult], settings: Mapping[str, Any]) -> Measurement:
    """A table of all aligners and models, and the share of the pairs over the error."""
    groups: dict[tuple[str, str], list[AlignmentResult]] = {}
    for result in results:
        groups.setdefault((result.model, result.aligner), []).append(result)
    if not groups:
        raise EvaluationError("no pair was measured")
    rows = [_row(*key, group) for key, group in groups.items()]
    rows += [_row("all", name, [one for one in results if one.aligner == name]) for name in _aligners(results)]
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for (model, aligner), group in groups.items():
        panels.setdefault(model, {})[aligner] = _cumulative([result.error for result in group])
    labels = "mean grid error [share of the side]", "share of the pairs"
    table = Table("Alignment of photos after random transformations", _COLUMNS, rows, _NOTE)
    return Measurement("alignment", settings, [table], [Panel(name, *labels, lines) for name, lines in panels.items()])


_COLUMNS = (
    Column("model", "transformation"),
    Column("aligner", "aligner"),
    Column("pairs", "pairs", "d"),
    Column("error", "mean %", ".2f", 100),
    Column("median", "median %", ".2f", 100),
    Column("within", "below 3 % [%]", ".1f", 100),
    Column("failed", "failed", "d"),
    Column("ms", "ms", ".0f"),
)


def _row(model: str, aligner: str, results: Sequence[AlignmentResult]) -> dict[str, Any]:
    errors = np.array([result.error for result in results])
    return {
        "model": model,
        "aligner": aligner,
        "pairs": len(results),
        "error": float(errors.mean()),
        "median": float(np.median(errors)),
        "within": float(np.mean(errors < _WITHIN)),
        "failed": sum(result.failed for result in results),
        "ms": float(np.median([result.ms for result in results])),
    }


def _aligners(results: Sequence[AlignmentResult]) -> list[str]:
    return list(dict.fromkeys(result.aligner for result in results))


def _cumulative(errors: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Errors up to the end of the diagram, and the share of all that are not larger."""
    ordered = np.sort(errors)
    shown = ordered[ordered < _CURVE_END]
    share = np.arange(len(shown) + 1) / len(ordered)
    return np.concatenate([[0.0], shown, [_CURVE_END]]), np.append(share, share[-1])
