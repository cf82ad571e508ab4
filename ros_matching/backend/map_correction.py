"""Correction of the map after a loop: optimisation of its pose graph."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.backend.loop_closing import least_covariance
from ros_matching.backend.pose_graph import OptimizedGraph, PoseGraph, edge_errors, optimize
from ros_matching.datatypes import ScaleState
from ros_matching.geometry.sim3 import invert_similarity, rigid_part, scale_of

_LOG = logging.getLogger(__name__)

# A loop is false if it increases the squared errors of the graph by more: the odometry would have drifted much more
# than its edges allow.
_MAX_INCREASE = 150.0
_MAX_SMALL_ERROR = 7.0  # squared error of a loop, of 7 degrees of freedom, up to which the map fits it already
# After a bundle adjustment a keyframe has at most so many constraints to keyframes of other visits: those that are so
# many ids away and share so many landmarks.
_VISITS = 6
_ADJUSTED_VARIANCE = 1 / 3  # of a relative pose by the bundle adjustment, against that by the odometry
_APART = 20
_MIN_SHARED = 30


@dataclass(frozen=True, eq=False)
class MapCorrection:
    """A correction to apply: ``poses`` are map_from_camera (4, 4) and the scale by keyframe id.

    ``loops`` are the new constraints, and ``joined`` the keyframes of the part that the loop connects to the rest.
    """

    poses: Mapping[int, tuple[np.ndarray, float]]
    loops: tuple[Edge, ...]
    joined: frozenset[int]


def correct_by_loops(
    slam_map: SlamMap, loops: Sequence[Edge], is_cancelled: Callable[[], bool] = lambda: False
) -> MapCorrection | None:
    """Optimise the pose graph with new loops; ``None`` if the graph contradicts them, or if cancelled.

    The map is not changed. Two parts of the map that the loops connect are first joined: the one with the older
    keyframes stays.
    """
    first, second = loops[-1].first, loops[-1].second
    parts = [frozenset(part) for part in slam_map.components() if first in part or second in part]
    poses = {id: slam_map.keyframe(id).map_from_local for part in parts for id in part}
    joined: frozenset[int] = frozenset()
    if len(parts) == 2:
        joined = max(parts, key=min)
        poses |= _moved_part(poses, joined, loops[-1])
    ids = set(poses)
    old = [edge for edge in slam_map.edges if edge.first in ids]
    new = [edge for edge in loops if edge.first in ids and edge.second in ids]
    fixed = frozenset({min(min(part) for part in parts)})
    robust = frozenset(number for number, edge in enumerate(old) if edge.kind is EdgeKind.LOOP)
    found = optimize(_graph(slam_map, poses, old + new, robust, fixed), is_cancelled)
    if found is not None:
        _LOG.debug("loop %d to %d: errors %s", second, first, np.round(found.edge_errors[len(old) :], 1))
    if found is None or is_contradicted(found, len(new)):
        return None
    return MapCorrection(_split(found.poses), tuple(new), joined)


def balanced_poses(slam_map: SlamMap, ids: Sequence[int]) -> dict[int, tuple[np.ndarray, float]]:
    """Return map_from_camera (4, 4) and the scale of connected keyframes that fit all constraints between them best.

    For a map after a bundle adjustment; the first keyframe stays. The adjustment measured what several visits have in
    common. Between two visits it takes the errors of pixels as independent, which they are not: there its relative
    poses are combined with those of the odometry.
    """
    poses = {id: slam_map.keyframe(id).map_from_local for id in ids}
    edges = [edge for edge in slam_map.edges if edge.first in poses and edge.second in poses]
    visits = _between_visits(slam_map, poses, {(edge.first, edge.second) for edge in edges})
    adjusted = [_adjusted(edge, poses) for edge in edges if edge.kind is not EdgeKind.LOOP]
    return _split(optimize(_graph(slam_map, poses, edges + visits + adjusted, frozenset(), frozenset({ids[0]}))).poses)


def _adjusted(edge: Edge, poses: Mapping[int, np.ndarray]) -> Edge:
    """Return a constraint of the odometry as the bundle adjustment measures it."""
    measured = invert_similarity(poses[edge.first]) @ poses[edge.second]
    return replace(edge, first_from_second=measured, covariance=_ADJUSTED_VARIANCE * edge.covariance)


def _between_visits(
    slam_map: SlamMap, poses: Mapping[int, np.ndarray], known: Collection[tuple[int, int]]
) -> list[Edge]:
    """Return constraints, as the poses are, between keyframes of different visits that share many landmarks."""
    edges = {}
    for first in poses:
        others = (
            other
            for other, shared in slam_map.covisible(first)
            if shared >= _MIN_SHARED and abs(other - first) >= _APART and other in poses
        )
        for second in itertools.islice(others, _VISITS):
            pair = min(first, second), max(first, second)
            if pair not in edges and pair not in known and pair[::-1] not in known:
                measured = invert_similarity(poses[pair[0]]) @ poses[pair[1]]
                edges[pair] = Edge(EdgeKind.LOOP, *pair, measured, least_covariance(slam_map, pair[0]))
    return list(edges.values())


def _graph(
    slam_map: SlamMap, poses: dict[int, np.ndarray], edges: list[Edge], robust: frozenset[int], fixed: frozenset[int]
) -> PoseGraph:
    """Return the pose graph of keyframes with what scale source and IMU have measured."""
    ids = set(poses)
    scales, gravity = measured_scales(slam_map, ids), measured_gravity(slam_map, ids)
    return PoseGraph(poses, edges, robust, fixed, scales, gravity, slam_map.down)


def _split(poses: Mapping[int, np.ndarray]) -> dict[int, tuple[np.ndarray, float]]:
    """Return similarities (4, 4) as poses and scales."""
    return {id: (rigid_part(pose), float(scale_of(pose))) for id, pose in poses.items()}


def fits(slam_map: SlamMap, loops: Sequence[Edge]) -> bool:
    """Return True if loops agree with the map as it is, whose parts they do not join."""
    poses = {id: slam_map.keyframe(id).map_from_local for edge in loops for id in (edge.first, edge.second)}
    if edge_errors(loops, poses).max() > _MAX_SMALL_ERROR:
        return False
    return loops[-1].first in slam_map.connected(loops[-1].second)


def is_contradicted(found: OptimizedGraph, new: int) -> bool:
    """Return True if the last ``new`` edges of an optimised graph do not fit the others."""
    increase = found.edge_errors.sum() - found.initial_errors[:-new].sum()
    return bool(increase > _MAX_INCREASE)


def measured_scales(slam_map: SlamMap, ids: set[int]) -> dict[int, tuple[float, float]]:
    """Scales that a scale source measured, with their relative standard deviations, by keyframe id."""
    if slam_map.unit is ScaleState.UP_TO_SCALE:
        return {}
    keyframes = (slam_map.keyframe(id) for id in ids)
    return {k.id: (k.measured_scale, k.scale_std) for k in keyframes if np.isfinite(k.scale_std)}


def measured_gravity(slam_map: SlamMap, ids: Iterable[int]) -> dict[int, tuple[np.ndarray, float]]:
    """Directions of gravity (3,) in keyframes that an IMU measured, with their standard deviations, by id."""
    keyframes = (slam_map.keyframe(id) for id in ids)
    return {k.id: (k.down, k.down_std) for k in keyframes if np.isfinite(k.down_std)}


def _moved_part(poses: Mapping[int, np.ndarray], part: frozenset[int], loop: Edge) -> dict[int, np.ndarray]:
    """Move a part of the map to where a loop puts it; returns its poses (4, 4) by id."""
    if loop.second in part:
        new_from_old = poses[loop.first] @ loop.first_from_second @ invert_similarity(poses[loop.second])
    else:
        back = invert_similarity(loop.first_from_second)
        new_from_old = poses[loop.second] @ back @ invert_similarity(poses[loop.first])
    return {id: new_from_old @ poses[id] for id in part}
