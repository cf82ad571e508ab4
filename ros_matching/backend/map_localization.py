"""Localisation in a map that stays as it is: keyframes of the odometry are in it only as long as in its local map."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ros_matching.atlas.known_place import KnownPlace
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.keyframe_storage import KeyframeStorage, OdometryState
from ros_matching.backend.known_surroundings import known_place
from ros_matching.backend.loop_closing import LoopDetector, agree
from ros_matching.backend.loop_plausibility import correction_by, typical_depth, view_difference
from ros_matching.backend.loop_verification import LocalizedImage, PlaceVerifier, VerifiedPlace
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.backend.slam_update import (
    EventKind,
    SlamEvent,
    SlamUpdate,
    require_place_descriptor,
    require_same_extractor,
)
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.geometry.sim3 import rigid_part
from ros_matching.matching.pipeline import MatchingPipeline

_PLACES = 5  # verified for an image without a prediction, unless one before has so many times the inliers needed
_CLEAR = 4
# Places elsewhere that are verified to see whether one looks alike: with so much of the inliers, at so different a pose
# (distance in typical depths plus rotation in radians)
_ALTERNATIVES = 2
_LOOK_ALIKE = 0.5
# A keyframe is near a localised image within so many seconds, distance in typical depths plus rotation in radians.
_RECENT_NS = 4 * 10**9
_NEAR = 2.0
_DIFFERENT = 0.5
_PREDICTED = 2  # nearest keyframes verified for a predicted pose
# A localisation within this distance of the prediction, in typical depths, and rotation is not an event.
_EXPECTED_DISTANCE = 0.5
_EXPECTED_DEG = 15.0


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


class LocalizationBackEnd:
    """Keeps the odometry placed in a map: by single images at first, then at every keyframe.

    Works on a copy of the map, to which the keyframes of the odometry's local map are added for a time.
    """

    def __init__(self, matcher: MatchingPipeline, config: SlamConfig, slam_map: SlamMap) -> None:
        require_same_extractor(slam_map, matcher)
        require_place_descriptor(matcher)
        self.slam_map = slam_map
        self._matcher = matcher
        self._config = config
        self._localizer = MapLocalizer(matcher, config)
        self._index = PlaceIndex()
        self._index.synchronize(slam_map)
        self.reset()

    def reset(self) -> None:
        """Forget the odometry."""
        self._scratch = self.slam_map.snapshot()
        self._storage = KeyframeStorage(self._config)
        self._detector = LoopDetector(self._index, PlaceVerifier(self._matcher), self._config)
        self._doubtful: VerifiedPlace | None = None  # far from the prediction
        self._seen: tuple[int, np.ndarray] | None = None  # stamp and map_from_camera of the last localised image

    is_adjustable = False  # the map stays as it is

    @property
    def keyframes(self) -> int:
        """Number of keyframes in the map."""
        return len(self.slam_map)

    @property
    def next_ids(self) -> tuple[int, int]:
        """Id of the next keyframe of the odometry, and what to add to the numbers of its maps."""
        return self.slam_map.next_keyframe_id, self.slam_map.next_map_number - 1

    def snapshot(self) -> SlamMap:
        """Return a copy of the map."""
        return self.slam_map.snapshot()

    def suggest(self, map_from_camera: np.ndarray) -> None:
        """Search for the place of images near a pose (4, 4) first, from any thread."""
        self._localizer.near = map_from_camera

    def localize_frame(self, frame: Frame, features: Features, count: int) -> SlamUpdate:
        """Localise one image, with ``count`` keyframes around it."""
        found = self._localizer.find(self.slam_map, self._index, frame, features, count)
        if found is not None:
            self._seen = frame.stamp_ns, invert(found.camera_from_world)
        return SlamUpdate(found=found)

    def process(self, state: OdometryState) -> SlamUpdate:
        """Place the odometry by its newest keyframe."""
        scratch = self._scratch
        local_ids = frozenset(keyframe.id for keyframe in state.local_map.keyframes)
        # Follow the local map of the odometry
        self._storage.store(scratch, state, self.slam_map.next_keyframe_id - 1)
        for id in [id for id in scratch.ids if id not in self.slam_map and id not in local_ids]:
            scratch.remove(id)
        newest = max(local_ids)
        self._describe(newest)
        # Recognise the place: where the keyframe is predicted, or by similar images
        is_placed = state.is_placed
        if not is_placed and self._was_seen(scratch.keyframe(newest).stamp_ns):
            return self._place_near_image(state, newest, local_ids)
        predicted = nearest_views(scratch, newest, self.slam_map.ids, _PREDICTED) if is_placed else []
        loop = self._detector.detect(scratch, newest, local_ids, predicted, single=is_placed)
        if loop is None:
            return SlamUpdate()
        found, doubtful = loop.newest, self._doubtful
        is_expected = is_placed and self._is_expected(found)
        self._doubtful = None
        if is_placed and not is_expected and not (doubtful is not None and agree(scratch, doubtful, found)):
            # Far from the prediction: another keyframe must agree
            self._doubtful = found
            return SlamUpdate()
        # Move the odometry there
        return self._place(state, found, local_ids, is_expected=is_expected)

    def _was_seen(self, stamp_ns: int) -> bool:
        return self._seen is not None and abs(stamp_ns - self._seen[0]) < _RECENT_NS

    def _place_near_image(self, state: OdometryState, newest: int, local_ids: frozenset[int]) -> SlamUpdate:
        """Place the odometry by its newest keyframe if that is near an image that was localised shortly before.

        The image and the keyframe confirm each other, so one keyframe is enough.
        """
        scratch, seen = self._scratch, self._seen[1]
        predicted = views_near(scratch, seen, self.slam_map.ids, _PREDICTED)
        loop = self._detector.detect(scratch, newest, local_ids, predicted, single=True)
        if loop is None:
            return SlamUpdate()
        found = loop.newest
        pose = rigid_part(correction_by(scratch, found) @ scratch.keyframe(newest).map_from_camera)
        if view_difference(pose, seen, typical_depth(scratch, found.place)) > _NEAR:
            return SlamUpdate()
        return self._place(state, found, local_ids, is_expected=False)

    def _is_expected(self, found: VerifiedPlace) -> bool:
        """Return True if a place is near the predicted one."""
        scratch, before = self._scratch, self._scratch.keyframe(found.keyframe)
        after = rigid_part(correction_by(scratch, found) @ before.map_from_camera)
        moved = np.linalg.norm(after[:3, 3] - before.center)
        turned = rotation_angle_deg(before.map_from_camera[:3, :3].T @ after[:3, :3])
        return bool(moved < _EXPECTED_DISTANCE * typical_depth(scratch, found.place) and turned < _EXPECTED_DEG)

    def _place(
        self, state: OdometryState, found: VerifiedPlace, local_ids: frozenset[int], *, is_expected: bool
    ) -> SlamUpdate:
        scratch, before = self._scratch, self._scratch.keyframe(found.keyframe)
        new_from_old = correction_by(scratch, found)
        scratch.transform(new_from_old, [id for id in local_ids if id in scratch and id not in self.slam_map])
        moved = float(np.linalg.norm(scratch.keyframe(found.keyframe).center - before.center))
        events: tuple[SlamEvent, ...] = ()
        if not is_expected:
            event = SlamEvent(EventKind.RELOCALIZED, before.stamp_ns, found.keyframe, found.place, found.inliers, moved)
            events = (event,)
        return SlamUpdate({state.map_number: new_from_old}, events, frozenset({state.map_number}))

    def _describe(self, id: int) -> None:
        keyframe = self._scratch.keyframe(id)
        if not len(keyframe.place_descriptor):
            vector = self._matcher.place_describer.describe(keyframe.descriptors)
            self._scratch.put_keyframe(replace(keyframe, place_descriptor=vector))


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
