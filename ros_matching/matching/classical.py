"""The classical front ends, SIFT and ORB from OpenCV: the baseline that the learned one has to beat."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import MatchingError
from ros_matching.matching.two_view import TwoViewMatcher

# OpenCV multiplies positions found in a scaled image by the scale as if pixel (0, 0) stayed where it was. With pixel
# centres at integers, pixel x of an image s times smaller lies at s x + (s - 1) / 2. SIFT looks for its keypoints in an
# image of twice the size, ORB in a pyramid. Measured on synthetic blobs and squares: 0.25 px, and 0 to 1.3 px.
_SIFT_OFFSET_PX = (0.5 - 1) / 2


@dataclass(frozen=True)
class SiftConfig(Config):
    """Settings of the SIFT front end."""

    max_keypoints: int = parameter(1500, "strongest keypoints kept per image", minimum=50, maximum=20000)
    contrast_threshold: float = parameter(0.02, "SIFT contrast below which a keypoint is dropped", minimum=0, maximum=1)
    ratio: float = parameter(0.85, "largest ratio of the nearest to the second distance", minimum=0.1, maximum=1)


@dataclass(frozen=True)
class OrbConfig(Config):
    """Settings of the ORB front end."""

    max_keypoints: int = parameter(2000, "strongest keypoints kept per image", minimum=50, maximum=20000)
    fast_threshold: int = parameter(10, "FAST corner threshold in grey levels", minimum=1, maximum=255)
    ratio: float = parameter(0.85, "largest ratio of the nearest to the second distance", minimum=0.1, maximum=1)


class _RatioMatcher(TwoViewMatcher):
    """What the classical front ends share: mutual nearest neighbours that pass the ratio test (Lowe 2004)."""

    config: SiftConfig | OrbConfig

    def match_features(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Mutual nearest neighbours that pass the ratio test; the score is one minus the ratio."""
        self._check_own(features0)
        self._check_own(features1)
        rows0, rows1, ratio = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
        if min(len(features0), len(features1)) >= 2:
            rows0, rows1, ratio = self._mutual_nearest(features0.descriptors, features1.descriptors)
        keep = ratio < self.config.ratio
        rows0, rows1 = rows0[keep], rows1[keep]
        scores = np.clip(1.0 - ratio[keep], 0.0, 1.0)
        return Matches(features0.keypoints_px[rows0], features1.keypoints_px[rows1], scores, rows0, rows1)

    @abstractmethod
    def _mutual_nearest(
        self, descriptors0: np.ndarray, descriptors1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of mutual nearest neighbours, and the ratio of each one's distance to that of the second nearest."""


class SiftMatcher(_RatioMatcher):
    """SIFT keypoints (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012), mutual and ratio test."""

    name = "sift"
    guided_max_distance = 0.7  # L2 between unit RootSIFT vectors

    def __init__(self, config: SiftConfig | None = None) -> None:
        self.config = config or SiftConfig()
        self._sift = cv2.SIFT_create(
            nfeatures=self.config.max_keypoints, contrastThreshold=self.config.contrast_threshold
        )

    def extract(self, image: np.ndarray) -> Features:
        """Keypoints at pixel centres with unit (N, 128) float32 descriptors; see ``TwoViewMatcher.extract``."""
        keypoints, descriptors = self._sift.detectAndCompute(_grey(image), None)
        if not keypoints:
            return _no_features(self.name, np.zeros((0, 128), np.float32))
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
        return _features(self.name, keypoints, root, offset_px=_SIFT_OFFSET_PX)

    def _mutual_nearest(
        self, descriptors0: np.ndarray, descriptors1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        similarity = descriptors0 @ descriptors1.T
        best1, best0 = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows0 = np.flatnonzero(best0[best1] == np.arange(len(best1)))
        rows1, candidates, number = best1[rows0], similarity[rows0], np.arange(len(rows0))
        nearest = candidates[number, rows1]
        candidates[number, rows1] = -np.inf
        # For unit vectors the squared distance is 2 - 2 cos.
        ratio = np.sqrt(np.maximum(1 - nearest, 0) / np.maximum(1 - candidates.max(axis=1), 1e-12))
        return rows0, rows1, ratio.astype(np.float64)

    def descriptor_distance(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """Euclidean distance of unit vectors, row by row."""
        return np.linalg.norm(descriptors0 - descriptors1, axis=1)


class OrbMatcher(_RatioMatcher):
    """ORB keypoints and binary descriptors (Rublee 2011), mutual and ratio test on the Hamming distance."""

    name = "orb"
    guided_max_distance = 64  # of 256 bits
    min_side_px = 63  # one pixel more than both borders in which OpenCV describes no keypoint

    def __init__(self, config: OrbConfig | None = None) -> None:
        self.config = config or OrbConfig()
        self._orb = cv2.ORB_create(nfeatures=self.config.max_keypoints, fastThreshold=self.config.fast_threshold)

    def extract(self, image: np.ndarray) -> Features:
        """Keypoints at pixel centres with (N, 32) uint8 descriptors; see ``TwoViewMatcher.extract``."""
        grey, keypoints, descriptors = _grey(image), (), None
        if min(grey.shape) >= self.min_side_px:  # OpenCV fails on the pyramid of an image one pixel wide
            keypoints, descriptors = self._orb.detectAndCompute(grey, None)
        if not keypoints:
            return _no_features(self.name, np.zeros((0, 32), np.uint8))
        scale = self._orb.getScaleFactor() ** np.fromiter((k.octave for k in keypoints), np.float64, len(keypoints))
        return _features(self.name, keypoints, descriptors, offset_px=(scale[:, None] - 1) / 2)

    def _mutual_nearest(
        self, descriptors0: np.ndarray, descriptors1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        distances, best1 = _hamming_nearest(descriptors0, descriptors1, count=2)
        _, best0 = _hamming_nearest(descriptors1, descriptors0, count=1)
        rows0 = np.flatnonzero(best0[best1[:, 0], 0] == np.arange(len(best1)))
        ratio = distances[rows0, 0] / np.maximum(distances[rows0, 1], 1)
        return rows0, best1[rows0, 0], ratio

    def descriptor_distance(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """Hamming distance, row by row."""
        return np.unpackbits(descriptors0 ^ descriptors1, axis=1).sum(axis=1)

    def similarity(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """The number of bits that are alike less that of those that are not; see ``TwoViewMatcher.similarity``."""
        signs0, signs1 = (np.unpackbits(d, axis=1).astype(np.float32) * 2 - 1 for d in (descriptors0, descriptors1))
        return signs0 @ signs1.T


def load_classical(name: str, max_keypoints: int | None = None) -> SiftMatcher | OrbMatcher:
    """The matcher ``sift`` or ``orb``, with its defaults but for what is given."""
    matcher, config = {"sift": (SiftMatcher, SiftConfig), "orb": (OrbMatcher, OrbConfig)}[name]
    return matcher(config() if max_keypoints is None else config(max_keypoints=max_keypoints))


def _grey(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise MatchingError(f"an image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _features(
    backend: str, keypoints: list[cv2.KeyPoint], descriptors: np.ndarray, offset_px: float | np.ndarray
) -> Features:
    return Features(
        keypoints=cv2.KeyPoint_convert(keypoints).astype(np.float64) + offset_px,
        scores=np.fromiter((k.response for k in keypoints), np.float64, len(keypoints)),
        descriptors=descriptors,
        backend=backend,
    )


def _no_features(backend: str, descriptors: np.ndarray) -> Features:
    return Features(np.zeros((0, 2)), np.zeros(0), descriptors, backend)


def _hamming_nearest(descriptors0: np.ndarray, descriptors1: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows (N, count) of the nearest of ``descriptors1`` for each of ``descriptors0``."""
    return cv2.batchDistance(descriptors0, descriptors1, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=count)
