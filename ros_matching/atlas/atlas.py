"""All maps of one tracker: the active one, and a few that were left after a loss.

A map that starts after a loss stands where the one before was left, with its scale: guesses. Once the camera observes
a place of an inactive map again, both are known. A lost camera continues in the inactive map (``activate``); a tracked
one merges the two (an update of the back end with ``merged``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.local_map import LocalMap, MapChanges
from ros_matching.atlas.map_update import InactiveMap, MapCorrection, MapUpdate
from ros_matching.geometry.se3 import invert

_MAX_INACTIVE = 3


class Atlas:
    """``active`` is the map of the camera, ``None`` before the first; ``number`` is its number.

    ``maps_started`` counts maps; poses before the first map belong to it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Remove all maps."""
        self.active: LocalMap | None = None
        self.number = 0
        self.maps_started = 0
        self._inactive: list[InactiveMap] = []
        self._turn = 0

    @property
    def next_keyframe_id(self) -> int:
        """Ids are unique over all maps."""
        return 0 if self.active is None else self.active.next_keyframe_id

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """``world_from_camera`` (4, 4) of the keyframes in the active map, by id."""
        return {} if self.active is None else {k.id: invert(k.camera_from_world) for k in self.active.keyframes}

    def next_inactive(self) -> InactiveMap | None:
        """An inactive map to search, one after the other in turn; ``None`` without any."""
        if not self._inactive:
            return None
        self._turn += 1
        return self._inactive[-1 - self._turn % len(self._inactive)]

    def start_map(
        self, local_map: LocalMap | None, drift: dict[int, np.ndarray], scale_variance: float, *, continues: bool
    ) -> None:
        """Continue in a new map; ``None`` stands for poses without landmarks yet.

        ``drift`` and ``scale_variance`` are those of the active map, which becomes inactive. ``continues``: the poses
        before it are in the same world and scale.
        """
        if self.active is not None:
            self._deactivate(local_map, drift, scale_variance)
        self.active = local_map
        self.maps_started += not continues
        self.number = self.maps_started

    def activate(self, inactive: InactiveMap, drift: dict[int, np.ndarray], scale_variance: float) -> None:
        """Continue in an inactive map; the active one, with ``drift`` and ``scale_variance``, takes its place."""
        self._inactive.remove(inactive)
        self._deactivate(inactive.local_map, drift, scale_variance)
        self.active, self.number = inactive.local_map, inactive.number

    def _deactivate(self, next_map: LocalMap, drift: dict[int, np.ndarray], scale_variance: float) -> None:
        """Keep the active map; beyond the limit, the one of fewest keyframes is removed, the oldest of equals."""
        next_map.next_keyframe_id = max(next_map.next_keyframe_id, self.active.next_keyframe_id)
        self._inactive.append(InactiveMap(self.number, self.active, drift, scale_variance))
        if len(self._inactive) > _MAX_INACTIVE:
            self._inactive.remove(min(self._inactive, key=lambda kept: len(kept.local_map.keyframes)))

    def apply(self, update: MapUpdate) -> MapCorrection | None:
        """Replace the active map by its updated version, with the changes since the snapshot.

        Returns how poses in the map move with it. ``None`` where the update no longer concerns the active map; that of
        an inactive map is kept there.
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
            # A merged map has the scale of the inactive one, whatever was measured in the active one meanwhile.
            1.0 if update.merged is None else update.scale_change / since_snapshot,
            since_snapshot if update.merged is None else 1.0,
        )
        for keyframe in current.keyframes:
            if keyframe.id not in update.snapshot_ids:
                updated.append(_carried(keyframe, updated, correction))
        updated.next_keyframe_id = max(updated.next_keyframe_id, current.next_keyframe_id)
        updated.changes = MapChanges()
        self.active = updated
        return correction

    def _keep_for_inactive(self, update: MapUpdate) -> None:
        if update.merged is not None:
            return
        self._inactive = [
            replace(kept, local_map=update.local_map) if kept.number == update.map_number else kept
            for kept in self._inactive
        ]


def _carried(keyframe: MapKeyframe, updated: LocalMap, correction: MapCorrection) -> MapKeyframe:
    """A keyframe that was inserted since the snapshot, as it fits into the updated map."""
    landmark_ids = keyframe.landmark_ids.copy()
    for kept, replaced in updated.changes.merged:
        new_id = dict(zip(replaced.tolist(), kept.tolist(), strict=True))
        landmark_ids = np.array([new_id.get(id, id) for id in landmark_ids.tolist()], dtype=landmark_ids.dtype)
    landmark_ids[~updated.known(landmark_ids)] = NO_LANDMARK
    pose = correction.applied_to(keyframe.camera_from_world)
    return replace(keyframe.copy(), camera_from_world=pose, landmark_ids=landmark_ids)
