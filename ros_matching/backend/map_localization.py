"""Localisation of single images in a map, by place recognition and PnP."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ros_matching.atlas.known_place import KnownPlace
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.known_surroundings import known_place
from ros_matching.backend.loop_plausibility import typical_depth, view_difference
from ros_matching.backend.loop_verification import LocalizedImage, PlaceVerifier
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import rotation_angle_deg
from ros_matching.geometry.sim3 import rigid_part
from ros_matching.matching.pipeline import MatchingPipeline

_PLACES = 5  # verified for an image without a prediction, unless one before has so many times the inliers needed
_CLEAR = 4
# Places elsewhere that are verified to see whether one looks alike: with so much of the inliers, at so different a pose
# (distance in typical depths plus rotation in radians)
_ALTERNATIVES = 2
_LOOK_ALIKE = 0.5
_DIFFERENT = 0.5


class MapLocalizer:
    """Finds the poses of single images in a map by place recognition and PnP.

    ``near`` (4, 4) is a suggested ``map_from_camera``: keyframes with similar views are tried first.
    """

    def __init__(self, matcher: MatchingPipeline, config: SlamConfig) -> None:
        self._matcher = matcher
        self._verifier = PlaceVerifier(matcher)
        self._config = config
        self.near: np.ndarray | None = None

    def find(
        self,
        slam_map: SlamMap,
        index: PlaceIndex,
        frame: Frame,
        features: Features,
        count: int,
        excluded: Collection[int] = (),
    ) -> KnownPlace | None:
        """Localise an image; returns its place with ``count`` keyframes around it. See ``localize``."""
        found = self.localize(slam_map, index, features, excluded)
        return found and known_place(slam_map, self._verifier, frame, features, found, count)

    def localize(
        self, slam_map: SlamMap, index: PlaceIndex, features: Features, excluded: Collection[int] = ()
    ) -> LocalizedImage | None:
        """Return the pose that most landmarks support; ``None`` if there are too few, or places that look alike.

        Near a suggested pose, look-alikes elsewhere do not count. Keyframes that are ``excluded`` are not searched.
        """
        if len(features) == 0:
            return None
        near = self.near
        if near is not None and len(slam_map):
            among = [id for id in slam_map.ids if id not in excluded]
            found = self._best(slam_map, features, views_near(slam_map, near, among, _PLACES)) if among else None
            if found is not None:
                return found
        descriptors = features.descriptors
        if not isinstance(descriptors, np.ndarray):
            descriptors = descriptors.detach().cpu().numpy()
        vector = self._matcher.place_describer.describe(descriptors)
        places = [place for place, _ in index.search(vector, _PLACES, excluded)]
        found = self._best(slam_map, features, places)
        if found is None:
            return None
        around = {*excluded, found.place, *(id for id, _ in slam_map.covisible(found.place))}
        others = [place for place, _ in index.search(vector, _ALTERNATIVES, around)]
        if self._has_look_alike(slam_map, features, found, others):
            return None
        return found

    def _has_look_alike(self, slam_map: SlamMap, features: Features, found: LocalizedImage, others: list[int]) -> bool:
        """Return True if about as many landmarks support another pose, at other places of the map."""
        depth = typical_depth(slam_map, found.place)
        for place in others:
            other = self._verifier.localize(slam_map, features, place)
            if other is None or other.inliers < _LOOK_ALIKE * found.inliers:
                continue
            if view_difference(other.map_from_camera, found.map_from_camera, depth) > _DIFFERENT:
                return True
        return False

    def _best(self, slam_map: SlamMap, features: Features, places: list[int]) -> LocalizedImage | None:
        best: LocalizedImage | None = None
        for place in places:
            found = self._verifier.localize(slam_map, features, place)
            if found is not None and found.inliers > (best.inliers if best else self._config.localization_inliers - 1):
                best = found
            if best is not None and best.inliers > _CLEAR * self._config.localization_inliers:
                break
        return best


def nearest_views(slam_map: SlamMap, id: int, among: list[int], count: int) -> list[int]:
    """Return the keyframes, by id, whose views are nearest to one: least distance in typical depths plus rotation."""
    return views_near(slam_map, slam_map.keyframe(id).map_from_camera, among, count, typical_depth(slam_map, id))


def views_near(
    slam_map: SlamMap, map_from_camera: np.ndarray, among: list[int], count: int, depth: float | None = None
) -> list[int]:
    """Return the keyframes, by id, whose views are nearest to a pose (4, 4); ``depth`` is that of the nearest one."""
    poses = np.stack([slam_map.keyframe(other).map_from_camera for other in among])
    distance = np.linalg.norm(poses[:, :3, 3] - map_from_camera[:3, 3], axis=1)
    depth = typical_depth(slam_map, among[int(distance.argmin())]) if depth is None else depth
    turned = np.swapaxes(poses[:, :3, :3], 1, 2) @ rigid_part(map_from_camera)[:3, :3]
    difference = distance / depth + np.radians(rotation_angle_deg(turned))
    return [among[row] for row in np.argsort(difference, kind="stable")[:count]]
