"""Merging of the active map into an inactive one, once a keyframe is recognised in both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, Localization, MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import UNKNOWN_TURN_DEG
from ros_matching.datatypes import Features
from ros_matching.geometry.se3 import invert, rotation_angle_deg, transform

# Fewest keypoints of a keyframe that observe landmarks of both maps
_MIN_COMMON = 20
_MAX_SPREAD = 0.1  # largest median deviation from the median depth ratio, as a fraction of it

Relocalize = Callable[[LocalMap, Features], "Localization | None"]
"""Finds the pose of an image in a map without a prediction."""


def merge_into(
    local_map: LocalMap,
    keyframe: MapKeyframe,
    inactive: LocalMap,
    relocalize: Relocalize,
    turn_deg: float = UNKNOWN_TURN_DEG,
) -> tuple[MapKeyframe, float] | None:
    """Merge ``inactive`` into the map of ``keyframe``, which is aligned to the inactive one by a similarity.

    Returns the recognised keyframe of the inactive map, and the factor on all lengths of ``local_map``; ``None`` if
    the keyframe is not recognised, the depths disagree, or the maps would turn by more than ``turn_deg``.
    """
    found = relocalize(inactive, keyframe.features)
    if found is None:
        return None
    turn = found.camera_from_world[:3, :3].T @ keyframe.camera_from_world[:3, :3]
    if turn_deg < UNKNOWN_TURN_DEG and rotation_angle_deg(turn) > turn_deg:
        return None
    scale = _relative_scale(local_map, keyframe, inactive, found)
    if scale is None:
        return None
    local_map.rescale(scale, about=keyframe.center)
    local_map.move(invert(found.camera_from_world) @ keyframe.camera_from_world)
    local_map.merge_map(inactive, keyframe, found.reference, found.landmark_ids)
    return found.reference, scale


def _relative_scale(
    local_map: LocalMap, keyframe: MapKeyframe, inactive: LocalMap, found: Localization
) -> float | None:
    """Return the length in the inactive map of one unit of this map; ``None`` if the landmark depths disagree."""
    here, there = keyframe.landmark_ids, found.landmark_ids
    both = (here != NO_LANDMARK) & (there != NO_LANDMARK)
    if np.count_nonzero(both) < _MIN_COMMON:
        return None
    depth_here = transform(keyframe.camera_from_world, local_map.positions_of(here[both]))[:, 2]
    depth_there = transform(found.camera_from_world, inactive.positions_of(there[both]))[:, 2]
    ratios = depth_there / depth_here
    scale = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios - scale)))
    return scale if scale > 0 and spread < _MAX_SPREAD * scale else None
