"""Correction of the map after a loop: optimisation of its pose graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.backend.pose_graph import OptimizedGraph, PoseGraph, edge_errors, optimize
from ros_matching.datatypes import ScaleState
from ros_matching.geometry.sim3 import invert_similarity, rigid_part, scale_of

_LOG = logging.getLogger(__name__)

# A loop is false if it increases the squared errors of the graph by more: the odometry would have drifted much more
# than its edges allow.
_MAX_INCREASE = 150.0
_MAX_SMALL_ERROR = 7.0  # squared error of a loop, of 7 degrees of freedom, up to which the map fits it already


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
    scales, gravity = measured_scales(slam_map, ids), measured_gravity(slam_map, ids)
    graph = PoseGraph(poses, old + new, robust, fixed, scales, gravity, slam_map.down)
    found = optimize(graph, is_cancelled)
    if found is not None:
        _LOG.debug("loop %d to %d: errors %s", second, first, np.round(found.edge_errors[len(old) :], 1))
    if found is None or is_contradicted(found, len(new)):
        return None
    return MapCorrection(
        {id: (rigid_part(pose), float(scale_of(pose))) for id, pose in found.poses.items()}, tuple(new), joined
    )


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
