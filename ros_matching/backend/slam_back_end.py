"""The back end of SLAM: keeps keyframes, recognises places, and corrects the map."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import StoredKeyframe
from ros_matching.backend.global_adjustment import GlobalAdjustment
from ros_matching.backend.keyframe_storage import KeyframeStorage, OdometryState, odom_from_local
from ros_matching.backend.loop_closing import Loop, LoopDetector, fused_landmarks, loop_edge
from ros_matching.backend.loop_verification import PlaceVerifier
from ros_matching.backend.map_adjustment import MapAdjustment
from ros_matching.backend.map_correction import MapCorrection, balanced_poses, correct_by_loops, fits
from ros_matching.backend.map_localization import MapLocalizer
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.pose_graph import require_gtsam
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.backend.slam_update import (
    EventKind,
    SlamEvent,
    SlamUpdate,
    require_place_descriptor,
    require_same_extractor,
)
from ros_matching.datatypes import Features, Frame, ScaleState
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import invert_similarity, scale_of
from ros_matching.matching.pipeline import MatchingPipeline

_LOG = logging.getLogger(__name__)

_COVISIBLE_CULLED = 10  # keyframes around a new one that may have become redundant
_COVISIBLE_FUSED = 30  # keyframes around a loop whose observations are fused


class SlamBackEnd:
    """Keeps the keyframes of the odometry in a ``SlamMap``, which changes under a lock, and closes loops."""

    def __init__(self, matcher: MatchingPipeline, config: SlamConfig, slam_map: SlamMap | None = None) -> None:
        if slam_map is not None:
            require_same_extractor(slam_map, matcher)
        if config.close_loops:
            require_gtsam()
            require_place_descriptor(matcher)
        self._matcher = matcher
        self._config = config
        self._lock = threading.RLock()
        self._start(slam_map)

    def _start(self, slam_map: SlamMap | None) -> None:
        self._slam_map = slam_map
        self._storage = KeyframeStorage(self._config)
        self._index = PlaceIndex()
        self._detector = LoopDetector(self._index, PlaceVerifier(self._matcher), self._config)
        self._frozen = -1  # keyframes up to this id were corrected: the tracker no longer moves them
        self._corrections: dict[int, np.ndarray] = {}
        self._events: list[SlamEvent] = []
        self._last_local_ids: frozenset[int] = frozenset()
        self._adjustment = MapAdjustment(
            self._matcher, self._config.adjusted_keyframes, self._lock, self._storage.aliases.add
        )
        self._joined: frozenset[int] = frozenset()  # keyframes of the part that the odometry merged with another
        self._placed: set[int] = set()  # odometry maps connected with the oldest keyframe
        self._localizer = MapLocalizer(self._matcher, self._config)
        if slam_map is not None and len(slam_map):
            self._placed = {slam_map.keyframe(id).map_number for id in slam_map.ids}
            self._frozen = slam_map.next_keyframe_id - 1
            self._index.synchronize(slam_map)

    def reset(self) -> None:
        """Start with an empty map."""
        with self._lock:
            self._start(None)

    @property
    def slam_map(self) -> SlamMap | None:
        """The map; ``None`` before the first keyframe."""
        return self._slam_map

    @property
    def keyframes(self) -> int:
        """Number of keyframes in the map."""
        return 0 if self._slam_map is None else len(self._slam_map)

    @property
    def next_ids(self) -> tuple[int, int]:
        """Id of the next keyframe of the odometry, and what to add to the numbers of its maps."""
        if self._slam_map is None or not len(self._slam_map):
            return 0, 0
        return self._slam_map.next_keyframe_id, self._slam_map.next_map_number - 1

    def snapshot(self) -> SlamMap | None:
        """Return a copy of the map, from any thread."""
        with self._lock:
            return None if self._slam_map is None else self._slam_map.snapshot()

    def process(self, state: OdometryState) -> SlamUpdate:
        """Store the new keyframes of the odometry, recognise places, and correct the map if a loop closes."""
        self._corrections, self._events = {}, []
        # Store
        with self._lock:
            if self._slam_map is None:
                camera, extractor = state.local_map.keyframes[0].frame.camera, self._matcher.extractor
                self._slam_map = SlamMap(camera, extractor.name, extractor.fingerprint, state.scale)
                self._placed = {state.map_number}
            # Where the odometry continues at a known place, that place does not follow it
            restored = [keyframe.id for keyframe in state.local_map.keyframes if keyframe.is_restored]
            self._frozen = max([self._frozen, *restored])
            state = self._adopt_unit(state)
            state = self._join_odometry_maps(state)
            new = self._storage.store(self._slam_map, state, self._frozen)
            if state.is_placed:
                self._placed.add(state.map_number)
            self._note_placed(self._joined)
            self._joined = frozenset()
        if not self._config.close_loops:
            return self._update()
        # Recognise places and close loops
        local_ids = frozenset(keyframe.id for keyframe in state.local_map.keyframes)
        for id in new:
            self._describe(id)
            loop = self._detector.detect(self._slam_map, id, local_ids)
            if loop is not None:
                self._close(loop)
        self._cull(new, local_ids)
        return self._update()

    def suggest(self, map_from_camera: np.ndarray) -> None:
        """Search for the place of images near a pose (4, 4) first, from any thread."""
        self._localizer.near = map_from_camera

    def localize_frame(self, frame: Frame, features: Features, count: int) -> SlamUpdate:
        """Localise one image in the map, with ``count`` keyframes around it.

        Not in what the odometry has mapped since its place is unknown.
        """
        slam_map = self._slam_map
        unplaced = {keyframe.id for keyframe in slam_map.keyframes if keyframe.map_number not in self._placed}
        return SlamUpdate(found=self._localizer.find(slam_map, self._index, frame, features, count, unplaced))

    @property
    def is_adjustable(self) -> bool:
        """True if loops were closed since the last bundle adjustment of the whole map."""
        return self._adjustment.is_due

    def adjust(self) -> SlamUpdate:
        """Continue the adjustment of the whole map by one slice, and apply it at its end."""
        self._corrections, self._events = {}, []
        finished = self._adjustment.step(self._slam_map)
        if finished is not None:
            with self._lock:
                self._apply_adjustment(finished)
        return self._update()

    def _apply_adjustment(self, adjustment: GlobalAdjustment) -> None:
        """Move the map to the result, balanced with the odometry; later keyframes follow the newest adjusted one."""
        slam_map = self._slam_map
        adjusted = [id for id in adjustment.keyframes if id in slam_map]
        later = [id for id in slam_map.connected(adjusted[0]) if id > adjusted[-1]]
        newest = {slam_map.keyframe(id).map_number: id for id in adjusted}
        before = {number: slam_map.keyframe(id) for number, id in newest.items()}
        edges = [edge for id in later for edge in slam_map.edges_of(id)]
        adjustment.apply(slam_map)
        slam_map.correct(balanced_poses(slam_map, adjusted))
        adjustment.fit_landmarks(slam_map)
        moved = {number: self._moved(old) for number, old in before.items()}
        last = slam_map.keyframe(adjusted[-1]).map_number
        slam_map.transform(moved[last], later)
        for edge in edges:
            slam_map.put_edge(edge)
        self._frozen = max(self._frozen, max(slam_map.ids))
        for number, new_from_old in moved.items():
            self._record(number, new_from_old)

    def _update(self) -> SlamUpdate:
        return SlamUpdate(self._corrections, tuple(self._events), frozenset(self._placed))

    def _cull(self, new: list[int], local_ids: frozenset[int]) -> None:
        """Remove redundant keyframes among those that left the local map and those around the new ones."""
        slam_map = self._slam_map
        around = {other for id in new for other, _ in slam_map.covisible(id, _COVISIBLE_CULLED)}
        candidates = (around | self._last_local_ids) - local_ids - {min(slam_map.ids)}
        self._last_local_ids = local_ids
        if not self._config.cull_keyframes:
            return
        for id in sorted(candidates):
            if id in slam_map and slam_map.is_redundant(id):
                with self._lock:
                    is_culled = slam_map.cull(id)
                if is_culled:
                    self._index.remove(id)

    def _describe(self, id: int) -> None:
        """Compute the place descriptor of a keyframe."""
        keyframe = self._slam_map.keyframe(id)
        vector = self._matcher.place_describer.describe(keyframe.descriptors)
        with self._lock:
            self._slam_map.put_keyframe(replace(keyframe, place_descriptor=vector))
        self._index.add(id, vector)

    def _close(self, loop: Loop) -> None:
        """Correct the map by a loop, and fuse the landmarks on both sides."""
        slam_map, newest = self._slam_map, loop.newest
        edges = [loop_edge(slam_map, place) for place in loop.places]
        if fits(slam_map, edges):
            # The map is right already: what remains is to share the landmarks
            correction = MapCorrection({}, tuple(edges), frozenset())
        else:
            correction = correct_by_loops(slam_map, edges)
        if correction is None:
            _LOG.info("a loop at keyframe %d to keyframe %d contradicts the map", newest.keyframe, newest.place)
            return
        before = slam_map.keyframe(newest.keyframe).center
        with self._lock:
            for edge in correction.loops:
                slam_map.put_edge(edge)
            self._correct(correction)
            for place in loop.places:
                self._fuse(*fused_landmarks(slam_map, place), place.keyframe, place.place)
        ends = [id for place in loop.places for id in (place.keyframe, place.place)]
        self._adjustment.restart({other for id in ends for other, _ in slam_map.covisible(id)} | set(ends))
        after = slam_map.keyframe(newest.keyframe)
        kind = EventKind.MAPS_MERGED if correction.joined else EventKind.LOOP_CLOSED
        self._note_placed(correction.joined)
        moved = float(np.linalg.norm(after.center - before))
        event = SlamEvent(kind, after.stamp_ns, newest.keyframe, newest.place, newest.inliers, moved)
        self._events.append(event)
        _LOG.info("%s", event)

    def _correct(self, correction: MapCorrection) -> None:
        """Apply a correction, and record that of each odometry map at its newest keyframe."""
        slam_map = self._slam_map
        if not correction.poses:
            return
        newest = {slam_map.keyframe(id).map_number: id for id in sorted(correction.poses)}
        before = {number: slam_map.keyframe(id) for number, id in newest.items()}
        slam_map.correct(correction.poses)
        self._frozen = max(self._frozen, max(correction.poses))
        for number, old in before.items():
            self._record(number, self._moved(old))

    def _moved(self, old: StoredKeyframe) -> np.ndarray:
        """Return the similarity (4, 4), new from old, that moved a keyframe; rigid in a map of known unit."""
        new = self._slam_map.keyframe(old.id)
        if self._slam_map.unit is ScaleState.UP_TO_SCALE:
            return new.map_from_local @ invert_similarity(old.map_from_local)
        return new.map_from_camera @ invert(old.map_from_camera)

    def _note_placed(self, joined: Iterable[int]) -> None:
        """Note that keyframes, by id, were connected with another part of the map, which may be the oldest one."""
        numbers = {self._slam_map.keyframe(id).map_number for id in joined}
        if numbers and min(self._slam_map.ids) in self._slam_map.connected(next(iter(joined))):
            self._placed |= numbers

    def _record(self, number: int, new_from_old: np.ndarray) -> None:
        self._corrections[number] = new_from_old @ self._corrections.get(number, np.eye(4))

    def _fuse(self, kept: np.ndarray, replaced: np.ndarray, keyframe: int, place: int) -> None:
        """Fuse landmarks of a keyframe with those of its place, in all keyframes around."""
        slam_map = self._slam_map
        if not len(kept):
            return
        self._storage.aliases.add(kept, replaced)
        around = [keyframe, *(id for id, _ in slam_map.covisible(keyframe, _COVISIBLE_FUSED))]
        slam_map.merge_landmarks(kept, replaced, around)
        beyond = [place, *(id for id, _ in slam_map.covisible(place, _COVISIBLE_FUSED))]
        for id in around:
            slam_map.count_covisibility(id, beyond)

    def _adopt_unit(self, state: OdometryState) -> OdometryState:
        """Rescale the map to the unit of the odometry once that is known."""
        slam_map = self._slam_map
        if slam_map.unit is not ScaleState.UP_TO_SCALE or state.scale is ScaleState.UP_TO_SCALE:
            return state
        slam_map.unit = state.scale
        new_from_old = np.diag(np.append(np.full(3, 1.0 / scale_of(state.map_from_odom)), 1.0))
        slam_map.transform(new_from_old)
        for number in {keyframe.map_number for keyframe in slam_map.keyframes} | {state.map_number}:
            self._record(number, new_from_old)
        return replace(state, map_from_odom=new_from_old @ state.map_from_odom)

    def _join_odometry_maps(self, state: OdometryState) -> OdometryState:
        """Move the parts of the map together that the odometry has merged: the one with the older keyframes stays."""
        slam_map, keyframes = self._slam_map, state.local_map.keyframes
        stored = [k for k in keyframes if k.id in slam_map]
        own = [k for k in stored if slam_map.keyframe(k.id).map_number == state.map_number]
        others = [k for k in stored if slam_map.keyframe(k.id).map_number != state.map_number]
        if not own or not others:
            return state
        parts = slam_map.components()
        mine = next(part for part in parts if own[-1].id in part)
        for keyframe in reversed(others):
            id = keyframe.id
            theirs = next(part for part in parts if id in part)
            if theirs is mine:
                continue
            there = slam_map.keyframe(id)
            moved = state.map_from_odom @ odom_from_local(keyframe) @ invert_similarity(there.map_from_local)
            part = theirs
            if min(theirs) < min(mine):
                part, moved = mine, invert_similarity(moved)
                state = replace(state, map_from_odom=moved @ state.map_from_odom)
            slam_map.transform(moved, part)
            for number in {slam_map.keyframe(other).map_number for other in part}:
                self._record(number, moved)
            distance = float(np.linalg.norm(slam_map.keyframe(id).center - there.center))
            self._events.append(SlamEvent(EventKind.MAPS_MERGED, there.stamp_ns, id, own[-1].id, 0, distance))
            self._joined = frozenset(part)
            break
        return state
