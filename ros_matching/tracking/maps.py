"""The map that the camera is in, its number, and the maps it was in before."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Features
from ros_matching.geometry.se3 import invert
from ros_matching.tracking.left_maps import LeftMap, LeftMaps
from ros_matching.tracking.local_map import LocalMap, MapKeyframe
from ros_matching.tracking.localization import Localization
from ros_matching.tracking.recovery import Recovery
from ros_matching.tracking.scale import ScaleEstimator
from ros_matching.tracking.uncertainty import PoseUncertainty


class Maps:
    """Changes from one map to another, and what must be told of it: where errors come from, and what the unit is.

    ``current`` is the map the camera is in or was last in, ``None`` before the first; ``number`` is its number and
    ``begun`` how many there have been. Poses before the first map count as the first.
    """

    def __init__(self, recovery: Recovery, uncertainty: PoseUncertainty, scale: ScaleEstimator) -> None:
        self._left = LeftMaps(recovery)
        self._uncertainty = uncertainty
        self._scale = scale
        self.reset()

    def reset(self) -> None:
        """Forget all of them."""
        self.current: LocalMap | None = None
        self.number = 0
        self.begun = 0
        self._left.reset()

    @property
    def next_keyframe_id(self) -> int:
        """Ids go on counting from map to map."""
        return 0 if self.current is None else self.current.next_keyframe_id

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """``world_from_camera`` (4, 4) of the keyframes in the current map, by id."""
        return {} if self.current is None else {k.id: invert(k.camera_from_world) for k in self.current.keyframes}

    def begin(self, local_map: LocalMap | None, *, continues: bool = False) -> None:
        """Go on in a new map, keeping the current one for later; ``None`` is poses without landmarks yet.

        ``continues``: the poses before it are in the same world and unit.
        """
        if self.current is not None:
            self._leave(local_map)
        if local_map is not None:
            self._scale.begin(local_map)
        self.current = local_map
        self.begun += not continues
        self.number = self.begun

    def return_to_left(self, features: Features) -> Localization | None:
        """Go back into a left map that an image is found in; ``None`` where it is not."""
        back = self._left.find(features)
        if back is None:
            return None
        left, found = back
        self._leave(left.local_map)
        self.current, self.number = left.local_map, left.number
        self._uncertainty.resume(self.current, found.reference, left.drift)
        self._scale.resume(left.scale_variance)
        return found

    def join_left(self, keyframe: MapKeyframe) -> str:
        """Make one map of the current and a left one, if a keyframe is at home in both; says so, or nothing."""
        joined = self._left.join(self.current, keyframe)
        if joined is None:
            return ""
        left, place = joined
        self._uncertainty.resume(self.current, place, left.drift)
        self._scale.resume(left.scale_variance)
        number, self.number = self.number, left.number
        return f"map {number} turned out to be in map {left.number}, and was moved and scaled to where it belongs"

    def _leave(self, next_map: LocalMap) -> None:
        self._left.add(LeftMap(self.number, self.current, self._uncertainty.drift, self._scale.variance))
        next_map.next_keyframe_id = max(next_map.next_keyframe_id, self.current.next_keyframe_id)
