"""The back end: maps new keyframes on a snapshot of the map, one job at a time."""

from __future__ import annotations

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import InactiveMap, MapUpdate, NewKeyframe
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.backend.map_merging import Relocalize, merge_into
from ros_matching.backend.scheduler import Emit, Scheduler
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
        job = _MappingJob(self._mapper, self._relocalize, self._stages, map_number, snapshot, new, inactive)
        self._scheduler.submit(job.run)

    def take(self, *, wait: bool = False) -> MapUpdate | None:
        """Return the next update if there is one; raises the exception of the job."""
        return self._scheduler.take(wait=wait)

    def cancel(self) -> None:
        """Discard the running job."""
        self._scheduler.cancel()

    def close(self) -> None:
        """Discard the running job and wait for its end."""
        self._scheduler.close()


class _MappingJob:
    """Maps ``new`` keyframes of a snapshot; emits the map after its first new landmarks, and after its adjustment."""

    def __init__(
        self,
        mapper: LocalMapper,
        relocalize: Relocalize,
        stages: StageTimer,
        map_number: int,
        snapshot: LocalMap,
        new: tuple[NewKeyframe, ...],
        inactive: InactiveMap | None,
    ) -> None:
        self._mapper, self._relocalize, self._stages = mapper, relocalize, stages
        self._map_number = map_number
        self._map = snapshot
        self._snapshot_ids = frozenset(keyframe.id for keyframe in snapshot.keyframes)
        self._new = new
        self._inactive = inactive

    def run(self, emit: Emit) -> MapUpdate:
        """Return the last update."""
        merged = None
        newest = self._map.keyframe(self._new[-1].id)
        with self._stages("map"):
            # Extend
            self._extend(emit)
            # Adjust
            self._mapper.adjust(self._map, newest)
            emit(lambda: self._partial(is_adjusted=True))
            # Merge
            if self._inactive is not None:
                inactive = self._inactive
                merged = merge_into(self._map, newest, inactive.local_map, self._relocalize, inactive.turn_deg)
                if merged is not None:
                    self._mapper.adjust(self._map, newest)
            # Covariance
            adjusted = self._mapper.adjusted_window(self._map, newest)
        place, scale_change = merged or (None, 1.0)
        return MapUpdate(
            self._map_number,
            self._map,
            self._snapshot_ids,
            tuple(each.id for each in self._new),
            adjusted,
            self._inactive if merged else None,
            place,
            scale_change,
            self._stages.take(),
        )

    def _extend(self, emit: Emit) -> None:
        """Connect the new keyframes with neighbours: the newest first, whose landmarks the next frames need.

        If there are several, the back end is late: then the earlier ones are connected with one neighbour only.
        """
        *earlier, newest = self._new
        filters = not self._mapper.is_localized(self._map.keyframe(newest.id))
        others = self._neighbours(newest)
        self._connect(newest, others[:1], filters=True, prunes=True)
        emit(self._partial)
        for new in reversed(earlier):
            self._connect(new, self._neighbours(new)[:1], filters=True, prunes=True)
        self._connect(newest, others[1:], filters=filters, prunes=False)

    def _neighbours(self, new: NewKeyframe) -> list[MapKeyframe]:
        return self._mapper.neighbours(self._map, self._map.keyframe(new.id))

    def _connect(self, new: NewKeyframe, neighbours: list[MapKeyframe], **stages: bool) -> None:
        for each in neighbours:
            keyframe, matches = self._map.keyframe(new.id), new.known_matches.get(each.id)
            self._mapper.connect(self._map, each, keyframe, matches, **stages)

    def _partial(self, *, is_adjusted: bool = False) -> MapUpdate:
        """Return the current state as an update, which is followed by others."""
        changes = self._map.changes
        local_map = self._map.snapshot()
        local_map.changes = changes
        local_map.remove_unsupported()
        return MapUpdate(
            self._map_number, local_map, self._snapshot_ids, (), None, is_last=False, is_adjusted=is_adjusted
        )
