"""Counts and timings of ``mapping_node``, and its part of /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from ros_matching.mapping import MappingResult, MappingStatus
from ros_matching.nodes.common.diagnostics import NodeReport, Statistics, rates, timings


class MappingStatistics(Statistics):
    """Counts of received, mapped, refused and dropped keyframes."""

    def __init__(self) -> None:
        super().__init__()
        self.mapped = 0
        self.refused = 0
        self.missed = 0  # lost after the odometry, by the gaps between ids
        self.restarts = 0
        self.last: MappingResult | None = None

    def count_dropped(self, count: int) -> None:
        """Count waiting keyframes that were dropped."""
        with self._lock:
            self.dropped += count

    def count_missed(self, count: int) -> None:
        """Count keyframes that did not arrive, by the gaps between ids."""
        with self._lock:
            self.missed += count

    def count_restart(self) -> None:
        """Count a restart of the map."""
        with self._lock:
            self.restarts += 1
            self.last = None

    def count_refused(self) -> None:
        """Count an unusable message."""
        with self._lock:
            self.refused += 1

    def count_result(self, result: MappingResult) -> None:
        """Count a result of the mapper."""
        with self._lock:
            self.last = result
            self.mapped += result.status is MappingStatus.MAPPED
            self.refused += result.status is MappingStatus.REFUSED


def mapping_report(statistics: MappingStatistics, waiting: int, queue_length: int) -> NodeReport:
    """Return the report of the mapping; rates and timings are since the last call."""
    window, last = statistics.take_window(), statistics.last
    counts = {
        "keyframes received": str(statistics.received),
        "keyframes mapped": str(statistics.mapped),
        "keyframes refused": str(statistics.refused),
        "keyframes dropped": str(statistics.dropped),
        "keyframes missed": str(statistics.missed),
        "queue": f"{waiting} of {queue_length}",
        "restarts of the map": str(statistics.restarts),
    }
    message = "waiting for the first keyframe" if last is None else _message(last)
    mapping = {} if last is None else _mapping(last)
    return NodeReport(DiagnosticStatus.OK, message, {**rates(window), **counts, **timings(window), **mapping})


def _message(last: MappingResult) -> str:
    return f"{last.status.value}: {last.reason}" if last.reason else f"{last.status.value} keyframe {last.keyframe_id}"


def _mapping(last: MappingResult) -> dict[str, str]:
    near, far = last.depth_range or (float("nan"), float("nan"))
    return {
        "keyframe": str(last.keyframe_id),
        "map": str(last.keyframe.map_id),
        "keyframe state": last.status.value,
        "reason": last.reason,
        "scale": last.keyframe.scale.value,
        "depth range": f"{near:.3g} to {far:.3g}",
        "source views": str(last.counts.sources),
        "points of the keyframe": str(last.counts.points),
        "points of the map": str(last.counts.map_points),
    }
