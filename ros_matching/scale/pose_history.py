"""Poses of frames between the keyframes of a map, which move and scale with their keyframes."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.se3 import invert


@dataclass(frozen=True, eq=False)
class _FramePose:
    stamp_ns: int
    keyframe_id: int
    unit: float  # of the keyframe, when the frame was localised
    camera_from_keyframe: np.ndarray


class PoseHistory:
    """The newest localised frames, each relative to the newest keyframe at its time."""

    def __init__(self, capacity: int = 2000) -> None:
        self._frames: deque[_FramePose] = deque(maxlen=capacity)

    def clear(self) -> None:
        """Forget all frames, as of another map."""
        self._frames.clear()

    def add(self, local_map: LocalMap, stamp_ns: int, camera_from_world: np.ndarray) -> None:
        """Add a frame localised in the map; its pose follows the newest keyframe."""
        keyframe = local_map.keyframes[-1]
        relative = camera_from_world @ invert(keyframe.camera_from_world)
        self._frames.append(_FramePose(stamp_ns, keyframe.id, keyframe.unit, relative))

    def between(self, before: MapKeyframe, after: MapKeyframe, step_s: float) -> list[tuple[int, np.ndarray]]:
        """Return stamps and ``camera_from_world`` (4, 4) of frames between two keyframes in a row, at that distance.

        The last one is at least half a step before the second keyframe.
        """
        return self._of(before, step_s, after.frame.stamp_ns - 0.5e9 * step_s)

    def after(self, newest: MapKeyframe, step_s: float) -> list[tuple[int, np.ndarray]]:
        """Return those of frames after the newest keyframe, as ``between``."""
        return self._of(newest, step_s, math.inf)

    def _of(self, before: MapKeyframe, step_s: float, end_ns: float) -> list[tuple[int, np.ndarray]]:
        """Return frames up to a time whose newest keyframe was ``before``."""
        found, last = [], before.frame.stamp_ns
        for frame in self._frames:
            if frame.keyframe_id != before.id or frame.stamp_ns > end_ns or frame.stamp_ns < last + 1e9 * step_s:
                continue
            relative = frame.camera_from_keyframe.copy()
            relative[:3, 3] *= before.unit / frame.unit
            found.append((frame.stamp_ns, relative @ before.camera_from_world))
            last = frame.stamp_ns
        return found
