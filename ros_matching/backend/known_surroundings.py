"""What a map that is kept knows around a localised image, for the odometry to continue there."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.known_place import KnownPlace
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import StoredKeyframe
from ros_matching.backend.loop_verification import LocalizedImage, PlaceVerifier
from ros_matching.datatypes import Features, Frame, ScaleState, concatenated
from ros_matching.geometry.se3 import invert

if TYPE_CHECKING:
    from ros_matching.datatypes import Array

# The image of a restored keyframe is not needed: this one has no contrast
_GREY = np.uint8(128)


def known_place(
    slam_map: SlamMap, verifier: PlaceVerifier, frame: Frame, features: Features, found: LocalizedImage, count: int
) -> KnownPlace:
    """Return the place of a localised image, in the coordinates of the map.

    It has the keyframe by which the image was localised and those that share most landmarks with it, ``count`` in all.
    """
    center = slam_map.keyframe(found.place)
    around = sorted([found.place, *(id for id, _ in slam_map.covisible(found.place, count - 1))])
    keyframes = [_restored(slam_map, verifier, slam_map.keyframe(id)) for id in around]
    ids, descriptors = _landmarks(keyframes)
    landmark_ids = np.full(len(features), NO_LANDMARK)
    landmark_ids[found.keypoints] = np.where(np.isin(found.landmarks, ids), found.landmarks, NO_LANDMARK)
    return KnownPlace(
        found.place,
        frame,
        features,
        invert(found.map_from_camera),
        landmark_ids,
        tuple(keyframes),
        ids,
        slam_map.landmarks.positions_of(ids),
        descriptors,
        center.scale_std**2 if slam_map.unit is ScaleState.METRIC else float("inf"),
    )


def _restored(slam_map: SlamMap, verifier: PlaceVerifier, keyframe: StoredKeyframe) -> MapKeyframe:
    camera = slam_map.camera
    image = np.broadcast_to(_GREY, (camera.height, camera.width, 3))
    known = slam_map.landmarks.known(keyframe.landmark_ids)
    return MapKeyframe(
        keyframe.id,
        Frame(keyframe.id, keyframe.stamp_ns, image, camera),
        verifier.features(keyframe, camera),
        keyframe.camera_from_map,
        np.where(known, keyframe.landmark_ids, NO_LANDMARK),
        keyframe.weights.astype(np.float64),
        keyframe.scale,
        is_restored=True,
    )


def _landmarks(keyframes: list[MapKeyframe]) -> tuple[np.ndarray, Array]:
    """Ids (N,), increasing, of the landmarks that keyframes observe, with descriptors (N, D) of the newest view."""
    rows = [np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK) for keyframe in keyframes]
    observed = np.concatenate([k.landmark_ids[r] for k, r in zip(keyframes, rows, strict=True)])
    # The first in reverse order is the newest view
    ids, from_end = np.unique(observed[::-1], return_index=True)
    newest = len(observed) - 1 - from_end
    descriptors = [k.features.descriptors[r] for k, r in zip(keyframes, rows, strict=True)]
    return ids, functools.reduce(concatenated, descriptors)[newest]
