"""The matching pipeline, the result of ``load_matcher``, composed of the parts of ``matching.parts``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ros_matching.datatypes import Camera, Features, Matches, RelativePose
from ros_matching.errors import MatchingError
from ros_matching.geometry.essential import pose_of_matches
from ros_matching.matching.parts import (
    ConsensusFilter,
    DescriptorMetric,
    FeatureExtractor,
    FeatureMatcher,
    MatchPruner,
    MatchRefiner,
    OverlapEstimator,
    PlaceDescriber,
)

if TYPE_CHECKING:
    from ros_matching.datatypes import Array


class MatchingPipeline:
    """Extracts features of images and matches them between two.

    For two images, call ``match_images`` or ``relative_pose``. For a sequence, call ``extract`` once per image and
    ``match`` on the kept features. A tracker that needs single stages takes them from the parts:

    >>> matches = pipeline.feature_matcher.match(features0, features1)
    >>> matches = pipeline.consensus.filter(matches, features0, features1)
    >>> matches = pipeline.pruner.prune(matches, camera0, camera1)
    >>> matches = pipeline.refiner.refine(matches, features0, features1)
    """

    def __init__(
        self,
        name: str,
        extractor: FeatureExtractor,
        feature_matcher: FeatureMatcher,
        metric: DescriptorMetric,
        *,
        consensus: ConsensusFilter | None = None,
        pruner: MatchPruner | None = None,
        refiner: MatchRefiner | None = None,
        overlap_estimator: OverlapEstimator | None = None,
        place_describer: PlaceDescriber | None = None,
    ) -> None:
        self.name = name
        self.extractor = extractor
        self.feature_matcher = feature_matcher
        self.metric = metric
        self.consensus = consensus or ConsensusFilter()
        self.pruner = pruner or MatchPruner()
        self.refiner = refiner or MatchRefiner()
        self.overlap_estimator = overlap_estimator or OverlapEstimator()
        self.place_describer = place_describer or PlaceDescriber()
        self.verifies_matches = consensus is not None or pruner is not None

    def extract(self, image: np.ndarray) -> Features:
        """Return the features of an image (H, W, 3) uint8 RGB; possibly none."""
        return self.extractor.extract(image)

    def match(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Run all stages on the features of two images; pruning needs both cameras."""
        self._check_extractor(features0)
        self._check_extractor(features1)
        matches = self.feature_matcher.match(features0, features1)
        matches = self.consensus.filter(matches, features0, features1)
        if camera0 is not None and camera1 is not None:
            matches = self.pruner.prune(matches, camera0, camera1)
        return self.refiner.refine(matches, features0, features1)

    def match_images(
        self, image0: np.ndarray, image1: np.ndarray, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Extract and match two images (H, W, 3) uint8 RGB."""
        return self.match(self.extract(image0), self.extract(image1), camera0, camera1)

    def relative_pose(
        self, image0: np.ndarray, image1: np.ndarray, camera0: Camera, camera1: Camera
    ) -> RelativePose | None:
        """Estimate the motion between two images of known cameras, up to scale; ``None`` if it is not observable."""
        return pose_of_matches(self.match_images(image0, image1, camera0, camera1), camera0, camera1)

    def search_by_projection(
        self, descriptors: Array, projections_px: np.ndarray, features: Features, radius_px: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find landmarks near their projections in an image.

        ``descriptors`` (L, D) and ``projections_px`` (L, 2) belong to the landmarks; candidates are the keypoints of
        ``features`` within ``radius_px``. Returns rows of the landmarks and rows of the keypoints, (M,) each: pairs
        that are each other's nearest in descriptor distance among the candidates.
        """
        self._check_extractor(features)
        nothing = np.zeros(0, dtype=np.intp)
        if len(features) == 0 or len(projections_px) == 0:
            return nothing, nothing
        # One array of pairs: a list of neighbours per landmark is three times slower.
        near = cKDTree(projections_px).sparse_distance_matrix(
            cKDTree(features.keypoints_px), radius_px, output_type="ndarray"
        )
        if len(near) == 0:
            return nothing, nothing
        near = near[np.lexsort((near["j"], near["i"]))]  # ties in descriptor distance go to the first
        landmarks, keypoints = near["i"], near["j"]
        distances = self.metric.distance(descriptors[landmarks], features.descriptors[keypoints])
        return _mutual_nearest(landmarks, keypoints, distances, self.metric.max_distance)

    def _check_extractor(self, features: Features) -> None:
        if features.extractor != self.extractor.name:
            raise MatchingError(
                f"matcher {self.name!r} received features of {features.extractor!r}; extract them with this matcher"
            )


def _mutual_nearest(
    rows: np.ndarray, columns: np.ndarray, distances: np.ndarray, max_distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidate pairs (P,) that are each other's nearest and nearer than ``max_distance``."""
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] < max_distance]
    rows, columns = rows[order], columns[order]
    first_of_row = np.zeros(len(rows), dtype=bool)
    first_of_column = np.zeros(len(rows), dtype=bool)
    first_of_row[np.unique(rows, return_index=True)[1]] = True
    first_of_column[np.unique(columns, return_index=True)[1]] = True
    keep = first_of_row & first_of_column
    return rows[keep], columns[keep]
