"""Repeatability of keypoints and accuracy of matches on photos under random homographies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.curves import Panel
from ros_matching.evaluation.measurement import Column, Measurement, Table
from ros_matching.evaluation.pairs.matched_pairs import Matcher, reduced
from ros_matching.geometry.homography import map_points
from ros_matching.io.images import read_image

_ROTATION_SIGMA_DEG = 15.0
_SCALES = (0.6, 1.65)
_JITTER = 0.2  # largest shift of a corner, relative to the sides
_SHIFT = 0.1  # of the sides
_MIN_OVERLAP = 0.4  # of the first image, visible in the second one
_MARGIN_PX = 8  # from the empty part of the second image, whose edge is not part of the scene
_OVERSAMPLING = 2  # against aliasing where the homography shrinks the photo
_GAIN = (0.75, 1.25)
_GAMMA = (0.8, 1.25)
_NOISE_SIGMA = 3.0  # grey levels
MMA_THRESHOLDS_PX = np.arange(1, 11)
_REPEATED_PX = 3.0
_SHOWN_PX = (1, 3, 5, 10)


@dataclass(frozen=True)
class WarpedPair:
    """A photo and its view under a homography, with another exposure and noise.

    ``image0`` and ``image1`` (H, W, 3) uint8; ``homography1_from_0`` (3, 3) of pixels; ``visible1`` (H, W) bool is
    True where image 1 shows the photo, except a few pixels at its border.
    """

    image0: np.ndarray
    image1: np.ndarray
    homography1_from_0: np.ndarray
    visible1: np.ndarray


def warped_pairs(photos: Sequence[Path], size_px: int, seed: int = 0) -> Iterator[WarpedPair]:
    """Yield one pair per photo, reduced to ``size_px`` on its longer side; the same pairs for the same seed."""
    for number, photo in enumerate(photos):
        yield warped_pair(reduced(read_image(photo), size_px), np.random.default_rng((seed, number)))


def warped_pair(image: np.ndarray, rng: np.random.Generator) -> WarpedPair:
    """Return the image (H, W, 3) uint8 and a random view of it."""
    height, width = image.shape[:2]
    homography = random_homography(width, height, rng)
    fill = tuple(map(float, image.mean(axis=(0, 1))))
    enlarge = np.array(
        [[_OVERSAMPLING, 0, (_OVERSAMPLING - 1) / 2], [0, _OVERSAMPLING, (_OVERSAMPLING - 1) / 2], [0, 0, 1]]
    )
    large = cv2.warpPerspective(
        image,
        enlarge @ homography,
        (_OVERSAMPLING * width, _OVERSAMPLING * height),
        flags=cv2.INTER_LINEAR,
        borderValue=fill,
    )
    warped = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return WarpedPair(image, _lit(warped, rng), homography, _visible(width, height, homography))


def random_homography(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Return a homography (3, 3) of rotation, scale, shift and perspective, as of a camera in front of a plane.

    Redrawn until the two views overlap by at least 40 % of the image.
    """
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
    sides = np.array([width, height])
    while True:
        angle = np.radians(rng.normal(0, _ROTATION_SIGMA_DEG))
        scale = np.exp(rng.uniform(*np.log(_SCALES)))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = corners + rng.uniform(-_JITTER, _JITTER, (4, 2)) * sides
        center = (sides - 1) / 2
        moved = (moved - center) @ turn.T + center + rng.uniform(-_SHIFT, _SHIFT, 2) * sides
        if not cv2.isContourConvex(moved.astype(np.float32)):
            continue
        homography = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
        if _overlap(homography, width, height) >= _MIN_OVERLAP:
            return homography


def _overlap(homography: np.ndarray, width: int, height: int, steps: int = 20) -> float:
    """Return the fraction of image 0 that lies within image 1."""
    u, v = np.meshgrid(np.linspace(0, width - 1, steps), np.linspace(0, height - 1, steps))
    mapped = map_points(homography, np.column_stack([u.ravel(), v.ravel()]))
    return float(np.mean(inside(mapped, width, height)))


def inside(points_px: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the points (N, 2) inside an image, (N,) bool; False for NaN."""
    return ((points_px >= 0) & (points_px <= (width - 1, height - 1))).all(axis=1)


def _visible(width: int, height: int, homography: np.ndarray) -> np.ndarray:
    shown = cv2.warpPerspective(
        np.ones((height, width), np.uint8), homography, (width, height), flags=cv2.INTER_NEAREST
    )
    kernel = np.ones((2 * _MARGIN_PX + 1, 2 * _MARGIN_PX + 1), np.uint8)
    return cv2.erode(shown, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0


def _lit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with another exposure and gamma, and with noise."""
    levels = np.power(np.arange(256) / 255, rng.uniform(*_GAMMA)) * 255 * rng.uniform(*_GAIN)
    noisy = levels.astype(np.float32)[image] + rng.normal(0, _NOISE_SIGMA, image.shape).astype(np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


_NOTE = """\
MMA: fraction of the matches within so many pixels, mean over the pairs; MMAscore: its mean over 1 to 10 px, weighted by
2 - 0.1 t; repeat.: keypoints that are found again within 3 px. Times are medians, of an image and of a pair."""


@dataclass(frozen=True)
class FeatureResult:
    """Result of one matcher on one pair.

    ``keypoints`` is the number in the common part, as the mean of both images; ``repeatability`` is the fraction of
    these with a keypoint of the other image within 3 px (NaN without any). ``errors_px`` (M,) are the distances of
    matches in image 1 from the projections of their first points; infinite for projections outside the image.
    """

    matcher: str
    keypoints: float
    repeatability: float
    errors_px: np.ndarray
    extract_ms: float
    match_ms: float


@dataclass(frozen=True)
class FeatureFigures:
    """Figures of one matcher over all pairs.

    ``mma`` (10,) is the mean matching accuracy at 1 to 10 px: the fraction of correct matches, averaged over the
    pairs, 0 for a pair without matches (Mikolajczyk and Schmid 2005; Dusmanu et al., "D2-Net", 2019). Other figures
    are means over the pairs, times medians.
    """

    matcher: str
    pairs: int
    mma: np.ndarray
    repeatability: float
    keypoints: float
    matches: float
    extract_ms: float
    match_ms: float

    @property
    def mma_score(self) -> float:
        """MMA over 1 to 10 px as one figure, with weights 2 - 0.1 t at t px."""
        weights = 2 - 0.1 * MMA_THRESHOLDS_PX
        return float(weights @ self.mma / weights.sum())


def evaluate_features(matchers: Mapping[str, Matcher], pairs: Iterable[WarpedPair]) -> Iterator[FeatureResult]:
    """Evaluate every matcher on every pair. Keypoints outside the common part do not count."""
    for pair in pairs:
        for name, matcher in matchers.items():
            yield _run(name, matcher, pair)


def feature_figures(results: Iterable[FeatureResult]) -> list[FeatureFigures]:
    """Return the figures of every matcher; raises ``EvaluationError`` without results."""
    by_matcher: dict[str, list[FeatureResult]] = {}
    for result in results:
        by_matcher.setdefault(result.matcher, []).append(result)
    if not by_matcher:
        raise EvaluationError("no pair was measured")
    return [_figures(name, of_matcher) for name, of_matcher in by_matcher.items()]


def features_measurement(results: Sequence[FeatureResult], settings: Mapping[str, Any]) -> Measurement:
    """Return a table of all matchers, and their accuracy over the threshold."""
    figures = feature_figures(results)
    table = Table("Photos under random homographies", _COLUMNS, [_row(one) for one in figures], _NOTE)
    lines = {one.matcher: (MMA_THRESHOLDS_PX.astype(float), one.mma) for one in figures}
    return Measurement("features", settings, [table], [Panel("mean matching accuracy", "threshold [px]", "MMA", lines)])


def repeatability(
    keypoints0: np.ndarray, keypoints1: np.ndarray, homography1_from_0: np.ndarray, within_px: float
) -> float:
    """Return the fraction of both images' keypoints (N, 2) with a nearby keypoint of the other image, in image 1.

    Only keypoints in the common part count (DeTone et al., "SuperPoint", 2018). NaN without any.
    """
    if len(keypoints0) + len(keypoints1) == 0:
        return np.nan
    if min(len(keypoints0), len(keypoints1)) == 0:
        return 0.0
    mapped = map_points(homography1_from_0, keypoints0)
    repeated = [
        np.count_nonzero(cKDTree(a).query(b)[0] <= within_px) for a, b in ((keypoints1, mapped), (mapped, keypoints1))
    ]
    return float(sum(repeated) / (len(keypoints0) + len(keypoints1)))


def _run(name: str, matcher: Matcher, pair: WarpedPair) -> FeatureResult:
    began = time.perf_counter()
    features0, features1 = matcher.extract(pair.image0), matcher.extract(pair.image1)
    extracted = time.perf_counter()
    matches = matcher.match(features0, features1)
    matched = time.perf_counter()
    keypoints0, keypoints1 = features0.keypoints_px, features1.keypoints_px
    keypoints0 = keypoints0[_shown(pair, map_points(pair.homography1_from_0, keypoints0))]
    keypoints1 = keypoints1[_shown(pair, keypoints1)]
    return FeatureResult(
        matcher=name,
        keypoints=(len(keypoints0) + len(keypoints1)) / 2,
        repeatability=repeatability(keypoints0, keypoints1, pair.homography1_from_0, _REPEATED_PX),
        errors_px=_match_errors(matches.points0, matches.points1, pair),
        extract_ms=1e3 * (extracted - began) / 2,
        match_ms=1e3 * (matched - extracted),
    )


def _match_errors(points0: np.ndarray, points1: np.ndarray, pair: WarpedPair) -> np.ndarray:
    points0, points1 = (points[_shown(pair, points1)] for points in (points0, points1))
    truth = map_points(pair.homography1_from_0, points0)
    height, width = pair.image1.shape[:2]
    return np.where(inside(truth, width, height), np.linalg.norm(truth - points1, axis=1), np.inf)


def _shown(pair: WarpedPair, points1: np.ndarray) -> np.ndarray:
    """Return the points (N, 2) of image 1 where it shows the photo, (N,) bool."""
    height, width = pair.visible1.shape
    shown = inside(points1, width, height)
    columns, rows = np.rint(points1[shown]).astype(np.intp).T
    shown[shown] = pair.visible1[rows, columns]
    return shown


def _figures(name: str, results: Sequence[FeatureResult]) -> FeatureFigures:
    right = [
        [np.mean(result.errors_px <= limit) if len(result.errors_px) else 0 for limit in MMA_THRESHOLDS_PX]
        for result in results
    ]
    known = [result.repeatability for result in results if np.isfinite(result.repeatability)]
    return FeatureFigures(
        matcher=name,
        pairs=len(results),
        mma=np.mean(right, axis=0),
        repeatability=float(np.mean(known)) if known else np.nan,
        keypoints=float(np.mean([result.keypoints for result in results])),
        matches=float(np.mean([len(result.errors_px) for result in results])),
        extract_ms=float(np.median([result.extract_ms for result in results])),
        match_ms=float(np.median([result.match_ms for result in results])),
    )


_COLUMNS = (
    Column("matcher", "matcher"),
    Column("pairs", "pairs", "d"),
    *(Column(f"mma{limit}", f"MMA@{limit}", ".1f", 100) for limit in _SHOWN_PX),
    Column("mma_score", "MMAscore", ".3f"),
    Column("repeatability", "repeat. %", ".1f", 100),
    Column("keypoints", "keypoints", ".0f"),
    Column("matches", "matches", ".0f"),
    Column("extract_ms", "extract ms", ".0f"),
    Column("match_ms", "match ms", ".0f"),
)


def _row(figures: FeatureFigures) -> dict[str, Any]:
    return {
        "matcher": figures.matcher,
        "pairs": figures.pairs,
        **{f"mma{limit}": float(fraction) for limit, fraction in zip(MMA_THRESHOLDS_PX, figures.mma, strict=True)},
        "mma_score": figures.mma_score,
        "repeatability": figures.repeatability,
        "keypoints": figures.keypoints,
        "matches": figures.matches,
        "extract_ms": figures.extract_ms,
        "match_ms": figures.match_ms,
    }
