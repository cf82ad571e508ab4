"""The back end: maps new keyframes on a snapshot of the map, one job at a time."""

from __future__ import annotations

from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import InactiveMap, MapUpdate, NewKeyframe
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.backend.map_merging import Relocalize, merge_into
from ros_matching.backend.scheduler import Scheduler
from ros_matching.stages import StageTimer


class BackEnd:
    """Extends the map by new keyframes, adjusts it, and merges it with an inactive map if one is recognised.

    ``mapper``, ``relocalize`` and ``stages`` are used only by jobs, in the thread in which the scheduler runs them.
    """

    def __init__(
        self, mapper: LocalMapper, relocalize: Relocalize, stages: StageTimer, scheduler: Scheduler[MapUpdate]
    ) -> None:
        self._mapper = mapper
        self._relocalize = relocalize
        self._stages = stages
        self._scheduler = scheduler
        self.runs_in_frame = scheduler.runs_in_frame

    @property
    def is_idle(self) -> bool:
        """True if keyframes can be submitted: the last update was taken."""
        return self._scheduler.is_idle

    def submit(
        self, map_number: int, snapshot: LocalMap, new: tuple[NewKeyframe, ...], inactive: InactiveMap | None
    ) -> None:
        """Start to map ``new`` keyframes of a snapshot, which the caller must not use afterwards."""
        snapshot_ids = frozenset(keyframe.id for keyframe in snapshot.keyframes)
        self._scheduler.submit(lambda: self._update(map_number, snapshot, snapshot_ids, new, inactive))

    def take(self, *, wait: bool = False) -> MapUpdate | None:
        """Return the update if it is finished; raises the exception of the job."""
        return self._scheduler.take(wait=wait)

    def cancel(self) -> None:
        """Discard the running job."""
        self._scheduler.cancel()

    def close(self) -> None:
        """Discard the running job and wait for its end."""
        self._scheduler.close()

    def _update(
        self,
        map_number: int,
        local_map: LocalMap,
        snapshot_ids: frozenset[int],
        new: tuple[NewKeyframe, ...],
        inactive: InactiveMap | None,
    ) -> MapUpdate:
        merged = None
        with self._stages("map"):
            # Extend
            for each in new:
                self._mapper.extend(local_map, local_map.keyframe(each.id), each.known_matches)
            newest = local_map.keyframe(new[-1].id)
            # Adjust
            self._mapper.adjust(local_map, newest)
            # Merge
            if inactive is not None:
                merged = merge_into(local_map, newest, inactive.local_map, self._relocalize)
                if merged is not None:
                    self._mapper.adjust(local_map, newest)
            # Covariance
            adjusted = self._mapper.adjusted_window(local_map, newest)
        place, scale_change = merged or (None, 1.0)
        return MapUpdate(
            map_number,
            local_map,
            snapshot_ids,
            tuple(each.id for each in new),
            adjusted,
            inactive if merged else None,
            place,
            scale_change,
            self._stages.take(),
        )
