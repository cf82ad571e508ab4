"""Verification of a recognised place: the similarity between two keyframes from their landmarks, or nothing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, observation_weights
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import StoredKeyframe
from ros_matching.backend.covisible_landmarks import (
    CovisibleLandmarks,
    SeenLandmarks,
    in_camera,
    search_landmarks,
    stored_features,
)
from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.geometry.pnp import estimate_pnp, refine_pose
from ros_matching.geometry.se3 import invert, transform
from ros_matching.geometry.sim3 import invert_similarity, similarity_from
from ros_matching.geometry.similarity_pose import SharedView, SimilarityEstimate, refine_similarity
from ros_matching.matching.pipeline import MatchingPipeline

_THRESHOLD_PX = 4.0  # of a 640 wide image; the two maps differ by more than their noise
_RADIUS_PX = 12.0  # of the guided search
_MIN_PNP = 15  # inliers of the first pose
_MIN_SCALED = 8  # of them, landmarks of both maps, which give the scale
_MAX_SCALE_SPREAD = 0.15  # largest median deviation from the median ratio of depths, relative
_MIN_SEEN = 0.12  # fraction of the visible landmarks that a localised image must observe
_REFERENCE_WIDTH_PX = 640


@dataclass(frozen=True, eq=False)
class VerifiedPlace:
    """A keyframe localised in the surroundings of another, ``place``; both by id.

    ``place_from_keyframe`` (4, 4) is a similarity of their cameras' coordinates in the unit of the map, with the
    ``covariance`` (7, 7) of its landmarks. ``inliers`` counts those of both sides; ``place_landmarks`` and
    ``keyframe_landmarks`` (M,) are the same points. ``coverage`` is the smaller of the fractions of both images that
    the inliers span. ``support`` is the fraction found of the landmarks that should be visible, of both sides.
    """

    keyframe: int
    place: int
    place_from_keyframe: np.ndarray
    covariance: np.ndarray
    inliers: int
    coverage: float
    support: float
    place_landmarks: np.ndarray
    keyframe_landmarks: np.ndarray


@dataclass(frozen=True, eq=False)
class LocalizedImage:
    """The pose ``map_from_camera`` (4, 4) of an image by landmarks around keyframe ``place``.

    ``landmarks`` (M,), by id, are seen by its ``keypoints`` (M,), by row.
    """

    map_from_camera: np.ndarray
    place: int
    landmarks: np.ndarray
    keypoints: np.ndarray

    @property
    def inliers(self) -> int:
        """Number of the landmarks."""
        return len(self.landmarks)


class PlaceVerifier:
    """Matches two keyframes, and refines their similarity on the landmarks around both."""

    def __init__(self, matcher: MatchingPipeline) -> None:
        self._matcher = matcher

    def features(self, keyframe: StoredKeyframe, camera: Camera) -> Features:
        """Return the features of a stored keyframe."""
        return stored_features(self._matcher, keyframe, camera)

    def verify(self, slam_map: SlamMap, keyframe_id: int, place_id: int) -> VerifiedPlace | None:
        """Find the similarity between two keyframes; ``None`` if their images or landmarks do not agree."""
        keyframe, place = slam_map.keyframe(keyframe_id), slam_map.keyframe(place_id)
        features = self.features(place, slam_map.camera), self.features(keyframe, slam_map.camera)
        # Match the images
        matches = self._match(*features, slam_map.camera)
        # Localise the keyframe by the landmarks of the place, and scale it by its own
        start = self._first_similarity(slam_map, place, keyframe, matches)
        if start is None:
            return None
        return self.verify_near(slam_map, keyframe_id, place_id, start, features)

    def verify_near(
        self,
        slam_map: SlamMap,
        keyframe_id: int,
        place_id: int,
        place_from_keyframe: np.ndarray,
        features: tuple[Features, Features] | None = None,
    ) -> VerifiedPlace | None:
        """Refine a predicted similarity (4, 4) by a guided search for the landmarks around both keyframes."""
        keyframe, place = slam_map.keyframe(keyframe_id), slam_map.keyframe(place_id)
        camera = slam_map.camera
        if features is None:
            features = self.features(place, camera), self.features(keyframe, camera)
        scale = camera.width / _REFERENCE_WIDTH_PX
        around_place, around_keyframe = (
            CovisibleLandmarks.of(slam_map, place_id),
            CovisibleLandmarks.of(slam_map, keyframe_id),
        )
        similarity, found, sides = place_from_keyframe, None, None
        for radius in (_RADIUS_PX * scale, 0.7 * _RADIUS_PX * scale):
            sides = (
                search_landmarks(
                    self._matcher, around_place, invert_similarity(similarity), features[1], camera, radius
                ),
                search_landmarks(self._matcher, around_keyframe, similarity, features[0], camera, radius),
            )
            shared = (
                SharedView(in_camera(slam_map, place, sides[0].landmarks), keyframe.keypoints_px[sides[0].keypoints]),
                SharedView(in_camera(slam_map, keyframe, sides[1].landmarks), place.keypoints_px[sides[1].keypoints]),
            )
            found = refine_similarity(similarity, *shared, camera, _THRESHOLD_PX * scale)
            if found is None:
                return None
            similarity = found.first_from_second
        return _verified(slam_map, keyframe, place, found, sides)

    def localize(self, slam_map: SlamMap, features: Features, place_id: int) -> LocalizedImage | None:
        """Find the pose of an image by the landmarks around a keyframe."""
        camera, place = slam_map.camera, slam_map.keyframe(place_id)
        scale = camera.width / _REFERENCE_WIDTH_PX
        matches = self._match(self.features(place, camera), features, camera)
        there = place.landmark_ids[matches.indices0]
        rows = np.flatnonzero(there != NO_LANDMARK)
        if len(rows) < _MIN_PNP:
            return None
        weights = observation_weights(matches)[rows]
        points = in_camera(slam_map, place, there[rows])
        found = estimate_pnp(points, matches.points1[rows], camera, _THRESHOLD_PX * scale, weights=weights)
        if found is None or np.count_nonzero(found.inliers) < _MIN_PNP:
            return None
        around = CovisibleLandmarks.of(slam_map, place_id)
        seen = search_landmarks(self._matcher, around, found.camera_from_world, features, camera, _RADIUS_PX * scale)
        points = in_camera(slam_map, place, seen.landmarks)
        pixels = features.keypoints_px[seen.keypoints]
        refined = refine_pose(found.camera_from_world, points, pixels, camera, _THRESHOLD_PX * scale)
        if refined is None or np.count_nonzero(refined.inliers) < _MIN_SEEN * seen.visible:
            return None
        map_from_camera = place.map_from_camera @ invert(refined.camera_from_world)
        return LocalizedImage(
            map_from_camera, place_id, seen.landmarks[refined.inliers], seen.keypoints[refined.inliers]
        )

    def _match(self, features0: Features, features1: Features, camera: Camera) -> Matches:
        """Match by descriptors, and prune; consensus and refinement need the images, which are not kept."""
        matches = self._matcher.feature_matcher.match(features0, features1)
        return self._matcher.pruner.prune(matches, camera, camera)

    def _first_similarity(
        self, slam_map: SlamMap, place: StoredKeyframe, keyframe: StoredKeyframe, matches: Matches
    ) -> np.ndarray | None:
        """Return place_from_keyframe (4, 4) by PnP, with the scale of the landmarks that both maps have."""
        camera = slam_map.camera
        threshold_px = _THRESHOLD_PX * camera.width / _REFERENCE_WIDTH_PX
        there, here = place.landmark_ids[matches.indices0], keyframe.landmark_ids[matches.indices1]
        rows = np.flatnonzero(there != NO_LANDMARK)
        if len(rows) < _MIN_PNP:
            return None
        points = in_camera(slam_map, place, there[rows])
        found = estimate_pnp(
            points, matches.points1[rows], camera, threshold_px, weights=observation_weights(matches)[rows]
        )
        if found is None or np.count_nonzero(found.inliers) < _MIN_PNP:
            return None
        both = found.inliers & (here[rows] != NO_LANDMARK)
        if np.count_nonzero(both) < _MIN_SCALED:
            return None
        depth_there = transform(found.camera_from_world, points[both])[:, 2]
        ratios = depth_there / in_camera(slam_map, keyframe, here[rows[both]])[:, 2]
        scale = float(np.median(ratios))
        if not scale > 0 or np.median(np.abs(ratios - scale)) > _MAX_SCALE_SPREAD * scale:
            return None
        # A point p of the keyframe, in its unit, is at scale * p in the unit of the place
        return invert_similarity(found.camera_from_world) @ similarity_from(np.eye(4), scale)


def _verified(
    slam_map: SlamMap,
    keyframe: StoredKeyframe,
    place: StoredKeyframe,
    found: SimilarityEstimate,
    sides: tuple[SeenLandmarks, SeenLandmarks],
) -> VerifiedPlace:
    in_keyframe, in_place = sides
    keypoints0 = in_place.keypoints[found.inliers_second]
    keypoints1 = in_keyframe.keypoints[found.inliers_first]
    # A keypoint that observes a landmark of its own map and one of the other: the same point
    pairs = np.concatenate(
        [
            np.column_stack([in_keyframe.landmarks[found.inliers_first], keyframe.landmark_ids[keypoints1]]),
            np.column_stack([place.landmark_ids[keypoints0], in_place.landmarks[found.inliers_second]]),
        ]
    )
    pairs = np.unique(pairs[(pairs != NO_LANDMARK).all(axis=1) & (pairs[:, 0] != pairs[:, 1])], axis=0)
    pairs = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
    pairs = pairs[np.unique(pairs[:, 1], return_index=True)[1]]
    camera = slam_map.camera
    coverage = min(
        _spanned(place.keypoints_px[keypoints0], camera),
        _spanned(keyframe.keypoints_px[keypoints1], camera),
    )
    return VerifiedPlace(
        keyframe.id,
        place.id,
        found.first_from_second,
        found.covariance,
        found.inliers,
        coverage,
        found.inliers / max(in_keyframe.visible + in_place.visible, 1),
        pairs[:, 0],
        pairs[:, 1],
    )


def _spanned(points_px: np.ndarray, camera: Camera) -> float:
    """Fraction of the image inside the convex hull of points (N, 2)."""
    if len(points_px) < 3:
        return 0.0
    return float(cv2.contourArea(cv2.convexHull(points_px.astype(np.float32))) / (camera.width * camera.height))
