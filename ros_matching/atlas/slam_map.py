"""The map that SLAM keeps: all keyframes, their landmarks, covisibility, and constraints between keyframes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from ros_matching.atlas.keyframe_graph import Covisibility, KeyframeEdges
from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.landmark_table import LandmarkTable
from ros_matching.atlas.stored_keyframes import CulledKeyframe, Edge, StoredKeyframe
from ros_matching.datatypes import Camera, ScaleState
from ros_matching.errors import DataTypeError
from ros_matching.geometry.se3 import orthonormalized, transform
from ros_matching.geometry.sim3 import (
    invert_similarity,
    rigid_part,
    scale_of,
    similarity_from,
)

# A keyframe is redundant if this fraction of its landmarks is observed by so many others.
_REDUNDANT_FRACTION = 0.9
_REDUNDANT_OBSERVERS = 3
_APART = 20


class SlamMap:
    """Keyframes and landmarks in one frame, ``map``, that of the first keyframe.

    ``camera`` is that of all keyframes; ``extractor`` and ``fingerprint`` are the name and the hash of the weights of
    the extractor that described them. ``unit`` is the unit of all lengths in the map. ``down`` (3,) is the direction of
    gravity in the map, with the standard deviation ``down_std`` in radians; ``None`` while no IMU has measured it. Not
    thread-safe: ``snapshot`` makes a copy for other threads, and keyframes and edges are immutable.
    """

    def __init__(
        self, camera: Camera, extractor: str, fingerprint: str, unit: ScaleState = ScaleState.UP_TO_SCALE
    ) -> None:
        self.camera = camera
        self.extractor = extractor
        self.fingerprint = fingerprint
        self.unit = unit
        self.down: np.ndarray | None = None
        self.down_std = float("inf")
        self.landmarks = LandmarkTable()
        self._keyframes: dict[int, StoredKeyframe] = {}
        self._edges = KeyframeEdges()
        self._covisibility = Covisibility()
        self._culled: dict[int, CulledKeyframe] = {}

    # Contents

    def __len__(self) -> int:
        return len(self._keyframes)

    def __contains__(self, id: int) -> bool:
        return id in self._keyframes

    @property
    def keyframes(self) -> list[StoredKeyframe]:
        """The keyframes in the order of their ids."""
        return [self._keyframes[id] for id in sorted(self._keyframes)]

    @property
    def ids(self) -> list[int]:
        """Ids of the keyframes, increasing."""
        return sorted(self._keyframes)

    @property
    def edges(self) -> list[Edge]:
        """The constraints between keyframes; at most one for each pair."""
        return self._edges.all()

    @property
    def culled(self) -> Mapping[int, CulledKeyframe]:
        """The removed keyframes by id."""
        return self._culled

    @property
    def next_keyframe_id(self) -> int:
        """An id above those of all keyframes, also of culled ones."""
        return max([*self._keyframes, *self._culled], default=-1) + 1

    @property
    def next_map_number(self) -> int:
        """A number above those of all odometry maps."""
        return max((keyframe.map_number for keyframe in self._keyframes.values()), default=0) + 1

    @property
    def nbytes(self) -> int:
        """Memory of keyframes and landmarks."""
        return self.landmarks.nbytes + sum(keyframe.nbytes for keyframe in self._keyframes.values())

    def keyframe(self, id: int) -> StoredKeyframe | None:
        """The keyframe with an id; ``None`` if it is not in the map."""
        return self._keyframes.get(id)

    def pose_of(self, id: int) -> tuple[np.ndarray, float] | None:
        """Return ``map_from_camera`` (4, 4) and the scale of a keyframe, also of a culled one; ``None`` if unknown."""
        if id in self._keyframes:
            return self._keyframes[id].map_from_camera, self._keyframes[id].scale
        if id not in self._culled:
            return None
        culled = self._culled[id]
        similarity = self._keyframes[culled.parent].map_from_local @ culled.parent_from_camera
        return orthonormalized(rigid_part(similarity)), self._keyframes[culled.parent].scale * culled.scale

    def map_number_of(self, id: int) -> int:
        """Number of the odometry map of a keyframe, for a culled one that of the keyframe it follows."""
        return self._keyframes[self._culled[id].parent if id in self._culled else id].map_number

    def edges_of(self, id: int) -> list[Edge]:
        """The constraints of a keyframe."""
        return self._edges.of(id)

    def covisible(self, id: int, count: int | None = None) -> list[tuple[int, int]]:
        """Up to ``count`` other keyframes that share landmarks with this one: (id, number shared), most first."""
        return self._covisibility.ranked(id, count)

    def covisibility(self) -> list[tuple[int, int, int]]:
        """All pairs of keyframes that share landmarks: (id, larger id, number shared)."""
        return self._covisibility.pairs()

    def place_descriptors(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids (N,) and place descriptors (N, P) of the keyframes that have one, in the order of ids."""
        have = [keyframe for keyframe in self.keyframes if len(keyframe.place_descriptor)]
        if not have:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        return np.array([k.id for k in have]), np.stack([k.place_descriptor for k in have])

    def components(self) -> list[list[int]]:
        """Ids of the keyframes that edges connect, one list for each part, the largest part first."""
        left, found = set(self._keyframes), []
        for id in self.ids:
            if id in left:
                part = self.connected(id)
                left -= part
                found.append(sorted(part))
        return sorted(found, key=len, reverse=True)

    def connected(self, id: int) -> set[int]:
        """Ids of the keyframes that edges connect with one, itself included."""
        return self._edges.connected(id)

    def snapshot(self) -> SlamMap:
        """Return an independent copy; keyframes and edges are shared, as they are immutable."""
        copy = SlamMap(self.camera, self.extractor, self.fingerprint, self.unit)
        copy.down, copy.down_std = self.down, self.down_std
        copy.landmarks = self.landmarks.copy()
        copy._keyframes, copy._culled = dict(self._keyframes), dict(self._culled)
        copy._edges, copy._covisibility = self._edges.copy(), self._covisibility.copy()
        return copy

    # Changes

    def put_keyframe(self, keyframe: StoredKeyframe) -> None:
        """Add a keyframe, or replace the one with its id. Its landmarks must be in ``landmarks``."""
        observed = np.unique(keyframe.observed)
        if not self.landmarks.known(observed).all():
            raise DataTypeError(
                f"keyframe {keyframe.id} observes landmarks that the map does not have; put its landmarks first"
            )
        if keyframe.id in self._keyframes:
            self.landmarks.observe(np.unique(self._keyframes[keyframe.id].observed), -1)
        self.landmarks.observe(observed, 1)
        self._keyframes[keyframe.id] = keyframe

    def put_edge(self, edge: Edge) -> None:
        """Add a constraint, or replace that between the same keyframes."""
        for id in (edge.first, edge.second):
            if id not in self._keyframes:
                raise DataTypeError(f"edge from keyframe {edge.first} to {edge.second}: {id} is not in the map")
        self._edges.put(edge)

    def count_covisibility(self, id: int, others: Iterable[int]) -> None:
        """Count the landmarks that a keyframe shares with others."""
        others = [other for other in others if other != id and other in self._keyframes]
        if not others:
            return
        observed = [self._keyframes[other].observed for other in others]
        is_shared = np.isin(np.concatenate(observed), self._keyframes[id].observed)
        ends = np.cumsum([len(ids) for ids in observed])
        counts = np.diff(np.concatenate([[0], np.cumsum(is_shared)])[np.concatenate([[0], ends])])
        for other, shared in zip(others, counts.tolist(), strict=True):
            self._covisibility.put(id, other, shared)

    def set_covisibility(self, pairs: Iterable[tuple[int, int, int]]) -> None:
        """Set how many landmarks pairs of keyframes share: (id, other id, number), as ``covisibility`` returns them."""
        self._covisibility.set_pairs(pairs)

    def put_culled(self, id: int, culled: CulledKeyframe) -> None:
        """Add a keyframe that was removed; the one that it follows must be in the map."""
        if culled.parent not in self._keyframes or id in self._keyframes:
            raise DataTypeError(f"culled keyframe {id} must follow one of the map, and not be in it")
        self._culled[id] = culled

    def merge_landmarks(self, kept: np.ndarray, replaced: np.ndarray, keyframes: Iterable[int]) -> None:
        """Let the given keyframes, all observers of landmarks ``replaced`` (N,), observe ``kept`` (N,) instead.

        A keyframe that already observes ``kept`` loses its observation of the other.
        """
        order = np.argsort(replaced)
        kept, replaced = kept[order], replaced[order]
        for id in keyframes:
            keyframe = self._keyframes[id]
            ids = keyframe.landmark_ids.copy()
            places = np.minimum(np.searchsorted(replaced, ids), len(replaced) - 1)
            changed = np.flatnonzero(replaced[places] == ids)
            new = kept[places[changed]]
            twice = np.isin(new, ids)
            twice[np.setdiff1d(np.arange(len(new)), np.unique(new, return_index=True)[1])] = True
            ids[changed] = np.where(twice, NO_LANDMARK, new)
            if len(changed):
                self.put_keyframe(replace(keyframe, landmark_ids=ids))

    def correct(self, poses: Mapping[int, tuple[np.ndarray, float]]) -> None:
        """Set ``map_from_camera`` (4, 4) and the scale of keyframes by id; landmarks move with their anchors."""
        moves = {}
        for id, (pose, scale) in poses.items():
            before = self._keyframes[id]
            moved = replace(before, map_from_camera=orthonormalized(pose), scale=float(scale))
            self._keyframes[id] = moved
            moves[id] = moved.map_from_local @ invert_similarity(before.map_from_local)
        self._move_landmarks(moves)

    def transform(self, new_from_old: np.ndarray, ids: Iterable[int] | None = None) -> None:
        """Apply a similarity (4, 4) to all keyframes, or to some of them by id, and to the landmarks that follow."""
        poses = {}
        for id in self._keyframes if ids is None else ids:
            moved = new_from_old @ self._keyframes[id].map_from_local
            poses[id] = rigid_part(moved), float(scale_of(moved))
        self.correct(poses)

    def is_redundant(self, id: int, apart: int = _APART) -> bool:
        """Return True if enough other keyframes observe nearly all landmarks of a keyframe.

        Those less than ``apart`` ids away, its neighbours in time, do not count: they share its errors, and a chain
        with fewer keyframes drifts more. So a place that is visited often has a bounded number of keyframes.
        """
        observed = np.unique(self._keyframes[id].observed)
        others = [other for other in self._covisibility.of(id) if abs(other - id) >= apart]
        if not len(observed) or len(others) < _REDUNDANT_OBSERVERS:
            return False
        counts = sum(np.isin(observed, self._keyframes[other].observed).astype(np.intp) for other in others)
        return float(np.mean(counts >= _REDUNDANT_OBSERVERS)) >= _REDUNDANT_FRACTION

    def cull(self, id: int) -> bool:
        """Remove a keyframe; its edges and what follows it continue at its best connected neighbour.

        Returns False, and changes nothing, if no edge connects it.
        """
        if not self.edges_of(id):
            return False
        gone, link = self._keyframes[id], self._edges.best(id)
        parent = link.second
        parent_from_gone = invert_similarity(link.first_from_second)
        relative = CulledKeyframe(parent, rigid_part(parent_from_gone), float(scale_of(parent_from_gone)))
        self._edges.relink(id, link)
        self._culled[id] = relative
        for other, culled in list(self._culled.items()):
            if culled.parent == id:
                moved = parent_from_gone @ similarity_from(culled.parent_from_camera, culled.scale)
                self._culled[other] = CulledKeyframe(parent, rigid_part(moved), float(scale_of(moved)))
        self._remove(gone)
        return True

    def remove(self, id: int) -> None:
        """Remove a keyframe with its edges, and the landmarks that no other observes."""
        self._edges.remove(id)
        self._remove(self._keyframes[id])

    def _remove(self, keyframe: StoredKeyframe) -> None:
        id, observed = keyframe.id, np.unique(keyframe.observed)
        self.landmarks.observe(observed, -1)
        del self._keyframes[id]
        others = self._covisibility.remove(id)
        following = self.landmarks.ids[self.landmarks.anchors == id]
        for other in sorted(others, key=lambda other: -others[other]):
            mine = np.isin(following, self._keyframes[other].observed)
            self.landmarks.set_anchor(following[mine], other)
            following = following[~mine]
        self.landmarks.remove_unobserved()

    def _move_landmarks(self, moves: Mapping[int, np.ndarray]) -> None:
        """Apply the similarity (4, 4) of each moved keyframe to the landmarks that follow it."""
        if not moves or not len(self.landmarks):
            return
        ids = np.array(sorted(moves))
        rows = np.minimum(np.searchsorted(ids, self.landmarks.anchors), len(ids) - 1)
        follow = np.flatnonzero(ids[rows] == self.landmarks.anchors)
        stacked = np.stack([moves[id] for id in ids.tolist()])[rows[follow]]
        positions = self.landmarks.positions
        positions[follow] = transform(stacked, positions[follow, None])[:, 0]
