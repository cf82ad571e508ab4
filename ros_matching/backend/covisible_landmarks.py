"""Landmarks around a keyframe of the map, and the guided search for them in another view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import StoredKeyframe
from ros_matching.datatypes import Camera, Features
from ros_matching.geometry.se3 import transform
from ros_matching.matching.pipeline import MatchingPipeline

_NEIGHBOURS = 10  # covisible keyframes whose landmarks are searched


@dataclass(frozen=True, eq=False)
class CovisibleLandmarks:
    """Landmarks (N,) of a keyframe and of those that share most with it.

    ``descriptors`` (N, D); ``points`` (N, 3) in its camera, in the unit of the map.
    """

    landmarks: np.ndarray
    descriptors: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, slam_map: SlamMap, id: int) -> CovisibleLandmarks:
        """Return the landmarks of a keyframe and of its neighbours."""
        neighbours = [other for other, _ in slam_map.covisible(id, _NEIGHBOURS)]
        return cls._of(slam_map, id, [id, *neighbours], np.zeros(0, np.int64))

    @classmethod
    def of_neighbours(cls, slam_map: SlamMap, id: int, count: int) -> CovisibleLandmarks:
        """Return those that up to ``count`` neighbours of a keyframe observe and itself does not."""
        neighbours = [other for other, _ in slam_map.covisible(id, count)]
        return cls._of(slam_map, id, neighbours, slam_map.keyframe(id).observed)

    @classmethod
    def _of(cls, slam_map: SlamMap, id: int, observers: list[int], left_out: np.ndarray) -> CovisibleLandmarks:
        """Return the landmarks of keyframes; each is described by the first that observes it."""
        first = slam_map.keyframe(id)
        ids, descriptors = [np.zeros(0, np.int64)], [first.descriptors[:0]]
        seen = left_out
        for other in observers:
            keyframe = slam_map.keyframe(other)
            rows = np.flatnonzero((keyframe.landmark_ids != NO_LANDMARK) & ~np.isin(keyframe.landmark_ids, seen))
            rows = rows[np.unique(keyframe.landmark_ids[rows], return_index=True)[1]]
            ids.append(keyframe.landmark_ids[rows])
            descriptors.append(keyframe.descriptors[rows])
            seen = np.concatenate([seen, ids[-1]])
        landmarks = np.concatenate(ids)
        return cls(landmarks, np.concatenate(descriptors), in_camera(slam_map, first, landmarks))


@dataclass(frozen=True, eq=False)
class SeenLandmarks:
    """Landmarks found in a view: ids (M,) and rows (M,) of its keypoints; ``visible`` counts those inside the view."""

    landmarks: np.ndarray
    keypoints: np.ndarray
    visible: int


def search_landmarks(
    matcher: MatchingPipeline,
    around: CovisibleLandmarks,
    view_from_camera: np.ndarray,
    features: Features,
    camera: Camera,
    radius_px: float,
) -> SeenLandmarks:
    """Find the landmarks around a keyframe in a view, given by a similarity (4, 4) from the keyframe's camera."""
    nothing = np.zeros(0, np.intp)
    if not len(around.landmarks):
        return SeenLandmarks(nothing, nothing, 0)
    pixels = camera.project(transform(view_from_camera, around.points))
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= (camera.width - 1, camera.height - 1))).all(axis=1)
    rows = np.flatnonzero(inside)
    size = camera.width, camera.height
    restored = matcher.extractor.restored(pixels[rows], around.descriptors[rows], size)
    found, keypoints = matcher.search_by_projection(restored.descriptors, pixels[rows], features, radius_px)
    return SeenLandmarks(around.landmarks[rows[found]], keypoints, len(rows))


def stored_features(matcher: MatchingPipeline, keyframe: StoredKeyframe, camera: Camera) -> Features:
    """Return the features of a stored keyframe."""
    return matcher.extractor.restored(keyframe.keypoints_px, keyframe.descriptors, (camera.width, camera.height))


def in_camera(slam_map: SlamMap, keyframe: StoredKeyframe, landmarks: np.ndarray) -> np.ndarray:
    """Return landmarks (N, 3), by id, in the camera of a keyframe, in the unit of the map."""
    return transform(keyframe.camera_from_map, slam_map.landmarks.positions_of(landmarks))
