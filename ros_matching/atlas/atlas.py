"""Atlas: the active map of one tracker, and a few inactive maps.

A map that starts after a loss has the last pose and scale of the map before, a guess. When the camera observes a place
of an inactive map, both are determined. A lost camera continues in the inactive map (``activate``); while tracking, the
two maps are merged (an update of the back end with ``merged``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.local_map import LocalMap, MapChanges
from ros_matching.atlas.map_update import UNKNOWN_TURN_DEG, InactiveMap, MapCorrection, MapUpdate
from ros_matching.geometry.se3 import invert

_MAX_INACTIVE = 3


class Atlas:
    """The maps; ``active`` is that of the camera, ``None`` before the first, and ``number`` its number.

    ``maps_started`` counts maps; poses before the first map are part of it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self, first_keyframe_id: int = 0) -> None:
        """Remove all maps; the next keyframe has the given id."""
        self._first_keyframe_id = first_keyframe_id
        self.active: LocalMap | None = None
        self.number = 0
        self.maps_started = 0
        self._inactive: list[InactiveMap] = []
        self._searched = 0

    @property
    def next_keyframe_id(self) -> int:
        """Id of the next keyframe, unique over all maps."""
        return self._first_keyframe_id if self.active is None else self.active.next_keyframe_id

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """``world_from_camera`` (4, 4) of the keyframes in the active map, by id, without restored ones."""
        keyframes = () if self.active is None else self.active.keyframes
        return {k.id: invert(k.camera_from_world) for k in keyframes if not k.is_restored}

    def next_inactive(self) -> InactiveMap | None:
        """Return the next inactive map to search, in rotation; ``None`` if there is none."""
        if not self._inactive:
            return None
        self._searched += 1
        return self._inactive[-1 - self._searched % len(self._inactive)]

    def start_map(
        self,
        local_map: LocalMap | None,
        drift: dict[int, np.ndarray],
        scale_variance: float,
        *,
        continues: bool,
        turn_deg: float = UNKNOWN_TURN_DEG,
    ) -> None:
        """Continue in a new map; ``None`` for poses without landmarks.

        ``drift`` and ``scale_variance`` are those of the active map, which becomes inactive. ``continues``: the poses
        before it are in the same world and scale. ``turn_deg`` is the largest rotation between the worlds of the active
        map and the new one.
        """
        self._inactive = [
            replace(kept, turn_deg=min(kept.turn_deg + turn_deg, UNKNOWN_TURN_DEG)) for kept in self._inactive
        ]
        if self.active is not None:
            self._deactivate(local_map, drift, scale_variance, turn_deg)
        if local_map is not None:
            # Restored keyframes may be copies of those of an older map, which must not be merged with themselves
            ids = {keyframe.id for keyframe in local_map.keyframes if keyframe.is_restored}
            self._inactive = [kept for kept in self._inactive if ids.isdisjoint(k.id for k in kept.local_map.keyframes)]
        self.active = local_map
        self.maps_started += not continues
        self.number = self.maps_started

    def activate(self, inactive: InactiveMap, drift: dict[int, np.ndarray], scale_variance: float) -> None:
        """Continue in an inactive map; the active one, with ``drift`` and ``scale_variance``, takes its place."""
        self._inactive.remove(inactive)
        self._inactive = [
            replace(kept, turn_deg=min(kept.turn_deg + inactive.turn_deg, UNKNOWN_TURN_DEG)) for kept in self._inactive
        ]
        self._deactivate(inactive.local_map, drift, scale_variance, inactive.turn_deg)
        self.active, self.number = inactive.local_map, inactive.number

    def _deactivate(
        self, next_map: LocalMap, drift: dict[int, np.ndarray], scale_variance: float, turn_deg: float
    ) -> None:
        """Make the active map inactive; beyond the limit, remove the one of fewest keyframes, the oldest of equals."""
        next_map.next_keyframe_id = max(next_map.next_keyframe_id, self.active.next_keyframe_id)
        self._inactive.append(InactiveMap(self.number, self.active, drift, scale_variance, turn_deg))
        if len(self._inactive) > _MAX_INACTIVE:
            self._inactive.remove(min(self._inactive, key=lambda kept: len(kept.local_map.keyframes)))

    def apply(self, update: MapUpdate) -> MapCorrection | None:
        """Replace the active map by its updated version, with the changes since the snapshot.

        Returns the correction of poses in the map, or ``None`` if the update is not of the active map. An update of an
        inactive map is stored there.
        """
        if update.map_number != self.number or (update.merged is not None and update.merged not in self._inactive):
            self._keep_for_inactive(update)
            return None
        current, updated = self.active, update.local_map
        if update.merged is None:
            updated.repeat(current.changes.similarities)
        else:
            self._inactive.remove(update.merged)
            self.number = update.merged.number
        anchor = max(update.snapshot_ids & {k.id for k in current.keyframes} & {k.id for k in updated.keyframes})
        since_snapshot = current.changes.scale
        correction = MapCorrection(
            current.keyframe(anchor).camera_from_world,
            updated.keyframe(anchor).camera_from_world,
            # A merged map has the scale of the inactive one: scale changes since the snapshot are dropped
            1.0 if update.merged is None else update.scale_change / since_snapshot,
            since_snapshot if update.merged is None else 1.0,
        )
        for keyframe in current.keyframes:
            if keyframe.id not in update.snapshot_ids:
                updated.append(_transferred(keyframe, updated, correction))
        updated.next_keyframe_id = max(updated.next_keyframe_id, current.next_keyframe_id)
        # The next update of the same snapshot repeats the same similarities
        updated.changes = MapChanges() if update.is_last else MapChanges(current.changes.similarities)
        self.active = updated
        return correction

    def _keep_for_inactive(self, update: MapUpdate) -> None:
        if update.merged is not None:
            return
        self._inactive = [
            replace(kept, local_map=update.local_map) if kept.number == update.map_number else kept
            for kept in self._inactive
        ]


def _transferred(keyframe: MapKeyframe, updated: LocalMap, correction: MapCorrection) -> MapKeyframe:
    """Return a keyframe inserted since the snapshot, with the pose and landmark ids of the updated map."""
    landmark_ids = keyframe.landmark_ids.copy()
    for kept, replaced in updated.changes.merged:
        new_id = dict(zip(replaced.tolist(), kept.tolist(), strict=True))
        landmark_ids = np.array([new_id.get(id, id) for id in landmark_ids.tolist()], dtype=landmark_ids.dtype)
    landmark_ids[~updated.known(landmark_ids)] = NO_LANDMARK
    pose = correction.applied_to(keyframe.camera_from_world)
    unit = keyframe.unit * correction.scale_change
    return replace(keyframe.copy(), camera_from_world=pose, landmark_ids=landmark_ids, unit=unit)
