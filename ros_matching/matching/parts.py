"""The parts of a matching pipeline, one verb each: extract, match, filter, prune, refine, estimate.

    extractor.extract(image)                        -> Features
    feature_matcher.match(features0, features1)     -> Matches, putative
    consensus.filter(matches, features0, features1) -> those that neighbourhood consensus supports
    pruner.prune(matches, camera0, camera1)         -> those that fit one motion
    refiner.refine(matches, features0, features1)   -> the same to a fraction of a pixel
    overlap_estimator.estimate(features, others)    -> overlap of images, without matching keypoints
    place_describer.describe(descriptors)           -> one vector for an image, to recognise a place

The first two are abstract. The base classes of the others leave everything as it is, as ``torch.nn.Identity`` does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import MatchingError

if TYPE_CHECKING:
    from ros_matching.datatypes import Array


class FeatureExtractor(ABC):
    """Detects and describes keypoints. ``name`` is written into the features; matchers accept no others."""

    name: str
    min_side_px: int = 1  # smallest image side

    @property
    def fingerprint(self) -> str:
        """Identifies the descriptors: those of extractors with different ones cannot be compared."""
        return self.name

    def restored(self, keypoints_px: np.ndarray, descriptors: np.ndarray, image_size: tuple[int, int]) -> Features:
        """Return stored keypoints (N, 2) and descriptors (N, D) of an image (width, height) as features for matching.

        They have no data of the image: consensus, refinement and overlap leave them out.
        """
        if descriptors.dtype != np.uint8:
            descriptors = descriptors.astype(np.float32)
        scores = np.ones(len(keypoints_px))
        return Features(keypoints_px.astype(np.float64), scores, descriptors, self.name, is_restored=True)

    @abstractmethod
    def extract(self, image: np.ndarray) -> Features:
        """Return the keypoints and descriptors of an image (H, W, 3) uint8 RGB; possibly none."""


class FeatureMatcher(ABC):
    """Matches the descriptors of two images."""

    @abstractmethod
    def match(self, features0: Features, features1: Features) -> Matches:
        """Return one-to-one putative matches with scores in [0, 1]."""


class ConsensusFilter:
    """Removes matches that their surroundings contradict; this base class keeps all."""

    stage = "match"  # under which its time is reported

    def filter(self, matches: Matches, features0: Features, features1: Features) -> Matches:
        """Return the supported ones of the putative ``matches``."""
        return matches


class MatchPruner:
    """Removes matches that fit no common motion; this base class keeps all."""

    stage = "match"  # under which its time is reported

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> Matches:
        """Return the matches that fit a motion between two undistorted images, scored by the confidence in each."""
        return matches


class MatchRefiner:
    """Moves the second point of each match to where the image looks as around the first; this base class moves none."""

    def refine_points(
        self, features0: Features, features1: Features, points0: np.ndarray, points1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return refined ``points1`` (M, 2) for ``points0`` (M, 2) in pixels, and their standard deviations (M,).

        The deviations are those along each axis, relative to ``points0``; NaN where unknown.
        """
        return points1, np.full(len(points1), np.nan)

    def refine(self, matches: Matches, features0: Features, features1: Features) -> Matches:
        """Return the matches with refined second points; see ``refine_points``."""
        points1, std_px = self.refine_points(features0, features1, matches.points0, matches.points1)
        return replace(matches, points1=points1, std_px=std_px)


class OverlapEstimator:
    """Estimates the overlap of images from their features; this base class cannot."""

    def estimate(self, features: Features, others: Sequence[Features]) -> np.ndarray | None:
        """Return the fraction of an image that each of K others shows, (K,) in [0, 1]; ``None`` if not supported."""
        return None


class PlaceDescriber:
    """Describes a whole image by one vector, to recognise a place; this base class cannot."""

    is_available = False

    def describe(self, descriptors: np.ndarray) -> np.ndarray:
        """Return a unit vector (P,) float32 of the descriptors (N, D) of an image, in host memory."""
        raise MatchingError(
            "this matcher has no place descriptor, which SLAM needs to recognise places; use the matcher default or "
            "sift, or switch close_loops of SlamConfig off"
        )


class DescriptorMetric(ABC):
    """Compares descriptors: arrays (N, D) as the extractor returns them, NumPy or torch."""

    max_distance: float  # of two descriptors of one point

    @abstractmethod
    def distance(self, descriptors0: Array, descriptors1: Array) -> np.ndarray:
        """Return the distances (P,) of P pairs of descriptors (P, D), row by row, in host memory."""

    def similarity(self, descriptors0: Array, descriptors1: Array) -> Array:
        """Return the similarity (N, M) of all pairs of descriptors (N, D) and (M, D); for unit vectors the cosine."""
        return descriptors0 @ descriptors1.T


class EuclideanMetric(DescriptorMetric):
    """Euclidean distance of unit vectors in NumPy arrays."""

    def __init__(self, max_distance: float) -> None:
        self.max_distance = max_distance

    def distance(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """Return the distances (P,), row by row."""
        return np.linalg.norm(descriptors0 - descriptors1, axis=1)
