"""Relocalisation: the pose of an image in a map without a prediction.

Each landmark that is the mutual nearest neighbour of a keypoint votes for the keyframes that observe it. The keyframes
with most votes are matched in order, then the one with the largest estimated overlap, if the matcher can estimate it.
One comparison and a fixed number of matchings: a lost frame takes constant time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import Localization, MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Features
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.localization import LocalizationQuery, Localizer
from ros_matching.stages import StageTimer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ros_matching.datatypes import Array

_MAX_TRIED = 3  # keyframes per lost frame
_MIN_VOTES = 5  # fewer are random
_MIN_OVERLAP = 0.1
_MAX_COMPARED = 400  # keypoints of the image that are compared


class Relocalizer:
    """Matches the most similar keyframes until one determines the pose."""

    def __init__(
        self, matcher: MatchingPipeline, localizer: Localizer, config: TrackingConfig, stages: StageTimer
    ) -> None:
        self._matcher = matcher
        self._localizer = localizer
        self._config = config
        self._stages = stages

    def relocalize(self, local_map: LocalMap, features: Features, tried: int = _MAX_TRIED) -> Localization | None:
        """Localise an image with at least ``recovery_min_inliers`` inliers; ``None`` if not found."""
        with self._stages("match"):
            candidates = self.candidates(local_map, features)[:tried]
            candidates += self._overlapping(local_map, features, candidates)
        for keyframe in candidates:
            found = self._localizer.localize(
                LocalizationQuery(local_map, features, keyframe, min_inliers=self._config.recovery_min_inliers)
            )
            if found is not None:
                return found
        return None

    def candidates(self, local_map: LocalMap, features: Features) -> list[MapKeyframe]:
        """Return the keyframes by number of votes, most first."""
        if len(features) == 0 or len(local_map) == 0:
            return []
        votes = local_map.shared_counts(self._similar_landmarks(local_map, features))
        order = np.argsort(-votes, kind="stable")
        return [local_map.keyframes[row] for row in order if votes[row] >= _MIN_VOTES]

    def _overlapping(
        self, local_map: LocalMap, features: Features, excluded: Sequence[MapKeyframe]
    ) -> list[MapKeyframe]:
        """Return the keyframe of the largest estimated overlap, if the matcher can estimate it."""
        keyframes = [keyframe for keyframe in local_map.keyframes if keyframe not in excluded]
        overlaps = self._matcher.overlap_estimator.estimate(features, [keyframe.features for keyframe in keyframes])
        if overlaps is None or not overlaps.max(initial=0.0) > _MIN_OVERLAP:
            return []
        return [keyframes[int(np.argmax(overlaps))]]

    def _similar_landmarks(self, local_map: LocalMap, features: Features) -> np.ndarray:
        """Ids of the landmarks that are mutual nearest neighbours of keypoints."""
        some = features.descriptors[:: -(-len(features) // _MAX_COMPARED)]
        similarity = self._matcher.metric.similarity(some, local_map.descriptors)
        landmarks, keypoints = _on_host(similarity.argmax(1)), _on_host(similarity.argmax(0))
        return local_map.ids[landmarks[keypoints[landmarks] == np.arange(len(landmarks))]]


def _on_host(rows: Array) -> np.ndarray:
    return rows if isinstance(rows, np.ndarray) else rows.cpu().numpy()
