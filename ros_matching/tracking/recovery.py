"""Finding a lost camera again in the map.

All landmarks are compared with the image at once, and each keyframe is given a vote by every landmark it sees that
looks like something in the image. The keyframes with most votes are then matched, one after the other; and where the
front end can tell, the one whose image shows most of this one, which may have no votes. One comparison and a fixed
number of matchings: a lost frame takes constant time, whatever the camera shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import Features
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.stages import StageTimer
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.local_map import LocalMap, MapKeyframe
from ros_matching.tracking.localization import Localization, Localizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ros_matching.datatypes import Array

_TRIED = 3  # keyframes per lost frame
_MIN_VOTES = 5  # fewer are chance
_MIN_OVERLAP = 0.1
_ASKED = 400  # keypoints of the image that are compared


class Recovery:
    """Tries the keyframes that look most like the image until one places it in the map."""

    def __init__(
        self, matcher: TwoViewMatcher, localizer: Localizer, config: TrackingConfig, stages: StageTimer
    ) -> None:
        self._matcher = matcher
        self._localizer = localizer
        self._config = config
        self._stages = stages

    def search(self, local_map: LocalMap, features: Features, tried: int = _TRIED) -> Localization | None:
        """The pose of the image, from scratch and with more inliers than tracking asks for; ``None`` if not found."""
        with self._stages("match"):
            candidates = self.ranked(local_map, features)[:tried]
            candidates += self._overlapping(local_map, features, candidates)
        for keyframe in candidates:
            found = self._localizer.localize(
                local_map, features, keyframe, prediction=None, min_inliers=self._config.recovery_min_inliers
            )
            if found is not None:
                return found
        return None

    def ranked(self, local_map: LocalMap, features: Features) -> list[MapKeyframe]:
        """The keyframes that share something with an image, most first."""
        if len(features) == 0 or len(local_map.positions) == 0:
            return []
        votes = local_map.shared_counts(self._recognised(local_map, features))
        order = np.argsort(-votes, kind="stable")
        return [local_map.keyframes[row] for row in order if votes[row] >= _MIN_VOTES]

    def _overlapping(
        self, local_map: LocalMap, features: Features, besides: Sequence[MapKeyframe]
    ) -> list[MapKeyframe]:
        """The keyframe that shows most of an image, if that is more than chance and the front end can tell."""
        keyframes = [keyframe for keyframe in local_map.keyframes if keyframe not in besides]
        overlaps = self._matcher.overlaps(features, [keyframe.features for keyframe in keyframes])
        if overlaps is None or not overlaps.max(initial=0.0) > _MIN_OVERLAP:
            return []
        return [keyframes[int(np.argmax(overlaps))]]

    def _recognised(self, local_map: LocalMap, features: Features) -> np.ndarray:
        """The landmarks, by id, that are mutual nearest neighbours of something in the image."""
        some = features.descriptors[:: -(-len(features) // _ASKED)]
        similarity = self._matcher.similarity(some, local_map.descriptors)
        landmarks, keypoints = _on_host(similarity.argmax(1)), _on_host(similarity.argmax(0))
        return landmarks[keypoints[landmarks] == np.arange(len(landmarks))]


def _on_host(rows: Array) -> np.ndarray:
    return rows if isinstance(rows, np.ndarray) else rows.cpu().numpy()
