"""Storage of the tracker's keyframes in the map of SLAM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.local_map import LocalMapState
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind, StoredKeyframe
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.datatypes import Features, ScaleState
from ros_matching.geometry.se3 import invert, orthonormalized, transform
from ros_matching.geometry.sim3 import invert_similarity, rigid_part, scale_of, similarity_from

# Standard deviations of an edge: translation as a fraction of the typical depth, rotation in radians, relative scale.
# Larger than the noise between two keyframes: the errors of a chain are not independent, they drift.
_TRANSLATION_STD = 0.02
_ROTATION_STD = 0.008
_SCALE_STD = 0.02
_COVISIBLE = 10  # of each of them, keyframes whose common landmarks are counted
# Direction of gravity of a keyframe: a factor on the standard deviation of the alignment, which many keyframes share,
# the least one in radians, and the fraction of a known one at which a new one replaces it
_DOWN_FACTOR, _DOWN_STD, _DOWN_GAIN = 3.0, 0.005, 1.2
_YOUNG = 20  # keyframes of a map whose direction of gravity is still measured
_REMEASURED = 12  # newest keyframes whose edges follow the adjustments of the tracker


class LandmarkAliases:
    """Landmarks that were fused with others: which to use instead."""

    def __init__(self) -> None:
        self._replaced = np.zeros(0, np.int64)  # increasing
        self._kept = np.zeros(0, np.int64)
        self.version = 0  # number of changes

    def add(self, kept: np.ndarray, replaced: np.ndarray) -> None:
        """Use landmarks ``kept`` (M,) instead of ``replaced`` (M,)."""
        self.version += 1
        kept = self.resolved(kept)
        new = (kept != replaced) & ~np.isin(replaced, self._replaced)
        ids = np.concatenate([self._replaced, replaced[new]])
        order = np.argsort(ids)
        self._replaced, self._kept = ids[order], np.concatenate([self._kept, kept[new]])[order]
        # What was replaced by one that is replaced now
        self._kept = self.resolved(self._kept)

    def resolved(self, ids: np.ndarray) -> np.ndarray:
        """Return the landmarks (N,) to use for landmarks (N,)."""
        if not len(self._replaced):
            return ids
        rows = np.minimum(np.searchsorted(self._replaced, ids), len(self._replaced) - 1)
        return np.where(self._replaced[rows] == ids, self._kept[rows], ids)


@dataclass(frozen=True, eq=False)
class OdometryState:
    """The tracker's active map after a frame.

    ``map_from_odom`` (4, 4) is the similarity of the map from the odometry's world. ``map_number`` is that of the map
    in all sessions; ``is_placed`` if its place in a map made before is known. ``down`` (3,) is the direction of gravity
    in the odometry's world around the newest keyframes, with the standard deviation ``down_std`` in radians, if an IMU
    has measured it.
    """

    local_map: LocalMapState
    map_number: int
    map_from_odom: np.ndarray
    scale: ScaleState
    scale_std: float
    is_placed: bool = False
    down: np.ndarray | None = None
    down_std: float = float("inf")


class KeyframeStorage:
    """Copies new keyframes and their landmarks into the map, and lets those in the local map follow the tracker.

    ``aliases`` replace landmarks of the tracker that a loop has fused with others.
    """

    def __init__(self, config: SlamConfig) -> None:
        self._config = config
        self.aliases = LandmarkAliases()
        self._stored: dict[int, _StoredFrom] = {}

    def store(self, slam_map: SlamMap, state: OdometryState, frozen: int = -1) -> list[int]:
        """Store the state; returns the ids of the new keyframes.

        Keyframes up to id ``frozen`` and landmarks anchored there keep their places, but not their observations.
        """
        keyframes = [k for k in state.local_map.keyframes if k.id not in slam_map.culled and not k.is_restored]
        new = [k.id for k in keyframes if k.id not in slam_map]
        self._store_landmarks(slam_map, state, keyframes, frozen)
        before, self._stored = self._stored, {}
        for keyframe in keyframes:
            id = keyframe.id
            source = self._stored[id] = _StoredFrom(keyframe, state, self.aliases.version)
            if id not in before or not source.equals(before[id]):
                self._store_keyframe(slam_map, state, keyframe, frozen)
        ids = {k.id for k in state.local_map.keyframes if k.id in slam_map}
        # Where a loop was closed, the last keyframes share landmarks with others outside the local map
        near = {other for id in sorted(ids)[-_REMEASURED:] for other, _ in slam_map.covisible(id, _COVISIBLE)}
        for id in new:
            slam_map.count_covisibility(id, ids | near)
        newest = keyframes[-max(_REMEASURED, len(new)) :]
        self._measure_edges(slam_map, state, newest)
        if state.down is not None and newest:
            _store_gravity(slam_map, state, newest)
        return new

    def _store_landmarks(
        self, slam_map: SlamMap, state: OdometryState, keyframes: list[MapKeyframe], frozen: int
    ) -> None:
        """Store the observed landmarks; each is anchored in the oldest keyframe that observes it."""
        if not keyframes:
            return
        local_map, landmarks = state.local_map, slam_map.landmarks
        observed = [keyframe.observed for keyframe in keyframes]  # the oldest keyframe first
        observer = np.repeat([keyframe.id for keyframe in keyframes], [len(ids) for ids in observed])
        local_ids, first = np.unique(np.concatenate(observed), return_index=True)
        ids = self.aliases.resolved(local_ids.astype(np.int64))
        # Of two that were fused, the one in the older keyframe
        order = np.argsort(first, kind="stable")
        ids, unique = np.unique(ids[order], return_index=True)
        rows = order[unique]
        known = landmarks.known(ids)
        moving = ~known
        moving[known] = landmarks.anchors[landmarks.rows(ids[known])] > frozen
        ids, rows = ids[moving], rows[moving]
        places = local_map.positions[np.searchsorted(local_map.ids, local_ids[rows])]
        landmarks.put(ids, transform(state.map_from_odom, places), observer[first[rows]])

    def _store_keyframe(self, slam_map: SlamMap, state: OdometryState, keyframe: MapKeyframe, frozen: int) -> None:
        id = keyframe.id
        before = slam_map.keyframe(id) or self._converted(state, keyframe)
        pose = {}
        if id > frozen:
            similarity = state.map_from_odom @ odom_from_local(keyframe)
            pose = {
                "map_from_camera": orthonormalized(rigid_part(similarity)),
                "scale": float(scale_of(similarity)),
            }
        if state.scale is not ScaleState.UP_TO_SCALE:
            pose |= {"measured_scale": keyframe.unit, "scale_std": state.scale_std}
        slam_map.put_keyframe(
            replace(
                before,
                keypoints_px=keyframe.features.keypoints_px.astype(np.float32),
                landmark_ids=self._stored_ids(keyframe.landmark_ids),
                weights=keyframe.weights.astype(np.float32),
                **pose,
            )
        )

    def _converted(self, state: OdometryState, keyframe: MapKeyframe) -> StoredKeyframe:
        return StoredKeyframe(
            id=keyframe.id,
            stamp_ns=keyframe.frame.stamp_ns,
            map_from_camera=np.eye(4),
            scale=1.0,
            keypoints_px=keyframe.features.keypoints_px.astype(np.float32),
            descriptors=_descriptors(keyframe.features),
            landmark_ids=self._stored_ids(keyframe.landmark_ids),
            weights=keyframe.weights.astype(np.float32),
            jpeg=self._reduced(keyframe.frame.image),
            place_descriptor=np.zeros(0, np.float32),
            map_number=state.map_number,
        )

    def _stored_ids(self, landmark_ids: np.ndarray) -> np.ndarray:
        """Ids in the map of the landmarks (K,) that the keypoints of one keyframe observe."""
        observing = np.flatnonzero(landmark_ids != NO_LANDMARK)
        ids = self.aliases.resolved(landmark_ids[observing].astype(np.int64))
        stored = np.full(len(landmark_ids), NO_LANDMARK, np.int64)
        unique, first = np.unique(ids, return_index=True)
        stored[observing[first]] = unique
        return stored

    def _reduced(self, image: np.ndarray) -> bytes:
        """Encode the image (H, W, 3) with at most the configured width."""
        width = self._config.jpeg_width
        if not width:
            return b""
        if image.shape[1] > width:
            size = width, max(round(image.shape[0] * width / image.shape[1]), 1)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()

    def _measure_edges(self, slam_map: SlamMap, state: OdometryState, newest: list[MapKeyframe]) -> None:
        """Measure the newest keyframes against the last one and those that share most landmarks with them."""
        by_id = {k.id: k for k in state.local_map.keyframes if k.id in slam_map}
        ids = sorted(by_id)
        wanted: list[tuple[EdgeKind, int, int]] = []
        for keyframe in newest:
            id = keyframe.id
            before = [other for other in ids if other < id]
            others = before[-1:]
            covisible = [other for other, _ in slam_map.covisible(id) if other in by_id and other < id]
            others += [other for other in covisible if other not in others][: self._config.covisible_edges]
            for other in others:
                is_next = other == before[-1] and not by_id[other].is_restored
                kind = EdgeKind.ODOMETRY if is_next else EdgeKind.COVISIBILITY
                wanted.append((kind, other, id))
        for edge in _measured(wanted, by_id, state.local_map):
            slam_map.put_edge(edge)


@dataclass(frozen=True, eq=False)
class _StoredFrom:
    """What a stored keyframe was made from, to see whether it has changed."""

    keyframe: MapKeyframe
    state: OdometryState
    aliases: int

    def equals(self, other: _StoredFrom) -> bool:
        mine, before = self.keyframe, other.keyframe
        return (
            mine.features is before.features
            and mine.unit == before.unit
            and self.aliases == other.aliases
            and (self.state.scale, self.state.scale_std) == (other.state.scale, other.state.scale_std)
            and np.array_equal(self.state.map_from_odom, other.state.map_from_odom)
            and np.array_equal(mine.camera_from_world, before.camera_from_world)
            and np.array_equal(mine.landmark_ids, before.landmark_ids)
            and np.array_equal(mine.weights, before.weights)
        )


def _store_gravity(slam_map: SlamMap, state: OdometryState, newest: list[MapKeyframe]) -> None:
    """Store the direction of gravity in the newest keyframes, and in the map while that is young: later it drifts."""
    std = float(np.hypot(_DOWN_FACTOR * state.down_std, _DOWN_STD))
    for keyframe in newest:
        stored = slam_map.keyframe(keyframe.id)
        if stored is not None and std <= _DOWN_GAIN * stored.down_std:
            down = keyframe.camera_from_world[:3, :3] @ state.down
            down /= np.linalg.norm(down)
            slam_map.put_keyframe(replace(stored, down=down, down_std=std))
    is_young = len(slam_map) + len(slam_map.culled) <= _YOUNG
    is_better = slam_map.down is None or (is_young and state.down_std < slam_map.down_std)
    if is_better and min(slam_map.ids) in slam_map.connected(newest[-1].id):
        slam_map.down = rigid_part(state.map_from_odom)[:3, :3] @ state.down
        slam_map.down_std = state.down_std


def odom_from_local(keyframe: MapKeyframe) -> np.ndarray:
    """The similarity (4, 4) of the odometry's world from camera coordinates in the first unit of the keyframe's map."""
    return similarity_from(invert(keyframe.camera_from_world), keyframe.unit)


def _measured(
    wanted: list[tuple[EdgeKind, int, int]], keyframes: Mapping[int, MapKeyframe], local_map: LocalMapState
) -> Iterator[Edge]:
    """Measure edges between keyframes, by id, in the local map."""
    if not wanted:
        return
    used = sorted({id for _, first, second in wanted for id in (first, second)})
    row = {id: row for row, id in enumerate(used)}
    odom_from_camera = np.stack([odom_from_local(keyframes[id]) for id in used])
    camera_from_odom = invert_similarity(odom_from_camera)
    firsts, seconds = ([row[pair[place]] for pair in wanted] for place in (1, 2))
    relative = camera_from_odom[firsts] @ odom_from_camera[seconds]
    depths = {id: _typical_depth(keyframes[id], local_map) / keyframes[id].unit for id in {pair[1] for pair in wanted}}
    for (kind, first, second), first_from_second in zip(wanted, relative, strict=True):
        stds = np.repeat([_TRANSLATION_STD * depths[first], _ROTATION_STD, _SCALE_STD], [3, 3, 1])
        yield Edge(kind, first, second, first_from_second, np.diag(stds**2))


def _typical_depth(keyframe: MapKeyframe, local_map: LocalMapState) -> float:
    """Median depth of the landmarks of a keyframe; of all landmarks if it observes none."""
    positions = local_map.positions[np.searchsorted(local_map.ids, keyframe.observed)]
    points = transform(keyframe.camera_from_world, positions if len(positions) else local_map.positions)
    return float(np.median(np.abs(points[:, 2]))) if len(points) else 1.0


def _descriptors(features: Features) -> np.ndarray:
    """Descriptors (K, D) in host memory: float16, or as they are if they are binary."""
    descriptors = features.descriptors
    if not isinstance(descriptors, np.ndarray):
        descriptors = descriptors.detach().cpu().numpy()
    return descriptors if descriptors.dtype == np.uint8 else descriptors.astype(np.float16)
