"""Localisation in a map that stays as it is: keyframes of the odometry are in it only as long as in its local map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.keyframe_storage import KeyframeStorage, OdometryState
from ros_matching.backend.loop_closing import LoopDetector, agree
from ros_matching.backend.loop_plausibility import correction_by, typical_depth
from ros_matching.backend.loop_verification import PlaceVerifier, VerifiedPlace
from ros_matching.backend.map_localization import MapLocalizer, nearest_views
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
from ros_matching.geometry.se3 import rotation_angle_deg
from ros_matching.geometry.sim3 import rigid_part
from ros_matching.matching.pipeline import MatchingPipeline

_PREDICTED = 2  # nearest keyframes verified for a predicted pose
# A localisation within this distance of the prediction, in typical depths, and rotation is not an event.
_EXPECTED_DISTANCE = 0.5
_EXPECTED_DEG = 15.0


class LocalizationBackEnd:
    """Places the odometry in a map by single images, and then corrects its drift at every keyframe.

    Both are needed: from the place of an image (``KnownPlace``) the odometry starts in the map, but its new keyframes
    observe new landmarks, so it drifts away from the map. Works on a copy of the map, to which the keyframes of the
    odometry's local map are added for a time.
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
        return SlamUpdate(found=self._localizer.find(self.slam_map, self._index, frame, features, count))

    def process(self, state: OdometryState) -> SlamUpdate:
        """Correct the place of the odometry by its newest keyframe; without a place yet, single images give it."""
        scratch = self._scratch
        local_ids = frozenset(keyframe.id for keyframe in state.local_map.keyframes)
        # Follow the local map of the odometry
        self._storage.store(scratch, state, self.slam_map.next_keyframe_id - 1)
        for id in [id for id in scratch.ids if id not in self.slam_map and id not in local_ids]:
            scratch.remove(id)
        if not state.is_placed:
            return SlamUpdate()
        # Recognise the place: where the keyframe is predicted, or by similar images
        newest = max(local_ids)
        self._describe(newest)
        predicted = nearest_views(scratch, newest, self.slam_map.ids, _PREDICTED)
        found = self._detector.recognize(scratch, newest, local_ids, predicted)
        if found is None:
            return SlamUpdate()
        # Far from the prediction, another keyframe must agree
        is_expected, doubtful, self._doubtful = self._is_expected(found), self._doubtful, None
        if not is_expected and not (doubtful is not None and agree(scratch, doubtful, found)):
            self._doubtful = found
            return SlamUpdate()
        return self._place(state, found, local_ids, is_expected=is_expected)

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
