"""Search for the landmarks of covisible keyframes in a keyframe of the map, before a bundle adjustment.

The tracker observes few of the landmarks that a keyframe shows: a point that was lost for a while becomes another
landmark. Short tracks let the bundle adjustment bend the way; with longer ones it is several times more accurate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.covisible_landmarks import CovisibleLandmarks, search_landmarks, stored_features
from ros_matching.matching.pipeline import MatchingPipeline

_NEIGHBOURS = 20  # covisible keyframes whose landmarks are searched
_RADIUS_PX = 5.0  # of a 640 wide image
_REFERENCE_WIDTH_PX = 640


@dataclass(frozen=True, eq=False)
class NeighbourLandmarks:
    """Landmarks of covisible keyframes found in a keyframe.

    ``landmarks`` (M,), by id, are observed by its ``keypoints`` (M,), rows without a landmark. Landmarks ``kept`` (F,)
    are the same points as its own ones, ``replaced`` (F,).
    """

    keyframe: int
    landmarks: np.ndarray
    keypoints: np.ndarray
    kept: np.ndarray
    replaced: np.ndarray

    @classmethod
    def find(cls, slam_map: SlamMap, matcher: MatchingPipeline, id: int) -> NeighbourLandmarks:
        """Search in a keyframe; the map is not changed."""
        camera, keyframe = slam_map.camera, slam_map.keyframe(id)
        around = CovisibleLandmarks.of_neighbours(slam_map, id, _NEIGHBOURS)
        radius = _RADIUS_PX * camera.width / _REFERENCE_WIDTH_PX
        seen = search_landmarks(matcher, around, np.eye(4), stored_features(matcher, keyframe, camera), camera, radius)
        own = keyframe.landmark_ids[seen.keypoints]
        is_free = own == NO_LANDMARK
        kept, replaced = seen.landmarks[~is_free], own[~is_free]
        same = ~_observed_together(slam_map, kept, replaced, _observers(slam_map, id))
        return cls(id, seen.landmarks[is_free], seen.keypoints[is_free], kept[same], replaced[same])

    def apply(self, slam_map: SlamMap) -> None:
        """Let the keyframe observe the landmarks, and fuse those that are the same."""
        keyframe = slam_map.keyframe(self.keyframe)
        if len(self.landmarks):
            ids = keyframe.landmark_ids.copy()
            ids[self.keypoints] = self.landmarks
            slam_map.put_keyframe(replace(keyframe, landmark_ids=ids))
        if len(self.kept):
            slam_map.merge_landmarks(self.kept, self.replaced, _observers(slam_map, self.keyframe))
            slam_map.landmarks.remove_unobserved()
        slam_map.count_covisibility(self.keyframe, [other for other, _ in slam_map.covisible(self.keyframe)])


def _observers(slam_map: SlamMap, id: int) -> list[int]:
    """Return the keyframes that may observe landmarks of a keyframe, itself included."""
    return [id, *(other for other, _ in slam_map.covisible(id))]


def _observed_together(
    slam_map: SlamMap, first: np.ndarray, second: np.ndarray, keyframes: Iterable[int]
) -> np.ndarray:
    """True (F,) where a keyframe observes both landmarks of a pair (F,), by id: then they are different points."""
    together = np.zeros(len(first), dtype=bool)
    for id in keyframes:
        observed = slam_map.keyframe(id).landmark_ids
        together |= np.isin(first, observed) & np.isin(second, observed)
    return together
