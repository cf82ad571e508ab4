"""Counts and timings of ``mapping_node``."""

from __future__ import annotations

from ros_matching.mapping import MappingResult, MappingStatus
from ros_matching.nodes.statistics import Statistics


class MappingStatistics(Statistics):
    """What became of the keyframes."""

    def __init__(self) -> None:
        super().__init__()
        self.mapped = 0
        self.refused = 0
        self.missed = 0  # lost between the odometry and here, by their ids
        self.restarts = 0
        self.last: MappingResult | None = None

    def count_dropped(self, count: int) -> None:
        """Keyframes were dropped that waited."""
        with self._lock:
            self.dropped += count

    def count_missed(self, count: int) -> None:
        """Keyframes have not come, as the ids of those that came tell."""
        with self._lock:
            self.missed += count

    def count_restart(self) -> None:
        """The map was begun anew."""
        with self._lock:
            self.restarts += 1
            self.last = None

    def count_refused(self) -> None:
        """A message could not be used."""
        with self._lock:
            self.refused += 1

    def count_result(self, result: MappingResult) -> None:
        """The mapper has said what became of a keyframe."""
        with self._lock:
            self.last = result
            self.mapped += result.status is MappingStatus.MAPPED
            self.refused += result.status is MappingStatus.REFUSED
