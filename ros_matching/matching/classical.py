"""The classical matchers, SIFT and ORB of OpenCV: the baseline of the learned ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features, Matches
from ros_matching.errors import MatchingError
from ros_matching.matching.parts import DescriptorMetric, EuclideanMetric, FeatureExtractor, FeatureMatcher
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.matching.place_description import place_describer

# OpenCV multiplies positions of a scaled image by the scale as if pixel (0, 0) did not move. With pixel centres at
# integers, pixel x of an image s times smaller lies at s x + (s - 1) / 2. SIFT detects keypoints in an image of twice
# the size, ORB in a pyramid.
_SIFT_OFFSET_PX = (0.5 - 1) / 2

_MutualNearest = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class SiftConfig(Config):
    """Settings of SIFT."""

    max_keypoints: int = parameter(1500, "strongest keypoints kept per image", minimum=50, maximum=20000)
    contrast_threshold: float = parameter(0.02, "SIFT contrast below which a keypoint is dropped", minimum=0, maximum=1)
    ratio: float = parameter(0.85, "largest ratio of the nearest to the second distance", minimum=0.1, maximum=1)


@dataclass(frozen=True)
class OrbConfig(Config):
    """Settings of ORB."""

    max_keypoints: int = parameter(2000, "strongest keypoints kept per image", minimum=50, maximum=20000)
    fast_threshold: int = parameter(10, "FAST corner threshold in grey levels", minimum=1, maximum=255)
    ratio: float = parameter(0.85, "largest ratio of the nearest to the second distance", minimum=0.1, maximum=1)


class SiftExtractor(FeatureExtractor):
    """SIFT keypoints (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012)."""

    name = "sift"

    def __init__(self, config: SiftConfig) -> None:
        self._sift = cv2.SIFT_create(nfeatures=config.max_keypoints, contrastThreshold=config.contrast_threshold)

    def extract(self, image: np.ndarray) -> Features:
        """Return keypoints at pixel centres with unit (N, 128) float32 descriptors."""
        keypoints, descriptors = self._sift.detectAndCompute(_grey(image), None)
        if not keypoints:
            return _no_features(self.name, np.zeros((0, 128), np.float32))
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
        return _features(self.name, keypoints, root, offset_px=_SIFT_OFFSET_PX)


class OrbExtractor(FeatureExtractor):
    """ORB keypoints with binary descriptors (Rublee et al., ICCV 2011)."""

    name = "orb"
    min_side_px = 63  # one pixel more than the two borders without keypoints

    def __init__(self, config: OrbConfig) -> None:
        self._orb = cv2.ORB_create(nfeatures=config.max_keypoints, fastThreshold=config.fast_threshold)

    def extract(self, image: np.ndarray) -> Features:
        """Return keypoints at pixel centres with (N, 32) uint8 descriptors."""
        grey, keypoints, descriptors = _grey(image), (), None
        if min(grey.shape) >= self.min_side_px:  # OpenCV fails on the pyramid of an image one pixel wide
            keypoints, descriptors = self._orb.detectAndCompute(grey, None)
        if not keypoints:
            return _no_features(self.name, np.zeros((0, 32), np.uint8))
        scale = self._orb.getScaleFactor() ** np.fromiter((k.octave for k in keypoints), np.float64, len(keypoints))
        return _features(self.name, keypoints, descriptors, offset_px=(scale[:, None] - 1) / 2)


class RatioMatcher(FeatureMatcher):
    """Mutual nearest neighbours that pass the ratio test (Lowe 2004)."""

    def __init__(self, mutual_nearest: _MutualNearest, ratio: float) -> None:
        """``mutual_nearest`` returns rows of both descriptor arrays and the ratio of nearest to second distance."""
        self._mutual_nearest = mutual_nearest
        self._ratio = ratio

    def match(self, features0: Features, features1: Features) -> Matches:
        """Return one-to-one matches; the score is one minus the distance ratio."""
        rows0, rows1, ratio = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
        if min(len(features0), len(features1)) >= 2:
            rows0, rows1, ratio = self._mutual_nearest(features0.descriptors, features1.descriptors)
        keep = ratio < self._ratio
        rows0, rows1 = rows0[keep], rows1[keep]
        scores = np.clip(1.0 - ratio[keep], 0.0, 1.0)
        return Matches(features0.keypoints_px[rows0], features1.keypoints_px[rows1], scores, rows0, rows1)


class HammingMetric(DescriptorMetric):
    """Number of different bits of binary descriptors."""

    max_distance = 64  # of 256 bits

    def distance(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """Return the Hamming distances, row by row."""
        return np.unpackbits(descriptors0 ^ descriptors1, axis=1).sum(axis=1)

    def similarity(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """Return the number of equal bits minus that of different ones, for all pairs."""
        signs0, signs1 = (np.unpackbits(d, axis=1).astype(np.float32) * 2 - 1 for d in (descriptors0, descriptors1))
        return signs0 @ signs1.T


def sift_matcher(config: SiftConfig | None = None) -> MatchingPipeline:
    """Compose SIFT with the ratio test."""
    config = config or SiftConfig()
    matcher = RatioMatcher(_mutual_nearest_by_cosine, config.ratio)
    return MatchingPipeline(
        "sift",
        SiftExtractor(config),
        matcher,
        EuclideanMetric(max_distance=0.7),
        place_describer=place_describer(SiftExtractor.name),
    )


def orb_matcher(config: OrbConfig | None = None) -> MatchingPipeline:
    """Compose ORB with the ratio test."""
    config = config or OrbConfig()
    matcher = RatioMatcher(_mutual_nearest_by_hamming, config.ratio)
    return MatchingPipeline("orb", OrbExtractor(config), matcher, HammingMetric())


def load_classical(name: str, max_keypoints: int | None = None) -> MatchingPipeline:
    """Load ``sift`` or ``orb`` with default settings, except for the given ones."""
    make, config = {"sift": (sift_matcher, SiftConfig), "orb": (orb_matcher, OrbConfig)}[name]
    return make(config() if max_keypoints is None else config(max_keypoints=max_keypoints))


def _mutual_nearest_by_cosine(
    descriptors0: np.ndarray, descriptors1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    similarity = descriptors0 @ descriptors1.T
    best1, best0 = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows0 = np.flatnonzero(best0[best1] == np.arange(len(best1)))
    rows1, candidates, number = best1[rows0], similarity[rows0], np.arange(len(rows0))
    nearest = candidates[number, rows1]
    candidates[number, rows1] = -np.inf
    # The squared distance of unit vectors is 2 - 2 cos.
    ratio = np.sqrt(np.maximum(1 - nearest, 0) / np.maximum(1 - candidates.max(axis=1), 1e-12))
    return rows0, rows1, ratio.astype(np.float64)


def _mutual_nearest_by_hamming(
    descriptors0: np.ndarray, descriptors1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    distances, best1 = _hamming_nearest(descriptors0, descriptors1, count=2)
    _, best0 = _hamming_nearest(descriptors1, descriptors0, count=1)
    rows0 = np.flatnonzero(best0[best1[:, 0], 0] == np.arange(len(best1)))
    ratio = distances[rows0, 0] / np.maximum(distances[rows0, 1], 1)
    return rows0, best1[rows0, 0], ratio


def _hamming_nearest(descriptors0: np.ndarray, descriptors1: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and rows (N, count) of the nearest of ``descriptors1`` to each of ``descriptors0``."""
    return cv2.batchDistance(descriptors0, descriptors1, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=count)


def _grey(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise MatchingError(f"an image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _features(
    extractor: str, keypoints: list[cv2.KeyPoint], descriptors: np.ndarray, offset_px: float | np.ndarray
) -> Features:
    return Features(
        keypoints=cv2.KeyPoint_convert(keypoints).astype(np.float64) + offset_px,
        scores=np.fromiter((k.response for k in keypoints), np.float64, len(keypoints)),
        descriptors=descriptors,
        extractor=extractor,
    )


def _no_features(extractor: str, descriptors: np.ndarray) -> Features:
    return Features(np.zeros((0, 2)), np.zeros(0), descriptors, extractor)
