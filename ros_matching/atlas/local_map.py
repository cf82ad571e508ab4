"""Local map: recent keyframes and the landmarks that they observe, bounded in size.

The landmarks are rows of arrays in the order of their ids (``local_landmarks``), so that projection, matching and
bundle adjustment are array operations. Outside this folder landmarks are referred to by id. A landmark exists as long
as two keyframes observe it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe, Observations, observation_weights
from ros_matching.atlas.local_landmarks import LocalLandmarks
from ros_matching.datatypes import Camera, Features, Frame, Keyframe, Matches, ScaleState
from ros_matching.geometry.bundle_covariance import step_lengths
from ros_matching.geometry.se3 import invert, pose_from, transform
from ros_matching.geometry.sim3 import rigid_part, scale_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ros_matching.datatypes import Array

_ID_BITS = 32  # landmark ids of a map start at the id of its first keyframe, shifted by so many bits


@dataclass
class MapChanges:
    """Changes of a map since its last ``snapshot``, which an update made from that snapshot must repeat or follow.

    ``similarities`` are (factor, centre (3,), new_from_old (4, 4)) in their order; ``merged`` are pairs of arrays of
    landmark ids, those kept and those replaced by them.
    """

    similarities: list[tuple[float, np.ndarray, np.ndarray]] = field(default_factory=list)
    merged: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Factor on all lengths."""
        return math.prod(factor for factor, _, _ in self.similarities)


@dataclass(frozen=True, eq=False)
class LocalMapState:
    """Keyframes of a local map at one time, and its landmarks: ``ids`` (N,), increasing, and ``positions`` (N, 3)."""

    keyframes: tuple[MapKeyframe, ...]
    ids: np.ndarray
    positions: np.ndarray


class LocalMap:
    """Keyframes in the order of time, and landmarks with ``ids`` (N,), unique in all maps of one atlas."""

    def __init__(self, camera: Camera, max_keyframes: int, first_keyframe_id: int = 0) -> None:
        self.camera = camera
        self.keyframes: list[MapKeyframe] = []
        self.next_keyframe_id = first_keyframe_id
        self.changes = MapChanges()
        self._landmarks = LocalLandmarks(first_keyframe_id << _ID_BITS)
        self._max_keyframes = max_keyframes
        self._typical_depth = float("nan")

    @classmethod
    def restored(
        cls,
        camera: Camera,
        max_keyframes: int,
        next_keyframe_id: int,
        keyframes: list[MapKeyframe],
        landmarks: tuple[np.ndarray, np.ndarray, Array],
    ) -> LocalMap:
        """Return a map of keyframes, whose ids are smaller than ``next_keyframe_id``, and their landmarks.

        ``landmarks`` are ids (N,), increasing, positions (N, 3) and descriptors (N, D).
        """
        local_map = cls(camera, max_keyframes, next_keyframe_id)
        local_map.keyframes = keyframes
        made = local_map._landmarks
        made.ids, made.positions, made.descriptors = landmarks
        return local_map

    def __len__(self) -> int:
        return len(self._landmarks)

    @property
    def ids(self) -> np.ndarray:
        """Ids (N,) of all landmarks, increasing."""
        return self._landmarks.ids

    @property
    def positions(self) -> np.ndarray:
        """Positions (N, 3) of all landmarks, in the order of ``ids``."""
        return self._landmarks.positions

    @property
    def descriptors(self) -> Array | None:
        """Descriptors (N, D) of all landmarks, in the order of ``ids``; ``None`` before the first landmark."""
        return self._landmarks.descriptors

    def positions_of(self, ids: np.ndarray) -> np.ndarray:
        """Positions (K, 3) of landmarks (K,)."""
        return self._landmarks.positions[self._rows(ids)]

    def descriptors_of(self, ids: np.ndarray) -> Array:
        """Descriptors (K, D) of landmarks (K,)."""
        return self._landmarks.descriptors[self._rows(ids)]

    def keyframe(self, id: int) -> MapKeyframe | None:
        """The keyframe with an id; ``None`` if it is no longer in the map."""
        return next((keyframe for keyframe in reversed(self.keyframes) if keyframe.id == id), None)

    def snapshot(self) -> LocalMap:
        """Return an independent copy for the back end; ``changes`` of both start empty."""
        copy = LocalMap(self.camera, self._max_keyframes)
        copy.keyframes = [keyframe.copy() for keyframe in self.keyframes]
        copy._landmarks, copy.next_keyframe_id = self._landmarks.copy(), self.next_keyframe_id
        copy._typical_depth = self._typical_depth
        self.changes = MapChanges()
        return copy

    def state(self) -> LocalMapState:
        """Return a copy of the keyframes and landmark positions for reading."""
        return LocalMapState(tuple(keyframe.copy() for keyframe in self.keyframes), self.ids, self.positions.copy())

    def add_keyframe(
        self,
        frame: Frame,
        features: Features,
        camera_from_world: np.ndarray,
        landmark_ids: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> MapKeyframe:
        """Append a keyframe, and drop the oldest beyond the limit. Unless given, ``weights`` (K,) are all one."""
        weights = np.ones(len(features)) if weights is None else weights
        unit = self.keyframes[-1].unit if self.keyframes else 1.0
        keyframe = MapKeyframe(self.next_keyframe_id, frame, features, camera_from_world, landmark_ids, weights, unit)
        self.next_keyframe_id += 1
        self.append(keyframe)
        return keyframe

    def append(self, keyframe: MapKeyframe) -> None:
        """Append a keyframe that observes landmarks of this map alone, and drop the oldest beyond the limit."""
        self.keyframes.append(keyframe)
        if len(self.keyframes) > self._max_keyframes:
            self.keyframes = self.keyframes[-self._max_keyframes :]
            self.remove_unsupported()
        observes = keyframe.landmark_ids != NO_LANDMARK
        if observes.any():
            # The newest view of a landmark is most similar to the next one
            self._landmarks.descriptors[self._rows(keyframe.landmark_ids[observes])] = keyframe.features.descriptors[
                observes
            ]

    def add_landmarks(
        self,
        positions: np.ndarray,
        keyframe0: MapKeyframe,
        keyframe1: MapKeyframe,
        matches: Matches,
    ) -> None:
        """Add landmarks (N, 3), each observed by both sides of one of the matches (N) of two keyframes."""
        ids = self.append_landmarks(positions, keyframe1.features.descriptors[matches.indices1])
        weights = observation_weights(matches)
        keyframe0.observe(matches.indices0, ids, matches.points0, weights)
        keyframe1.observe(matches.indices1, ids, matches.points1, weights)

    def append_landmarks(self, positions: np.ndarray, descriptors: Array) -> np.ndarray:
        """Add landmarks (N, 3) with descriptors (N, D) that no keyframe observes yet; returns their ids (N,)."""
        return self._landmarks.append(positions, descriptors)

    def move_landmarks(self, ids: np.ndarray, positions: np.ndarray) -> None:
        """Set the positions (K, 3) of landmarks (K,)."""
        self._landmarks.positions[self._rows(ids)] = positions

    def merge_landmarks(self, kept: np.ndarray, replaced: np.ndarray) -> None:
        """Move the observations of landmarks ``replaced`` (N,) to ``kept`` (N,)."""
        replacement = self.ids.copy()
        replacement[self._rows(replaced)] = kept
        for keyframe in self.keyframes:
            mine = keyframe.landmark_ids != NO_LANDMARK
            keyframe.landmark_ids[mine] = replacement[self._rows(keyframe.landmark_ids[mine])]
        self.changes.merged.append((kept, replaced))

    def visible(self, camera_from_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids (V,) and predicted pixels (V, 2) of the landmarks inside the image of a camera."""
        pixels = self.camera.project(transform(camera_from_world, self.positions))
        with np.errstate(invalid="ignore"):
            inside = ((pixels >= 0) & (pixels <= (self.camera.width - 1, self.camera.height - 1))).all(axis=1)
        rows = np.flatnonzero(inside)
        return self.ids[rows], pixels[rows]

    def shared_counts(self, landmark_ids: np.ndarray) -> np.ndarray:
        """Number of the given landmarks that each keyframe observes."""
        wanted = np.zeros(len(self), dtype=bool)
        wanted[self._rows(landmark_ids)] = True
        return np.array([np.count_nonzero(wanted[self._rows(keyframe.observed)]) for keyframe in self.keyframes])

    def covisible(self, keyframe: MapKeyframe, count: int) -> list[MapKeyframe]:
        """Up to ``count`` other keyframes that share the most landmarks with this one, most first."""
        shared = self.shared_counts(keyframe.observed)
        order = np.argsort(-shared, kind="stable")
        return [self.keyframes[row] for row in order if shared[row] > 0 and self.keyframes[row] is not keyframe][:count]

    def latest_observations(
        self, landmark_ids: np.ndarray, first: MapKeyframe
    ) -> list[tuple[MapKeyframe, np.ndarray, np.ndarray]]:
        """The latest observation of each landmark (N,): keyframes with rows of ``landmark_ids`` and of their keypoints.

        Each landmark comes once: in ``first`` if that observes it, else in the newest keyframe that does.
        """
        row_of = np.full(len(self), -1)
        row_of[self._rows(landmark_ids)] = np.arange(len(landmark_ids))
        found = []
        for keyframe in [first, *reversed(self.keyframes)]:
            keypoints = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
            landmarks = self._rows(keyframe.landmark_ids[keypoints])
            wanted = row_of[landmarks] >= 0
            if wanted.any():
                found.append((keyframe, row_of[landmarks[wanted]], keypoints[wanted]))
                row_of[landmarks[wanted]] = -1
        return found

    def observations(self, keyframes: list[MapKeyframe]) -> Observations:
        """All observations of landmarks in the given keyframes."""
        rows = [np.flatnonzero(k.landmark_ids != NO_LANDMARK) for k in keyframes]
        return Observations(
            keyframe=np.repeat(np.arange(len(keyframes)), [len(r) for r in rows]),
            landmark=np.concatenate([k.landmark_ids[r] for k, r in zip(keyframes, rows, strict=True)]),
            keypoint=np.concatenate(rows),
            points_px=np.concatenate([k.features.keypoints_px[r] for k, r in zip(keyframes, rows, strict=True)]),
            weights=np.concatenate([k.weights[r] for k, r in zip(keyframes, rows, strict=True)]),
        )

    def remove_unsupported(self) -> None:
        """Remove landmarks that fewer than two keyframes observe.

        A landmark observed by two keypoints of one keyframe is a false merge: only its first observation stays.
        """
        support = np.zeros(len(self), dtype=np.intp)
        for keyframe in self.keyframes:
            keypoints = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
            unique, first = np.unique(self._rows(keyframe.landmark_ids[keypoints]), return_index=True)
            keyframe.landmark_ids[np.delete(keypoints, first)] = NO_LANDMARK
            support[unique] += 1
        alive = support >= 2
        for keyframe in self.keyframes:
            keypoints = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
            dead = ~alive[self._rows(keyframe.landmark_ids[keypoints])]
            keyframe.landmark_ids[keypoints[dead]] = NO_LANDMARK
        self._landmarks.select(alive)
        self._update_typical_depth()

    def known(self, landmark_ids: np.ndarray) -> np.ndarray:
        """True (K,) where a landmark (K,) is in the map; ``NO_LANDMARK`` never is."""
        return self._landmarks.known(landmark_ids)

    def scale_to_depth(self, depth: float) -> None:
        """Scale the map about its first keyframe so that the median depth of that keyframe's landmarks is ``depth``."""
        first = self.keyframes[0]
        self.rescale(depth / self._median_depth(first), first.center)

    def rescale(self, factor: float, about: np.ndarray) -> None:
        """Multiply all lengths by ``factor``; the point ``about`` (3,) of the world is fixed."""
        if factor == 1.0:
            return
        self._landmarks.rescale(factor, about)
        for keyframe in self.keyframes:
            center = about + factor * (keyframe.center - about)
            rotation = keyframe.camera_from_world[:3, :3]
            keyframe.camera_from_world = pose_from(rotation, -rotation @ center)
            keyframe.unit *= factor
            keyframe.by_intrinsics = keyframe.by_intrinsics * step_lengths(factor, 1)[:, None]
        self._update_typical_depth()
        self.changes.similarities.append((factor, about, np.eye(4)))

    def move(self, new_from_old: np.ndarray) -> None:
        """Apply a rigid transform (4, 4) of the world to the whole map."""
        self._landmarks.transform(new_from_old)
        old_from_new = invert(new_from_old)
        for keyframe in self.keyframes:
            keyframe.camera_from_world = keyframe.camera_from_world @ old_from_new
        self.changes.similarities.append((1.0, np.zeros(3), new_from_old))

    def transform(self, new_from_old: np.ndarray) -> None:
        """Apply a similarity (4, 4) of the world to the whole map."""
        self.rescale(float(scale_of(new_from_old)), np.zeros(3))
        self.move(rigid_part(new_from_old))

    def repeat(self, similarities: Iterable[tuple[float, np.ndarray, np.ndarray]]) -> None:
        """Apply similarities as recorded in ``changes`` of another map."""
        for factor, about, new_from_old in similarities:
            if factor == 1.0:
                self.move(new_from_old)
            else:
                self.rescale(factor, about)

    def merge_map(self, other: LocalMap, keyframe: MapKeyframe, place: MapKeyframe, landmark_ids: np.ndarray) -> None:
        """Merge another map, which lies in the same world, into this one, at a keyframe localised in both.

        The keypoints of ``keyframe``, of this map, observe landmarks ``landmark_ids`` (K,) of the other. Of the other
        map, its keyframe ``place`` and those that share most landmarks with it are merged, up to half of the limit;
        they are ordered before the last ones of this map. The other map is not changed.
        """
        room = max(self._max_keyframes // 2, self._max_keyframes - len(self.keyframes))
        taken = [place, *other.covisible(place, room - 1)]
        taken = [k.copy() for k in sorted(taken, key=lambda k: k.id)]
        self._landmarks.add_all(other._landmarks)
        self.keyframes = [*taken, *self.keyframes[len(taken) - self._max_keyframes :]]
        self.next_keyframe_id = max(self.next_keyframe_id, other.next_keyframe_id)
        theirs = landmark_ids != NO_LANDMARK
        mine = keyframe.landmark_ids != NO_LANDMARK
        both, only_theirs = theirs & mine, theirs & ~mine
        self.merge_landmarks(landmark_ids[both], keyframe.landmark_ids[both])
        keyframe.landmark_ids[only_theirs] = landmark_ids[only_theirs]
        self.remove_unsupported()

    @property
    def typical_depth(self) -> float:
        """Median depth of the landmarks of the newest keyframe that observes any, or of the last one that did.

        After a long pure rotation no keyframe observes landmarks.
        """
        return self._typical_depth

    def _update_typical_depth(self) -> None:
        newest = next((k for k in reversed(self.keyframes) if len(k.observed)), None)
        if newest is not None:
            self._typical_depth = self._median_depth(newest)

    def _median_depth(self, keyframe: MapKeyframe) -> float:
        return float(np.median(transform(keyframe.camera_from_world, self.positions_of(keyframe.observed))[:, 2]))

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        return self._landmarks.rows(ids)

    def exported(self, keyframe: MapKeyframe, scale: ScaleState, map_id: int = 0) -> Keyframe:
        """Return the keyframe for dense mapping, with its observed landmarks as sparse depths."""
        rows = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
        points = transform(keyframe.camera_from_world, self.positions_of(keyframe.landmark_ids[rows]))
        in_front = points[:, 2] > 0
        return Keyframe(
            id=keyframe.id,
            frame=keyframe.frame,
            world_from_camera=invert(keyframe.camera_from_world),
            sparse_points_px=keyframe.features.keypoints_px[rows[in_front]],
            sparse_depths=points[in_front, 2],
            scale=scale,
            features=keyframe.features,
            map_id=map_id,
            sparse_point_ids=keyframe.landmark_ids[rows[in_front]],
        )
