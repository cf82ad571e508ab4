"""Matches of image pairs with known relative poses, and the errors of poses estimated from them.

All matchers get the same images at the same size, all pose estimators the same matches. Frames are read once and in
order, and features are extracted once per frame, so that memory does not grow with the sequence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.data_split import PairSet
from ros_matching.evaluation.pairs.pose_errors import POSE_ESTIMATORS, PoseError, PoseEstimator, pose_error
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.se3 import invert
from ros_matching.io.source import FrameSource, select_frames

SIZE_PX = 640
RIGHT_PX = 2.0
"""From the true epipolar geometry: what a match may be off to count as right."""


class Matcher(Protocol):
    """Interface of a matcher for this evaluation; ``MatchingPipeline`` implements it."""

    def extract(self, image: np.ndarray) -> Features:
        """Return the features of an image (H, W, 3) uint8 RGB."""

    def match(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Return the matches between the features of two images."""


@dataclass(frozen=True)
class MatchedPair:
    """Matches of one pair of frames, with ground truth.

    Cameras are those of the reduced images. ``camera1_from_camera0`` (4, 4) is the true motion, whose translation is
    unknown if ``rotation_only``. ``extract_ms`` is for the second image. ``depth0`` (H, W), metres, NaN unknown, is
    that of the first frame in its own size, if the source has depth.
    """

    matcher: str
    sequence: str
    gap: int
    frames: tuple[int, int]
    matches: Matches
    camera0: Camera
    camera1: Camera
    camera1_from_camera0: np.ndarray
    rotation_only: bool
    extract_ms: float
    match_ms: float
    depth0: np.ndarray | None = None

    @property
    def distance(self) -> float:
        """True distance between the cameras."""
        return float(np.linalg.norm(self.camera1_from_camera0[:3, 3]))


@dataclass(frozen=True)
class PairResult:
    """Result of one matcher on one pair of frames.

    ``distance`` is the true one between the cameras. ``precision`` is the fraction of matches within a few pixels of
    the true epipolar geometry, NaN without matches or ground truth for it. ``errors``, ``inliers`` and ``pose_ms`` are
    by estimator.
    """

    matcher: str
    sequence: str
    gap: int
    frames: tuple[int, int]
    distance: float
    matches: int
    precision: float
    extract_ms: float
    match_ms: float
    errors: Mapping[str, PoseError]
    inliers: Mapping[str, int]
    pose_ms: Mapping[str, float]


@dataclass(frozen=True)
class _FrameFeatures:
    """A frame with the features of all matchers."""

    index: int
    camera: Camera
    world_from_camera: np.ndarray
    features: Mapping[str, Features]
    extract_ms: Mapping[str, float]
    depth: np.ndarray | None


def evaluate_pairs(
    matchers: Mapping[str, Matcher],
    source: FrameSource,
    pair_set: PairSet,
    *,
    size_px: int = SIZE_PX,
    estimators: Mapping[str, PoseEstimator] = POSE_ESTIMATORS,
) -> Iterator[PairResult]:
    """Yield the result of every matcher on every pair with all estimators; see ``matched_pairs``."""
    for pair in matched_pairs(matchers, source, pair_set, size_px=size_px):
        yield pair_result(pair, estimators)


def matched_pairs(
    matchers: Mapping[str, Matcher], source: FrameSource, pair_set: PairSet, *, size_px: int = SIZE_PX
) -> Iterator[MatchedPair]:
    """Match the pairs of a source with true poses, images reduced to ``size_px`` on their longer side.

    Yields every pair of frames for one matcher after the other; pairs without a true pose are skipped. Raises
    ``EvaluationError`` if none is left.
    """
    pairs, found = pair_set.pairs(len(source)), False
    if not pairs:
        gaps = ", ".join(map(str, pair_set.gaps))
        frames = f"{len(source)}, of which the {pair_set.part} part is taken"
        raise EvaluationError(f"{source.name} has too few frames ({frames}) for pairs {gaps} apart")
    starts, views = _starts_by_end(pairs), dict[int, _FrameFeatures]()
    wanted = {row for _, start, end in pairs for row in (start, end)}
    begin = min(wanted)
    for row, frame in enumerate(select_frames(source, begin), start=begin):
        views.pop(row - max(pair_set.gaps) - 1, None)
        if row not in wanted or frame.true_world_from_camera is None:
            continue
        views[row] = _view(matchers, frame, size_px)
        for gap, start in starts.get(row, ()):
            if start in views:
                found = True
                for name in matchers:
                    yield _matched(name, matchers[name], pair_set, gap, views[start], views[row])
    if not found:
        raise EvaluationError(f"{source.name} has no pair of frames with true poses")


def reduced(image: np.ndarray, size_px: int) -> np.ndarray:
    """Return the image with its longer side reduced to ``size_px``; unchanged if it is not longer."""
    height, width = image.shape[:2]
    if max(height, width) <= size_px:
        return image
    scale = size_px / max(height, width)
    return cv2.resize(image, (round(scale * width), round(scale * height)), interpolation=cv2.INTER_AREA)


def _starts_by_end(pairs: list[tuple[int, int, int]]) -> dict[int, list[tuple[int, int]]]:
    """Return gaps and first frames of the pairs (gap, first, second), by their second frame."""
    starts: dict[int, list[tuple[int, int]]] = {}
    for gap, start, end in pairs:
        starts.setdefault(end, []).append((gap, start))
    return starts


def _view(matchers: Mapping[str, Matcher], frame: Frame, size_px: int) -> _FrameFeatures:
    image = reduced(frame.image, size_px)
    features, extract_ms = {}, {}
    for name, matcher in matchers.items():
        began = time.perf_counter()
        features[name] = matcher.extract(image)
        extract_ms[name] = 1e3 * (time.perf_counter() - began)
    camera = frame.camera.scaled(image.shape[1], image.shape[0])
    return _FrameFeatures(frame.index, camera, frame.true_world_from_camera, features, extract_ms, frame.depth)


def _matched(
    name: str, matcher: Matcher, pair_set: PairSet, gap: int, view0: _FrameFeatures, view1: _FrameFeatures
) -> MatchedPair:
    began = time.perf_counter()
    matches = matcher.match(view0.features[name], view1.features[name], view0.camera, view1.camera)
    match_ms = 1e3 * (time.perf_counter() - began)
    return MatchedPair(
        matcher=name,
        sequence=pair_set.sequence,
        gap=gap,
        frames=(view0.index, view1.index),
        matches=matches,
        camera0=view0.camera,
        camera1=view1.camera,
        camera1_from_camera0=invert(view1.world_from_camera) @ view0.world_from_camera,
        rotation_only=pair_set.rotation_only,
        extract_ms=view1.extract_ms[name],
        match_ms=match_ms,
        depth0=view0.depth,
    )


def pair_result(
    pair: MatchedPair,
    estimators: Mapping[str, PoseEstimator] = POSE_ESTIMATORS,
    *,
    right_px: float = RIGHT_PX,
) -> PairResult:
    """Return the pose errors of a matched pair; a match within ``right_px`` of the epipolar geometry is correct."""
    errors, inliers, pose_ms = {}, {}, {}
    for name, estimate in estimators.items():
        began = time.perf_counter()
        pose = estimate(pair.matches, pair.camera0, pair.camera1)
        pose_ms[name] = 1e3 * (time.perf_counter() - began)
        errors[name] = pose_error(None if pose is None else pose[0], pair.camera1_from_camera0, pair.rotation_only)
        inliers[name] = 0 if pose is None else int(np.count_nonzero(pose[1]))
    return PairResult(
        matcher=pair.matcher,
        sequence=pair.sequence,
        gap=pair.gap,
        frames=pair.frames,
        distance=pair.distance,
        matches=len(pair.matches),
        precision=_precision(pair, right_px),
        extract_ms=pair.extract_ms,
        match_ms=pair.match_ms,
        errors=errors,
        inliers=inliers,
        pose_ms=pose_ms,
    )


def _precision(pair: MatchedPair, right_px: float) -> float:
    if pair.rotation_only or pair.distance == 0 or len(pair.matches) == 0:
        return np.nan
    essential = essential_from_pose(pair.camera1_from_camera0)
    fundamental = fundamental_from_essential(essential, pair.camera0, pair.camera1)
    distance_px = sampson_distance_px(fundamental, pair.matches.points0, pair.matches.points1)
    return float(np.mean(distance_px <= right_px))
