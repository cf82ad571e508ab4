"""Errors of whole-image alignment on photos under random transformations.

The transformations are affine maps, homographies and thin-plate splines. Their distributions are those that
CNNGeometric is trained with (Rocco et al. 2017, published code), in coordinates from -1 to 1 along the sides of the
image: affine with a rotation of 15 degrees either way, a stretch of 0.75 to 1.25 along two axes and a shift of up to
0.25; corners, or the nine points of a regular grid, moved by up to 0.4 along each axis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ros_matching.datatypes import ImageTransform
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.pairs.matched_pairs import Matcher
from ros_matching.geometry.homography import estimate_homography
from ros_matching.io.images import read_image

_SHOWN = 9 / 16  # of the photo's sides; a transformation may bring the margin into view
_ROTATION_DEG, _STRETCH_DEG = 15.0, 30.0
_STRETCH = (0.75, 1.25)
_SHIFT = 0.25
_MOVE = 0.4
_GRID = 20  # points along each side, from the first pixel to the last
_WITHIN = 0.03  # of the side
_CURVE_END = 0.2


@dataclass(frozen=True)
class AlignmentPair:
    """Image 1 (H, W, 3) uint8 is the middle of a photo, image 0 the same after ``truth``, which aligns them."""

    model: str
    image0: np.ndarray
    image1: np.ndarray
    truth: ImageTransform


def alignment_pairs(
    photos: Sequence[Path], models: Sequence[str], size: tuple[int, int], seed: int = 0
) -> Iterator[AlignmentPair]:
    """Yield one pair per photo and model, of ``size`` (width, height); the same pairs for the same seed."""
    for number, path in enumerate(photos):
        photo = read_image(path)
        for model in models:
            rng = np.random.default_rng((seed, number, list(MODELS).index(model)))
            yield alignment_pair(photo, model, size, rng)


def alignment_pair(photo: np.ndarray, model: str, size: tuple[int, int], rng: np.random.Generator) -> AlignmentPair:
    """Return a photo (H, W, 3) uint8 before and after a random transformation of a ``model`` of ``MODELS``."""
    truth = random_transform(model, size, rng)
    width, height = size
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    pixels = np.column_stack([u.ravel(), v.ravel()])
    image0, image1 = (_seen(photo, points, size) for points in (truth.map_points(pixels), pixels))
    return AlignmentPair(model, image0, image1, truth)


def random_transform(model: str, size: tuple[int, int], rng: np.random.Generator) -> ImageTransform:
    """Return a random transformation of this ``model`` between images of ``size`` (width, height)."""
    region = (0.0, 0.0, size[0] - 1.0, size[1] - 1.0)
    return MODELS[model](region, rng)


def _affine(region: tuple[float, float, float, float], rng: np.random.Generator) -> ImageTransform:
    angle, axis = np.radians(rng.uniform(-1, 1, 2) * (_ROTATION_DEG, _STRETCH_DEG))
    stretch = _rotation(-axis) @ np.diag(rng.uniform(*_STRETCH, 2)) @ _rotation(axis)
    matrix = np.eye(3)
    matrix[:2, :2] = _rotation(angle) @ stretch
    matrix[:2, 2] = rng.uniform(-_SHIFT, _SHIFT, 2)
    return _of_unit_matrix(matrix, region)


def _homography(region: tuple[float, float, float, float], rng: np.random.Generator) -> ImageTransform:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    moved = corners + rng.uniform(-_MOVE, _MOVE, (4, 2)).astype(np.float32)
    return _of_unit_matrix(cv2.getPerspectiveTransform(corners, moved), region)


def _spline(region: tuple[float, float, float, float], rng: np.random.Generator) -> ImageTransform:
    y, x = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij")
    moved = np.stack([x, y], axis=2) + rng.uniform(-_MOVE, _MOVE, (3, 3, 2))
    pixels = _pixels_from_unit(region)
    return ImageTransform(np.eye(3), region, moved * np.diag(pixels)[:2] + pixels[:2, 2])


MODELS: Mapping[str, Callable[[tuple[float, float, float, float], np.random.Generator], ImageTransform]] = {
    "affine": _affine,
    "homography": _homography,
    "tps": _spline,
}


def _of_unit_matrix(matrix: np.ndarray, region: tuple[float, float, float, float]) -> ImageTransform:
    pixels = _pixels_from_unit(region)
    return ImageTransform(pixels @ matrix @ np.linalg.inv(pixels), region)


def _pixels_from_unit(region: tuple[float, float, float, float]) -> np.ndarray:
    u0, v0, u1, v1 = region
    return np.array([[(u1 - u0) / 2, 0, (u0 + u1) / 2], [0, (v1 - v0) / 2, (v0 + v1) / 2], [0, 0, 1]])


def _rotation(angle_rad: float) -> np.ndarray:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cosine, -sine], [sine, cosine]])


def _seen(photo: np.ndarray, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the photo at points (W * H, 2) of image 1, (H, W, 3), mirrored beyond its border."""
    sides = np.array(photo.shape[1::-1])
    middle, last = (sides - 1) / 2, np.array(size) - 1
    at = (middle + (2 * points / last - 1) * _SHOWN * middle).astype(np.float32).reshape(size[1], size[0], 2)
    return cv2.remap(photo, at[:, :, 0], at[:, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


_NOTE = """\
Errors are mean distances over a grid of points, in percent of the image's sides; an aligner that fails counts as one
that does nothing."""

Align = Callable[[np.ndarray, np.ndarray], "ImageTransform | None"]


@dataclass(frozen=True)
class AlignmentResult:
    """Result of one aligner on one pair: ``error`` as a fraction of the image's sides, ``failed`` without a transform.

    A failure has the error of the identity.
    """

    aligner: str
    model: str
    error: float
    failed: bool
    ms: float


def evaluate_alignment(aligners: Mapping[str, Align], pairs: Iterable[AlignmentPair]) -> Iterator[AlignmentResult]:
    """Evaluate every aligner, a function of two images, on every pair."""
    for pair in pairs:
        for name, align in aligners.items():
            began = time.perf_counter()
            transform = align(pair.image0, pair.image1)
            ms = 1e3 * (time.perf_counter() - began)
            error = grid_error(transform or identity(pair.image0), pair)
            yield AlignmentResult(name, pair.model, error, transform is None, ms)


def grid_error(transform: ImageTransform, pair: AlignmentPair) -> float:
    """Return the mean distance between estimated and true positions of a grid of 20 x 20 points.

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
    """Return the identity transform of an image (H, W, 3)."""
    return ImageTransform(np.eye(3), (0.0, 0.0, image.shape[1] - 1.0, image.shape[0] - 1.0))


def leave(image0: np.ndarray, image1: np.ndarray) -> ImageTransform:
    """Return the identity: the baseline without alignment."""
    return identity(image0)


def homography_of(matcher: Matcher) -> Align:
    """Return the aligner that fits a homography to the matches of a matcher by RANSAC."""

    def align(image0: np.ndarray, image1: np.ndarray) -> ImageTransform | None:
        matches = matcher.match(matcher.extract(image0), matcher.extract(image1))
        found = estimate_homography(matches.points0, matches.points1)
        return None if found is None else ImageTransform(found[0], identity(image0).region0)

    return align


def alignment_measurement(results: Sequence[AlignmentResult], settings: Mapping[str, Any]) -> Measurement:
    """Return a table of all aligners and models, and the fraction of pairs over the error."""
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
    labels = "mean grid error [fraction of the side]", "fraction of the pairs"
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
    """Return errors up to the end of the diagram, and the fraction of all that are not larger."""
    ordered = np.sort(errors)
    shown = ordered[ordered < _CURVE_END]
    fraction = np.arange(len(shown) + 1) / len(ordered)
    return np.concatenate([[0.0], shown, [_CURVE_END]]), np.append(fraction, fraction[-1])
