"""Refusal of loops between places that look alike: implausible drift, and other places that fit as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import EdgeKind
from ros_matching.backend.loop_verification import VerifiedPlace
from ros_matching.geometry.se3 import rotation_angle_deg, transform
from ros_matching.geometry.sim3 import rigid_part, scale_of

# Largest drift of the odometry as a fraction of the way, which is distance in typical depths plus rotation in radians:
# position in typical depths, rotation in radians, logarithm of the scale. Measured: 0.001 to 0.01 of the first; a
# monocular camera loses the scale faster in turns. A loop may imply as much and a little more.
_MAX_DRIFT = 0.06, 0.02, 0.04
_MAX_DRIFT_START = 0.15, 0.07, 0.12
# Where nothing is known about the way: least support of a place. Measured: look-alikes 0.03 to 0.25, mostly below 0.2,
# true places from 0.23 on.
_LEAST_SUPPORT = 0.2
_SHORTEST = 1e-9  # way of an edge: a zero would be no edge
_SAME_VIEW = 0.4  # largest distance of poses by two places, in typical depths, plus rotation in radians
# A place counts as a look-alike if it has so much of the inliers.
_COMPARABLE = 0.5
# A correction is plausible if it is smaller by this factor than those by which look-alikes of the place are wrong.
_LOOK_ALIKE_RATIO = 3.0


@dataclass(frozen=True)
class Displacement:
    """What a verified place implies for its keyframe: distance in typical depths, rotation in radians, log scale."""

    distance: float
    rotation: float
    log_scale: float

    @classmethod
    def of(cls, slam_map: SlamMap, found: VerifiedPlace) -> Displacement:
        """Compare a verified place with the map."""
        pose = slam_map.keyframe(found.keyframe).map_from_camera
        corrected = correction_by(slam_map, found) @ pose
        rotation = rigid_part(corrected)[:3, :3].T @ pose[:3, :3]
        distance = np.linalg.norm(corrected[:3, 3] - pose[:3, 3]) / typical_depth(slam_map, found.keyframe)
        return cls(
            float(distance), float(np.radians(rotation_angle_deg(rotation))), abs(float(np.log(scale_of(corrected))))
        )

    def __str__(self) -> str:
        turn, scale = np.degrees(self.rotation), 100 * np.expm1(self.log_scale)
        return f"{self.distance:.2f} typical depths, {turn:.1f} degrees and {scale:.0f} % of scale"

    @property
    def size(self) -> float:
        """Distance plus rotation."""
        return self.distance + self.rotation

    def exceeds(self, way: float) -> bool:
        """Return True if the odometry does not drift so much on a way."""
        bounds = np.array(_MAX_DRIFT_START) + np.array(_MAX_DRIFT) * way
        return bool((np.array([self.distance, self.rotation, self.log_scale]) > bounds).any())


class LoopJudge:
    """Refuses loops that only look right.

    ``alternatives`` returns the strong places (``VerifiedPlace``) of a keyframe that are not around the ids given.
    """

    def __init__(self, alternatives: Callable[[SlamMap, int, Iterable[int]], Iterable[VerifiedPlace]]) -> None:
        self._alternatives = alternatives
        self._depths: dict[int, float] = {}  # typical depths by keyframe id

    def refusal(self, slam_map: SlamMap, found: VerifiedPlace) -> str:
        """Return why a verified place must not be used, empty if it may.

        Its correction must not exceed what the odometry can have drifted on the way between both. If its keyframe or
        its place also fits places where they cannot be about as well, there are look-alikes: then the correction must
        be much smaller than the distances to those. Where nothing is known about the way, any look-alike is one too
        many, and most of what should be visible must be found.
        """
        moved = Displacement.of(slam_map, found)
        if not moved.exceeds(0.0) and found.place in slam_map.connected(found.keyframe):
            return ""  # the map is nearly right
        ways = self.ways(slam_map)
        way = ways.between(found.keyframe, found.place)
        if way is not None and moved.exceeds(way):
            return f"the odometry does not drift by {moved} on a way of {way:.0f} typical depths"
        if way is None and found.support < _LEAST_SUPPORT:
            return f"only {100 * found.support:.0f} % of the landmarks that should be visible there are"
        for id, near in ((found.keyframe, found.place), (found.place, found.keyframe)):
            for other in self._alternatives(slam_map, id, (near, id)):
                if other.inliers < _COMPARABLE * found.inliers:
                    continue
                if _is_look_alike(slam_map, ways, found, other, moved if way is not None else None):
                    return f"keyframe {other.keyframe} looks like keyframe {other.place}, at another place"
        return ""

    def ways(self, slam_map: SlamMap) -> Ways:
        """Return the ways through the graph as it is."""
        for keyframe in slam_map.keyframes:
            if keyframe.id not in self._depths:
                self._depths[keyframe.id] = typical_depth(slam_map, keyframe.id)
        return Ways(slam_map, self._depths)


class Ways:
    """Shortest ways between keyframes through the graph: distances in typical depths plus rotations in radians.

    Loops that are closed are no way: there the drift is corrected.
    """

    def __init__(self, slam_map: SlamMap, depths: Mapping[int, float]) -> None:
        """``depths`` are typical depths by keyframe id."""
        ids = slam_map.ids
        self._row = {id: row for row, id in enumerate(ids)}
        self._from: dict[int, np.ndarray] = {}
        edges = slam_map.edges
        first, second = (
            [self._row[id] for id in column] for column in ([e.first for e in edges], [e.second for e in edges])
        )
        poses = np.stack([slam_map.keyframe(id).map_from_camera for id in ids])
        depth = np.array([depths[id] for id in ids])
        steps = view_difference(poses[first], poses[second], depth[second]) if edges else np.zeros(0)
        steps[[edge.kind is EdgeKind.LOOP for edge in edges]] = 0.0
        self._graph = coo_array((np.maximum(steps, _SHORTEST), (first, second)), shape=(len(ids), len(ids))).tocsr()

    def between(self, first: int, second: int) -> float | None:
        """Length of the way between two keyframes, by id; ``None`` if no edges connect them."""
        if first not in self._from:
            self._from[first] = dijkstra(self._graph, directed=False, indices=self._row[first])
        length = float(self._from[first][self._row[second]])
        return length if np.isfinite(length) else None


def _is_look_alike(
    slam_map: SlamMap, ways: Ways, found: VerifiedPlace, other: VerifiedPlace, moved: Displacement | None
) -> bool:
    """Return True if another place contradicts one whose displacement is ``moved``, ``None`` if unknown."""
    way = ways.between(other.keyframe, other.place)
    if way is not None:
        wrong = Displacement.of(slam_map, other)
        return wrong.exceeds(way) and (moved is None or moved.size * _LOOK_ALIKE_RATIO > wrong.size)
    if moved is not None or other.keyframe != found.keyframe:
        return False
    # Both put the keyframe somewhere: at the same place?
    pose = slam_map.keyframe(found.keyframe).map_from_camera
    poses = [rigid_part(correction_by(slam_map, place) @ pose) for place in (found, other)]
    return bool(view_difference(*poses, typical_depth(slam_map, found.place)) > _SAME_VIEW)


def correction_by(slam_map: SlamMap, found: VerifiedPlace) -> np.ndarray:
    """The similarity (4, 4) of the map, new from old, that moves the keyframe of a verified place there."""
    place, keyframe = slam_map.keyframe(found.place), slam_map.keyframe(found.keyframe)
    return place.map_from_camera @ found.place_from_keyframe @ keyframe.camera_from_map


def typical_depth(slam_map: SlamMap, id: int) -> float:
    """Median depth of the landmarks of a keyframe, in the unit of the map."""
    keyframe = slam_map.keyframe(id)
    points = transform(keyframe.camera_from_map, slam_map.landmarks.positions_of(keyframe.observed))
    return float(np.median(np.abs(points[:, 2]))) if len(points) else 1.0


def view_difference(pose0: np.ndarray, pose1: np.ndarray, depth: float) -> np.ndarray:
    """Distances (...) of poses (..., 4, 4) in units of ``depth`` plus their rotations in radians."""
    distance = np.linalg.norm(pose0[..., :3, 3] - pose1[..., :3, 3], axis=-1) / depth
    return distance + np.radians(rotation_angle_deg(np.swapaxes(pose0[..., :3, :3], -1, -2) @ pose1[..., :3, :3]))
