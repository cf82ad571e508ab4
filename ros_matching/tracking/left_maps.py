"""The maps that were left after a loss, and the way back into one.

A map that is begun after a loss stands where the one before was left, with its scale: guesses. Once the camera sees a
place of a left map again, both are known. If it is lost, it goes on in the left map (``find``); if it is not, the two
maps become one (``join``). Left maps are kept whole, images, descriptors, landmarks and poses, but only a few of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Features
from ros_matching.geometry.se3 import invert, transform
from ros_matching.tracking.local_map import NO_LANDMARK, LocalMap, MapKeyframe
from ros_matching.tracking.localization import Localization
from ros_matching.tracking.recovery import Recovery

_KEPT = 3
_TRIED = 2  # keyframes of a left map for one image; one map at a time, in turns
# Two maps are joined by a keyframe whose keypoints see landmarks of both: so many, in depths of one ratio.
_MIN_COMMON = 20
_MAX_SPREAD = 0.1  # median deviation from the median ratio


@dataclass(frozen=True, eq=False)
class LeftMap:
    """A map with its number, and what was uncertain when it was left.

    ``drift`` (7, 7) is of its keyframes, by id, ``scale_variance`` of its unit.
    """

    number: int
    local_map: LocalMap
    drift: dict[int, np.ndarray]
    scale_variance: float


class LeftMaps:
    """A few maps that were left."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self.reset()

    def reset(self) -> None:
        """Forget all of them."""
        self._maps: list[LeftMap] = []
        self._turn = 0

    def add(self, left: LeftMap) -> None:
        """Keep a map; where there are too many, the one of fewest keyframes goes, the oldest of equals."""
        self._maps.append(left)
        if len(self._maps) > _KEPT:
            self._maps.remove(min(self._maps, key=lambda kept: len(kept.local_map.keyframes)))

    def find(self, features: Features) -> tuple[LeftMap, Localization] | None:
        """Where an image is in one of the maps, which is no longer kept then; tries one map per call."""
        if not self._maps:
            return None
        self._turn += 1
        left = self._maps[-1 - self._turn % len(self._maps)]
        found = self._recovery.search(left.local_map, features, tried=_TRIED)
        if found is None:
            return None
        self._maps.remove(left)
        return left, found

    def join(self, local_map: LocalMap, keyframe: MapKeyframe) -> tuple[LeftMap, MapKeyframe] | None:
        """Take a left map into this one, where a keyframe of this map also has a place in it.

        This map is moved, turned and scaled to where the left one says. Returns the left map and the keyframe of it
        that was recognised, ``None`` where none was.
        """
        recognised = self.find(keyframe.features)
        if recognised is None:
            return None
        left, found = recognised
        scale = _scale(local_map, keyframe, left.local_map, found)
        if scale is None:
            self._maps.append(left)
            return None
        local_map.rescale(scale, about=keyframe.center)
        local_map.move(invert(found.camera_from_world) @ keyframe.camera_from_world)
        local_map.take_in(left.local_map, keyframe, found.reference, found.landmark_ids)
        return left, found.reference


def _scale(local_map: LocalMap, keyframe: MapKeyframe, left_map: LocalMap, found: Localization) -> float | None:
    """How many units of this map a unit of the left map's landmarks is; ``None`` where their depths do not agree."""
    here, there = keyframe.landmark_ids, found.landmark_ids
    both = (here != NO_LANDMARK) & (there != NO_LANDMARK)
    if np.count_nonzero(both) < _MIN_COMMON:
        return None
    depth_here = transform(keyframe.camera_from_world, local_map.positions[here[both]])[:, 2]
    depth_there = transform(found.camera_from_world, left_map.positions[there[both]])[:, 2]
    ratios = depth_there / depth_here
    scale = float(np.median(ratios))
    spread = float(np.median(np.abs(ratios - scale)))
    return scale if scale > 0 and spread < _MAX_SPREAD * scale else None
